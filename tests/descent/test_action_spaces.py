import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import Box, Product, Simplex

RELAXATIONS = ["softmax", "sparsemax", "entmax15", "straight_through", "gumbel"]


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_relaxed_actions_lie_on_the_simplex(relaxation):
    space = Simplex(4, relaxation=relaxation, temperature=0.5)
    latent = space.sample(jax.random.key(0), (6, 3))
    action = space.decode(latent, key=jax.random.key(1))
    assert action.shape == latent.shape == (6, 3, 4)
    np.testing.assert_allclose(action.sum(-1), 1, rtol=1e-5)
    assert (action >= 0).all()
    hard = space.quantise(latent)
    np.testing.assert_array_equal(hard.argmax(-1), latent.argmax(-1))
    np.testing.assert_array_equal(jnp.sort(hard, axis=-1)[..., :-1], 0)
    if relaxation != "gumbel":
        np.testing.assert_array_equal(action.argmax(-1), latent.argmax(-1))
    slope = jax.grad(lambda x: space.decode(x, key=jax.random.key(1))[..., 0].sum())(latent)
    assert (slope != 0).any()


def test_straight_through_is_hard_with_a_soft_gradient():
    latent = jnp.array([0.3, 0.1, -2.0])
    hard, soft = Simplex(3, relaxation="straight_through"), Simplex(3)
    np.testing.assert_array_equal(hard.decode(latent), [1, 0, 0])
    jacobians = [jax.jacobian(space.decode)(latent) for space in (hard, soft)]
    np.testing.assert_allclose(*jacobians, rtol=1e-6)


def test_gumbel_samples_have_the_softmax_as_their_law():
    space = Simplex(3, relaxation="gumbel", temperature=0.1)
    logits = jnp.array([0.0, 1.0, -1.0])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: space.decode(logits, key=key))(keys).argmax(-1)
    shares = jnp.bincount(drawn, length=3) / 4000
    np.testing.assert_allclose(shares, jax.nn.softmax(logits), atol=0.03)


def test_a_box_clips():
    box = Box(jnp.array([-1.0, 0.0]), jnp.array([1.0, 2.0]))
    drawn = box.sample(jax.random.key(0), (1000,))
    assert drawn.shape == (1000, 2)
    assert ((drawn >= box.low[None]) & (drawn <= box.high[None])).all()
    np.testing.assert_allclose(drawn.mean(0), [0, 1], atol=0.1)
    np.testing.assert_array_equal(box.project(jnp.array([-4.0, 1.0])), [-1, 1])
    np.testing.assert_array_equal(box.quantise(jnp.array([0.5, 7.0])), [0.5, 2])


def test_a_box_draws_normal_vectors_if_it_has_a_scale():
    drawn = Box(jnp.array([-1.0, -9.0]), jnp.array([1.0, 9.0]), scale=0.5).sample(
        jax.random.key(0), (4000,)
    )
    np.testing.assert_allclose(drawn.std(0), [0.48, 0.5], atol=0.02)  # the first is clipped
    assert abs(drawn[:, 0]).max() == 1


@pytest.mark.parametrize(
    "space",
    [
        Simplex(3, scale=0.5, correlation=0.8),
        Box(-9 * jnp.ones(3), 9 * jnp.ones(3), scale=0.5, correlation=0.8),
    ],
)
def test_draws_may_resemble_those_of_the_step_before(space):
    drawn = np.asarray(space.sample(jax.random.key(0), (2000, 6)))
    np.testing.assert_allclose(drawn.std((0, 2)), 0.5, atol=0.02)
    for ago in (1, 3):
        together = (drawn[:, ago:] * drawn[:, :-ago]).mean((0, 2)) / 0.25
        np.testing.assert_allclose(together, 0.8**ago, atol=0.05)
    assert space.sample(jax.random.key(0)).shape == (3,)


def test_a_product_treats_each_part_as_its_own():
    parts = {"signal": Simplex(4), "thrust": Box(-jnp.ones(2), jnp.ones(2))}
    space = Product(parts)
    latent = space.sample(jax.random.key(0), (7,))
    assert jax.tree.map(jnp.shape, latent) == {"signal": (7, 4), "thrust": (7, 2)}
    for method in ("decode", "project", "quantise"):
        got = getattr(space, method)(latent)
        for name, part in parts.items():
            np.testing.assert_array_equal(got[name], getattr(part, method)(latent[name]))
    again = jax.jit(lambda space, key: space.sample(key, (7,)))(space, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), again, latent)


def test_mistakes_get_advice():
    with pytest.raises(ValueError, match="num_actions is 0"):
        Simplex(0).sample(jax.random.key(0))
    with pytest.raises(ValueError, match="relaxation is 'hard'"):
        Simplex(2, relaxation="hard").decode(jnp.zeros(2))
    with pytest.raises(ValueError, match="key is None"):
        Simplex(2, relaxation="gumbel").decode(jnp.zeros(2))
    with pytest.raises(ValueError, match="expected the same"):
        Box(jnp.zeros(2), jnp.ones(3)).sample(jax.random.key(0))
    with pytest.raises(ValueError, match="at least one part"):
        Product({}).sample(jax.random.key(0))
    with pytest.raises(ValueError, match=r"latent has parts \['b'\], expected \['a'\]"):
        Product({"a": Simplex(2)}).decode({"b": jnp.zeros(2)})


def test_a_correlation_has_to_be_possible():
    with pytest.raises(ValueError, match=r"correlation is 1.0, expected a Python number"):
        Simplex(3, correlation=1.0).sample(jax.random.key(0), (4, 5))
    with pytest.raises(ValueError, match="expected a Python number from 0 on"):
        jax.jit(lambda c: Simplex(3, correlation=c).sample(jax.random.key(0), (4, 5)))(0.5)
    with pytest.raises(ValueError, match="uniform draws do not correlate"):
        Box(-jnp.ones(1), jnp.ones(1), correlation=0.5).sample(jax.random.key(0), (4, 5))


def test_imitation_of_vectors_is_in_units_of_the_scale():
    bounds = -jnp.ones(2), jnp.ones(2)
    latent, action = jnp.array([0.1, 0.5]), jnp.array([0.3, 0.5])
    plain = Box(*bounds).imitation_loss(latent, action)
    scaled = Box(*bounds, scale=0.2).imitation_loss(latent, action)
    np.testing.assert_allclose([plain, scaled], [0.02, 0.5], rtol=1e-5)
