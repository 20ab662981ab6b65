import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jplan import training
from jplan.planners import DescentPlanner
from jplan.training import HindsightBatch, denoising_loss

SMALL = {"horizon": 6, "max_past": 2, "width": 6, "hidden": 8, "heads": 2, "network_hidden": 8}
SMALL |= {"layers": 1, "kernel_size": 3, "stride": 2, "num_steps": 1}


def make(**options):
    return DescentPlanner(3, 1, **(SMALL | options), rngs=nnx.Rngs(0))


def draw(count=4):
    shapes = (count, 2, 3), (count, 6, 3), (count, 3)
    keys = jax.random.split(jax.random.key(3), 3)
    past, future, goal = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    return HindsightBatch(past=past, future=future, goal=goal, progress=jnp.linspace(0, 1, count))


def test_gradient_is_that_of_the_steps_with_constant_starts(x64):
    """Finite differences of the loss in which the start of each step is held fixed."""
    batch = draw()
    planner = make(num_steps=2)
    graphdef, params = nnx.split(planner)
    direction = jax.tree.map(
        lambda leaf: 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params
    )
    at = lambda t: nnx.merge(graphdef, jax.tree.map(lambda p, d: p + t * d, params, direction))

    @jax.jit
    def latents(planner, start):
        energy_fn, parts = planner.energy_fn()
        given = planner.encoder(batch.past), planner.encoder(batch.goal), batch.progress
        step = lambda z, given: energy_fn.project(
            parts,
            z
            - jnp.exp(planner.log_step_size[...])
            * jax.grad(lambda z: energy_fn(parts, z, *given))(z),
        )
        return jax.vmap(step)(start, given)

    level_key, noise_key, _ = jax.random.split(jax.random.key(0), 3)
    clean = planner.encoder(batch.future)
    share = jax.random.uniform(level_key, (4,))[:, None, None]
    noise = jax.random.normal(noise_key, clean.shape)
    first = jnp.sqrt(share) * clean + jnp.sqrt(1 - share) * noise
    second = latents(planner, first)

    smooth_l1 = lambda x: optax.huber_loss(x, delta=0.1) / 0.1

    @jax.jit
    def loss(t):
        errors = [smooth_l1(latents(at(t), z) - clean).mean() for z in (first, second)]
        return sum(errors)

    alone = {"from_noise": 0.0, "arrival_weight": 0.0, "reconstruction_weight": 0.0}
    whole = lambda t: denoising_loss(at(t), batch, jax.random.key(0), **alone)[0]
    found, exact = jax.jit(jax.value_and_grad(whole))(0.0)
    np.testing.assert_allclose(found, loss(0.0), rtol=1e-10)
    np.testing.assert_allclose(exact, (loss(1e-5) - loss(-1e-5)) / 2e-5, rtol=1e-6)


def test_the_targets_have_no_gradient():
    graphdef, params = nnx.split(make())
    batch = draw()

    def loss(params, future, weight):
        planner, given = nnx.merge(graphdef, params), batch.replace(future=future)
        return denoising_loss(planner, given, jax.random.key(0), reconstruction_weight=weight)[0]

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    alone, of_targets = slopes(params, batch.future, 0.0)
    assert (of_targets == 0).all()
    trained = lambda slopes: {name for name in slopes if optax.tree.norm(slopes[name]) > 0}
    assert trained(alone) == {"encoder", "energy", "projector", "log_step_size"}
    # The reconstruction is told to the encoder as well as to the decoder.
    grounded, _ = slopes(params, batch.future, 1.0)
    assert trained(grounded) == trained(alone) | {"decoder"}
    changed = jax.tree.map(jnp.subtract, grounded, alone)
    assert trained(changed) == {"encoder", "decoder"}


def test_starts_are_of_noise_alone_as_often_as_is_asked():
    # From b = 0 the descent does not depend on the future.
    batch = draw(400)
    other = batch.replace(future=batch.future + 1)

    def change(share):
        drop = jax.jit(
            lambda batch: denoising_loss(make(), batch, jax.random.key(0), from_noise=share)[1][
                "energy_drop"
            ]
        )
        return abs(drop(batch) - drop(other))

    assert change(0.98) < 0.2 * change(0.0)


def test_the_near_future_may_weigh_more():
    batch = draw()
    farther = batch.replace(future=batch.future.at[:, 1:].add(1))
    alone = {"from_noise": 0.98, "arrival_weight": 0.0, "reconstruction_weight": 0.0}

    def change(half_weight):
        loss = jax.jit(
            lambda batch: denoising_loss(
                make(), batch, jax.random.key(0), half_weight=half_weight, **alone
            )[0]
        )
        return abs(loss(batch) - loss(farther))

    assert change(1e-9) < 1e-6  # the first latent alone
    assert change(np.inf) > 1e-2


def test_likelihood_of_the_arrival_is_a_density(x64):
    batch = draw(8)
    planner = make()
    likelihood = jax.jit(
        lambda planner, batch: denoising_loss(planner, batch, jax.random.key(0))[1]["arrival"]
    )
    first = jax.tree.map(lambda leaf: leaf[:1], batch)
    steps = jnp.linspace(0, 1, 6 - 2 + 1)  # all at which the goal can be
    densities = [jnp.exp(-likelihood(planner, first.replace(progress=t[None]))) for t in steps]
    np.testing.assert_allclose(np.mean(densities), 1, rtol=1e-6)
    assert np.std(densities) > 1e-3
    # Nor is there anything between these steps that could be likelier.
    between = jnp.linspace(0, 1, 101)[:, None]
    found = [jnp.exp(-likelihood(planner, first.replace(progress=t))) for t in between]
    np.testing.assert_allclose(np.unique(np.round(found, 9)), np.unique(np.round(densities, 9)))
    planner.energy.arrival.readout.kernel[...] *= 0
    np.testing.assert_allclose(likelihood(planner, batch), 0, atol=1e-12)


def test_without_progress_there_is_no_likelihood():
    assert make(timed=False).energy.arrival is None
    energy = make(anchored=False).energy
    latents = jnp.ones((2, 6)), jnp.ones(6), jnp.float32(0.3)
    assert energy.arrival_cost(*latents) == 0


def test_metrics():
    evaluate = jax.jit(lambda planner: denoising_loss(planner, draw(64), jax.random.key(0))[1])
    metrics = evaluate(make())
    assert metrics["effective_rank"] > 1.5
    assert jnp.isnan(denoising_loss(make(), draw(1), jax.random.key(0))[1]["rank_correlation"])
    collapsed = make()
    collapsed.encoder.network.narrow.kernel[...] *= 0
    collapsed.encoder.network.narrow.bias[...] = jnp.arange(6.0)
    assert evaluate(collapsed)["effective_rank"] < 1.01


def test_no_descent_cannot_be_trained(key):
    with pytest.raises(ValueError, match="num_steps is 0"):
        denoising_loss(make(num_steps=0), draw(), key)
    with pytest.raises(ValueError, match="from_noise is 1"):
        denoising_loss(make(), draw(), key, from_noise=1.0)
    with pytest.raises(ValueError, match="half_weight is 0"):
        denoising_loss(make(), draw(), key, half_weight=0.0)
    for name in ("arrival_weight", "reconstruction_weight"):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            denoising_loss(make(), draw(), key, **{name: -1.0})


def data():
    walk = np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), 0)
    return training.offline_data(
        walk, np.diff(walk[:, :1], axis=0, append=0), np.arange(200) == 199
    )


SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
OPTIMIZER = training.keep_average(training.cosine_adam(3e-3, 40), decay=0.9)
batch_fn = lambda key, data: training.hindsight_batch(
    data, key, batch_size=8, horizon=6, max_past=2
)


def fit(num_steps, folder=None):
    return training.train(
        *(make(), SCAN, data()),
        batch_fn=batch_fn,
        loss_fn=denoising_loss,
        optimizer=OPTIMIZER,
        key=jax.random.key(0),
        num_steps=num_steps,
        steps_per_call=20,
        directory=folder,
        progress=False,
    )


def test_two_half_trainings_are_one(tmp_path):
    with jax.debug_key_reuse(False):
        whole, rows = fit(40)
        fit(20, tmp_path)
        resumed, _ = fit(40, tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"]
    leaves = lambda planner: jax.tree.leaves(nnx.state(planner))
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["inverse", "decoder"])
def test_heads_learn_without_the_encoder(name):
    planner = make()
    loss_fn = {"inverse": training.inverse_loss, "decoder": training.decoder_loss}[name]
    steps = training.transition_batch(data(), jax.random.key(1), batch_size=32)
    graphdef, params = nnx.split(getattr(planner, name))
    loss = lambda params: loss_fn(
        nnx.merge(graphdef, params), (planner.encoder, steps), jax.random.key(0)
    )[0]
    down = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    assert loss(down) < loss(params)


def test_averages():
    optimizer = training.keep_average(optax.sgd(1.0), decay=0.5)
    params, state = jnp.zeros(()), optimizer.init(jnp.zeros(()))
    seen, average = [], 0.0
    for step in range(1, 21):
        updates, state = optimizer.update(jnp.float32(-1.0), state, params)
        params = optax.apply_updates(params, updates)
        weight = min(0.5, step / (step + 9))
        average = weight * average + (1 - weight) * float(params)
        seen.append((float(state.average), average))
    np.testing.assert_allclose(*zip(*seen, strict=True), rtol=1e-5)
    assert training.keep_average(OPTIMIZER, decay=0.5) is training.keep_average(
        OPTIMIZER, decay=0.5
    )
    with pytest.raises(ValueError, match="decay is 1"):
        training.keep_average(optax.sgd(1.0), decay=1)


class Point(nnx.Module):
    def __init__(self):
        self.place = nnx.Param(jnp.zeros(()))


def test_average_is_what_training_returns():
    run = lambda optimizer: training.train(
        *(Point(), SCAN),
        batch_fn=lambda key: None,
        loss_fn=lambda point, batch, key: (-point.place[...], {}),
        optimizer=optimizer,
        key=jax.random.key(0),
        num_steps=4,
        steps_per_call=2,
        progress=False,
    )[0].place[...]
    assert run(optax.sgd(1.0)) == 4
    # Weights n / (n + 9) of the average so far, which begins at 0.
    average = 0.0
    for n in range(1, 5):
        average = n / (n + 9) * average + 9 / (n + 9) * n
    np.testing.assert_allclose(run(training.keep_average(optax.sgd(1.0))), average, rtol=1e-6)
    with pytest.raises(ValueError, match="keep_average is inside"):
        run(optax.chain(optax.clip(1.0), training.keep_average(optax.sgd(1.0))))
