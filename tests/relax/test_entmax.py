import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from jplan.relax import entmax15, gumbel_softmax, sparsemax, straight_through


def reference(logits):
    """Independent: the threshold by root finding."""
    excess = lambda t: (np.maximum(logits / 2 - t, 0) ** 2).sum() - 1
    threshold = brentq(excess, logits.max() / 2 - 1, logits.max() / 2, xtol=1e-14)
    return np.maximum(logits / 2 - threshold, 0) ** 2


def test_entmax_equals_its_definition_and_its_derivative(x64):
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 5.0):
        logits = scale * rng.normal(size=6)
        np.testing.assert_allclose(entmax15(jnp.asarray(logits)), reference(logits), atol=1e-11)
        jacobian = jax.jacrev(entmax15)(jnp.asarray(logits))
        slopes = [(reference(logits + h) - reference(logits - h)) / 2e-6 for h in 1e-6 * np.eye(6)]
        np.testing.assert_allclose(jacobian, np.stack(slopes, axis=1), atol=1e-5)
        np.testing.assert_allclose(jacobian, jax.jacfwd(entmax15)(jnp.asarray(logits)), atol=1e-12)


def test_entmax_is_sparser_than_softmax_and_softer_than_sparsemax():
    logits = jnp.array([1.0, 0.5, -0.2, -2.5])
    zeros = [int((f(logits) == 0).sum()) for f in (jax.nn.softmax, entmax15, sparsemax)]
    assert zeros == sorted(zeros)
    assert zeros[0] == 0 < zeros[2]


def test_entmax_of_what_is_not_allowed_and_of_nan():
    logits = jnp.array([[0.0, -jnp.inf, 0.0], [-jnp.inf] * 3])
    np.testing.assert_allclose(entmax15(logits), [[0.5, 0, 0.5], [0, 0, 0]], atol=1e-7)
    gradient = jax.grad(lambda x: jnp.sum(entmax15(x) * jnp.array([[1.0, 2.0, 3.0]] * 2)))(logits)
    assert np.isfinite(gradient).all()
    assert np.isnan(entmax15(jnp.array([0.0, jnp.nan]))).all()


def test_entmax_along_another_axis_under_vmap():
    logits = jax.random.normal(jax.random.key(0), (4, 3))
    np.testing.assert_allclose(entmax15(logits, axis=0), entmax15(logits.T).T, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(entmax15)(logits), entmax15(logits), rtol=1e-6)


def test_straight_through_has_one_value_and_another_gradient():
    soft = lambda x: jnp.sin(x)
    both = lambda x: straight_through(jnp.round(x), soft(x))
    x = jnp.array([0.2, 0.9, -1.4])
    np.testing.assert_array_equal(both(x), jnp.round(x))
    np.testing.assert_allclose(jax.grad(lambda x: both(x).sum())(x), jnp.cos(x), rtol=1e-6)
    with pytest.raises(ValueError, match="expected the same"):
        straight_through(jnp.zeros(2), jnp.zeros(3))


def test_gumbel_softmax_sharpens_and_is_checked():
    logits, key = jnp.array([0.0, 1.0, -1.0]), jax.random.key(0)
    noise = jax.random.gumbel(key, (3,))
    got = gumbel_softmax(key, logits, temperature=0.7)
    np.testing.assert_allclose(got, jax.nn.softmax((logits + noise) / 0.7), rtol=1e-6)
    assert gumbel_softmax(jax.random.key(0), logits, temperature=0.01).max() > 0.99
    with pytest.raises(ValueError, match="temperature: got 0"):
        gumbel_softmax(jax.random.key(0), logits, temperature=0)
    with pytest.raises(ValueError, match="dtype int32"):
        gumbel_softmax(jax.random.key(0), jnp.zeros(3, int), temperature=1.0)
