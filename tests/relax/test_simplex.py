import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jplan.relax import sparsemax

jitted = jax.jit(sparsemax)
LOGITS = arrays(np.float64, st.integers(1, 6), elements=st.floats(-20, 20, width=32))


def projection(logits):
    """Independent reference: the threshold by bisection."""
    low, high = logits.min() - 1, logits.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(logits - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(logits - high, 0)


def test_hand_computed():
    np.testing.assert_allclose(sparsemax(jnp.array([1.0, 0.8, -1.0])), [0.6, 0.4, 0], atol=1e-7)
    np.testing.assert_array_equal(sparsemax(jnp.array([5.0, 1.0, 0.0])), [1, 0, 0])
    np.testing.assert_allclose(sparsemax(jnp.zeros(4)), 0.25)


@settings(deadline=None, max_examples=30)
@given(LOGITS)
def test_is_the_projection(logits):
    with jax.enable_x64(True):
        got = np.asarray(jitted(jnp.asarray(logits)))
        shifted = np.asarray(jitted(jnp.asarray(logits) + 7.5))
    np.testing.assert_allclose(got, projection(logits), atol=1e-9)
    np.testing.assert_allclose(got.sum(), 1, atol=1e-12)
    np.testing.assert_allclose(shifted, got, atol=1e-12)


def test_large_common_offset_does_not_cancel():
    small = jnp.array([0.0, 0.25, -1.0])
    np.testing.assert_array_equal(sparsemax(small + 2.0**20), sparsemax(small))


def test_jacobian_is_that_of_finite_differences(x64):
    rng = np.random.default_rng(0)
    for _ in range(5):
        logits = jnp.asarray(rng.normal(size=5))
        forward, reverse = jax.jacfwd(sparsemax)(logits), jax.jacrev(sparsemax)(logits)
        step = 1e-6 * jnp.eye(5)
        difference = jnp.stack(
            [(sparsemax(logits + h) - sparsemax(logits - h)) / 2e-6 for h in step], axis=1
        )
        np.testing.assert_allclose(forward, difference, atol=1e-8)
        np.testing.assert_allclose(reverse, forward, atol=1e-15)


def test_choices_that_are_not_allowed():
    logits = jnp.array([[0.0, -jnp.inf, 0.0], [-jnp.inf, -jnp.inf, -jnp.inf]])
    np.testing.assert_array_equal(sparsemax(logits), [[0.5, 0, 0.5], [0, 0, 0]])
    gradient = jax.grad(lambda x: jnp.sum(sparsemax(x) * jnp.array([[1.0, 2.0, 3.0]] * 2)))(logits)
    np.testing.assert_array_equal(gradient, [[-1, 0, 1], [0, 0, 0]])


def test_nan_is_not_hidden():
    assert np.isnan(sparsemax(jnp.array([0.0, jnp.nan]))).all()


def test_axis_jit_vmap_and_dtype(key):
    logits = jax.random.normal(key, (3, 4, 5))
    want = jnp.stack([jnp.stack([sparsemax(row) for row in block]) for block in logits])
    np.testing.assert_allclose(sparsemax(logits), want, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(sparsemax)))(logits), want, atol=1e-7)
    moved = sparsemax(jnp.moveaxis(logits, -1, 0), axis=0)
    np.testing.assert_allclose(jnp.moveaxis(moved, 0, -1), want, atol=1e-7)
    assert sparsemax(logits.astype(jnp.bfloat16), axis=1).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("logits", "axis", "message"),
    [
        (jnp.zeros(3, int), -1, "got dtype int32"),
        (jnp.zeros(()), -1, r"got shape \(\)"),
        (jnp.zeros((2, 0)), -1, r"got shape \(2, 0\)"),
        (jnp.zeros(2), 1, "axis=1"),
    ],
)
def test_bad_input(logits, axis, message):
    with pytest.raises(ValueError, match=message):
        sparsemax(logits, axis=axis)
