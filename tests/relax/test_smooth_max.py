import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads
from scipy.optimize import minimize
from scipy.special import logsumexp

from jplan.relax import softmax_value, sparsemax, sparsemax_value

VALUES = arrays(np.float64, 4, elements=st.floats(-50, 50, width=32))
jitted = functools.cache(jax.jit)
BOTH = pytest.mark.parametrize("smooth_max", [softmax_value, sparsemax_value])


def test_hand_computed():
    np.testing.assert_allclose(softmax_value(jnp.zeros(4), 2.0), 2 * np.log(4), rtol=1e-6)
    # p = (0.6, 0.4, 0): <p, x> = 0.92, (1 - 0.52) / 2 = 0.24.
    np.testing.assert_allclose(sparsemax_value(jnp.array([1.0, 0.8, -1.0]), 1.0), 1.16, rtol=1e-6)
    # Lee et al.'s closed form with one supported action is the maximum itself.
    assert sparsemax_value(jnp.array([3.0, 1.0]), 1.0) == 3.0


def test_reference(x64):
    rng = np.random.default_rng(0)
    for temperature in (0.3, 1.0, 4.0):
        x = rng.normal(size=4)
        np.testing.assert_allclose(
            softmax_value(jnp.asarray(x), temperature),
            temperature * logsumexp(x / temperature),
            rtol=1e-12,
        )
        best = minimize(
            lambda p, x=x, t=temperature: -(p @ x + t / 2 * (1 - p @ p)),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            tol=1e-13,
        )
        got = sparsemax_value(jnp.asarray(x), temperature)
        np.testing.assert_allclose(got, -best.fun, rtol=1e-7)


@BOTH
@settings(deadline=None, max_examples=25)
@given(x=VALUES, y=VALUES, temperature=st.floats(0.05, 20))
def test_smooth_maximum(smooth_max, x, y, temperature):
    with jax.enable_x64(True):
        value = lambda x: float(jitted(smooth_max)(jnp.asarray(x), temperature))
        slack = temperature * (np.log(4) if smooth_max is softmax_value else 3 / 8)
        assert x.max() - 1e-9 <= value(x) <= x.max() + slack + 1e-9
        assert abs(value(x) - value(y)) <= np.abs(x - y).max() + 1e-9  # no expansion
        assert value(np.minimum(x, y)) <= value(x) + 1e-9  # monotone
        np.testing.assert_allclose(value(x + 3), value(x) + 3, atol=1e-9)


@BOTH
def test_gradients(smooth_max, x64):
    x, temperature = jnp.array([0.3, -0.2, 0.55, -4.0]), 0.7
    check_grads(jitted(smooth_max), (x, temperature), order=2)
    relaxed = jax.nn.softmax if smooth_max is softmax_value else sparsemax
    np.testing.assert_allclose(
        jax.grad(smooth_max)(x, temperature), relaxed(x / temperature), atol=1e-12
    )


@BOTH
def test_minus_infinity_is_safe(smooth_max):
    x = jnp.array([[-jnp.inf, 0.0, 0.0], [-jnp.inf] * 3, [-1e6, -1e6, -jnp.inf]])
    value, (to_x, to_t) = jax.value_and_grad(
        lambda x, t: jnp.sum(jnp.where(jnp.isneginf(v := smooth_max(x, t)), 0, v)), (0, 1)
    )(x, 0.5)
    assert smooth_max(x, 0.5)[1] == -jnp.inf
    assert np.isfinite(value)
    assert np.isfinite(to_t)
    np.testing.assert_allclose(to_x, [[0, 0.5, 0.5], [0, 0, 0], [0.5, 0.5, 0]], atol=1e-6)


@BOTH
def test_axis_transforms_dtype_and_nan(smooth_max, key):
    x = jax.random.normal(key, (3, 4))
    want = jnp.stack([smooth_max(row, 0.3) for row in x])
    np.testing.assert_allclose(jax.jit(smooth_max)(x, 0.3), want, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(smooth_max, (0, None))(x, 0.3), want, rtol=1e-6)
    np.testing.assert_allclose(smooth_max(x.T, 0.3, axis=0), want, rtol=1e-6)
    assert smooth_max(x.astype(jnp.bfloat16), jnp.float32(0.3)).dtype == jnp.bfloat16
    assert np.isnan(smooth_max(jnp.array([0.0, jnp.nan]), 1.0))
    with pytest.raises(ValueError, match="temperature: got 0"):
        smooth_max(x, 0)
