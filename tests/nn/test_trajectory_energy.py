import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jplan.nn import LatentProjector, StateDecoder, StateEncoder, TrajectoryEnergy

SIZES = {"hidden": 16, "layers": 2, "heads": 2, "kernel_size": 3, "stride": 2}


def make(**options):
    return TrajectoryEnergy(4, 8, 2, **(SIZES | options), rngs=nnx.Rngs(0))


def draw(seed=0, dtype=float):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = (8, 4), (2, 4), (4,)
    parts = [jax.random.normal(k, s, dtype) for k, s in zip(keys, shapes, strict=True)]
    return *parts, jnp.asarray(0.3, dtype)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("part", range(4))
def test_what_is_expected_depends_on_every_part(part, causal):
    expected = make(causal=causal).expected
    given = list(draw())
    before = expected(*given)
    given[part] = given[part] + 0.1
    assert (jnp.abs(expected(*given) - before).max(-1) > 1e-5).all()


@pytest.mark.parametrize("causal", [True, False])
def test_only_a_causal_energy_expects_nothing_of_what_comes_later(causal):
    future, *rest = draw()
    expected = make(causal=causal).expected
    change = jnp.abs(expected(future.at[-1].add(1.0), *rest) - expected(future, *rest)).max(-1)
    assert (change[-2:] > 1e-5).all()
    assert (change[:-3] < 1e-7).all() if causal else (change[:-3] > 1e-7).all()


def test_energy_is_distance_likelihood_and_haste():
    future, past, goal, _ = draw()
    energy = make()
    rise = 2.0  # nats from now to the horizon
    for progress in (0.0, 1.0):
        given = future, past, goal, jnp.float32(progress)
        distance = 0.5 * jnp.sum((future - past[-1:] - energy.expected(*given)) ** 2)
        arrival = energy.arrival_cost(past, goal, given[3]) + rise * progress
        np.testing.assert_allclose(energy(*given), distance + 8 * arrival, rtol=1e-5)


def test_every_latent_of_the_future_counts():
    slope = jax.grad(make(kernel_size=5, stride=2))(*draw())
    assert (jnp.abs(slope).max(-1) > 1e-6).all()


def test_time_is_not_symmetric():
    future, *rest = draw()
    energy = make(causal=False)
    assert abs(energy(future, *rest) - energy(future[::-1], *rest)) > 1e-4


def test_second_derivatives_are_those_of_differences(x64):
    energy = make()
    future, past, goal, progress = draw(dtype=jnp.float64)
    direction = jax.random.normal(jax.random.key(5), future.shape)

    def slope(goal):
        return jnp.vdot(jax.grad(energy)(future, past, goal, progress), direction)

    exact = jax.grad(slope)(goal)
    small = 1e-5
    for axis in range(len(goal)):
        shift = small * jnp.eye(len(goal))[axis]
        difference = (slope(goal + shift) - slope(goal - shift)) / (2 * small)
        np.testing.assert_allclose(exact[axis], difference, rtol=1e-6, atol=1e-9)


def test_encoder_and_projector_keep_the_size_of_noise():
    encoder = StateEncoder(3, 64, hidden=32, mean=1.0, scale=2.0, rngs=nnx.Rngs(0))
    states = 5 * jax.random.normal(jax.random.key(0), (7, 3))
    projector = LatentProjector(64, hidden=8, rngs=nnx.Rngs(1))
    anything = 9 + 3 * jax.random.normal(jax.random.key(1), (7, 64))
    for latents in (encoder(states), projector(anything)):
        np.testing.assert_allclose(latents.mean(-1), 0, atol=1e-5)
        np.testing.assert_allclose(latents.std(-1), 1, atol=1e-3)


def test_each_state_has_a_latent_of_its_own():
    encoder = StateEncoder(3, 8, hidden=16, rngs=nnx.Rngs(0))
    states = jax.random.normal(jax.random.key(0), (5, 3))
    np.testing.assert_allclose(encoder(states)[2], encoder(states[2]), rtol=1e-5, atol=1e-6)


def test_a_constant_latent_is_finite():
    encoder = StateEncoder(3, 8, hidden=16, rngs=nnx.Rngs(0))
    slope = jax.grad(lambda s: encoder(s).sum())(jnp.zeros(3))
    assert jnp.isfinite(slope).all()


def test_decoder_answers_in_the_units_of_the_states():
    decoder = StateDecoder(8, 2, mean=[100.0, 0.0], scale=[1.0, 1e-3], rngs=nnx.Rngs(0))
    out = decoder(jax.random.normal(jax.random.key(0), (50, 8)))
    assert abs(out[:, 0] - 100).max() < 20
    assert abs(out[:, 1]).max() < 0.02


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"hidden": 18, "heads": 4}, "twice the 4 heads"),
        ({"stride": 4}, "divisor of 10"),
        ({"kernel_size": 1}, "at most the kernel_size"),
        ({"kernel_size": 4}, "odd"),
        ({"layers": 0}, "layers is 0"),
    ],
)
def test_sizes_that_do_not_fit(options, match):
    with pytest.raises(ValueError, match=match):
        make(**options)
    with pytest.raises(ValueError, match="horizon is 4, expected more than max_past, 4"):
        TrajectoryEnergy(4, 4, 4, **SIZES, rngs=nnx.Rngs(0))


def test_shapes_that_do_not_fit():
    energy = make()
    future, past, goal, progress = draw()
    with pytest.raises(ValueError, match="use vmap"):
        energy(future[None], past, goal, progress)
    with pytest.raises(ValueError, match="expected"):
        energy(future, past, goal[:3], progress)
    with pytest.raises(ValueError, match=r"expected \[..., 3\]"):
        StateEncoder(3, 8, rngs=nnx.Rngs(0))(jnp.ones(4))


def test_gradients_in_parameters(x64):
    graphdef, params = nnx.split(make(layers=1))
    given = draw(dtype=jnp.float64)
    direction = jax.tree.map(lambda leaf: jnp.ones_like(leaf) * 0.3, params)
    energy = lambda t: nnx.merge(graphdef, jax.tree.map(lambda p, d: p + t * d, params, direction))(
        *given
    )
    difference = (energy(1e-5) - energy(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(energy)(0.0), difference, rtol=1e-6)
