import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp
from jplan.testing import assert_gradients_agree


def fresh():
    return jax.random.key(0)


def tanh_map(params, z):
    sign = jnp.where(params["flip"], -1, 1)
    return sign * jnp.tanh(params["weight"] @ z + params["bias"])


@jax.custom_vjp
def twice_wrong(x):
    return 0.3 * x


twice_wrong.defvjp(lambda x: (0.3 * x, None), lambda _, g: (0.6 * g,))


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 4))
    return {
        "weight": jnp.asarray(0.7 * weight / np.linalg.norm(weight, 2), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=4), jnp.float32),
        "flip": jnp.array(True),
    }


def loss_fn(z):
    return jnp.sum(jnp.sin(3 * z))


def test_all_true_adjoints_pass_from_single_precision_inputs(params):
    tight = jp.Anderson(tol=1e-12, max_steps=300)
    adjoints = [
        jp.Unroll(),
        jp.Truncated(80),
        jp.Implicit(backward=tight),
        jp.Implicit(backward=tight, mode="forward"),
        jp.Safeguarded(backward=tight),
    ]
    assert_gradients_agree(
        tanh_map,
        params,
        jnp.zeros(4),
        loss_fn,
        fresh(),
        solver=jp.Picard(tol=1e-12, max_steps=200),
        adjoints=adjoints,
    )
    assert params["bias"].dtype == jnp.float32


@pytest.mark.parametrize("adjoint", [jp.OneStep(), jp.Truncated(2)])
def test_biased_adjoints_fail_with_both_numbers(adjoint, params):
    with pytest.raises(AssertionError, match=r"gives -?\d.* along \['bias'\], expected -?\d"):
        assert_gradients_agree(
            tanh_map, params, jnp.zeros(4), loss_fn, fresh(), adjoints=[jp.Unroll(), adjoint]
        )


def test_a_wrong_rule_is_found_and_its_leaf_is_named():
    step = lambda p, z: 0.5 * z + p["right"] + twice_wrong(p["wrong"])
    params = {"right": jnp.ones(2), "wrong": jnp.ones(2)}
    with pytest.raises(AssertionError, match=r"Unroll.* along \['wrong'\]"):
        assert_gradients_agree(step, params, jnp.zeros(2), jnp.sum, fresh())
    assert_gradients_agree(
        lambda p, z: step(p | {"wrong": jax.lax.stop_gradient(jnp.zeros(2))}, z),
        {"right": jnp.ones(2)},
        jnp.zeros(2),
        jnp.sum,
        fresh(),
    )


def test_an_unconverged_solve_fails(params):
    solver = jp.Picard(tol=1e-12, max_steps=3)
    with pytest.raises(AssertionError, match="MAX_STEPS, expected CONVERGED"):
        assert_gradients_agree(tanh_map, params, jnp.zeros(4), loss_fn, fresh(), solver=solver)


def test_nan_gradients_fail():
    """The unsafe `where`: finite differences are 0, the gradient is 0 * NaN."""
    step = lambda p, z: 0.5 * z + jnp.where(p > 0, jnp.sqrt(p), 0.0)
    with pytest.raises(AssertionError, match=r"gives nan, expected 0 "):
        assert_gradients_agree(step, -jnp.ones(1), jnp.zeros(1), jnp.sum, fresh())


def test_keys_pass_and_a_scalar_without_name_works():
    noisy = lambda p, z: 0.5 * z + p[0] * jax.random.normal(p[1], z.shape, z.dtype)
    with jax.debug_key_reuse(False):  # one key for all steps is what is meant here
        assert_gradients_agree(
            noisy, (jnp.ones(()), jax.random.key(3)), jnp.zeros(2), jnp.sum, fresh()
        )
    cosine = functools.partial(lambda p, z: jnp.cos(p * z))
    with pytest.raises(AssertionError, match=r"gives -0\.\d+, expected -0\.\d+ by finite"):
        assert_gradients_agree(cosine, 0.9, 0.0, jnp.sum, fresh(), adjoints=[jp.OneStep()])


def test_nothing_to_differentiate_is_an_error():
    with pytest.raises(ValueError, match="at least one of floating point"):
        assert_gradients_agree(lambda p, z: 0.5 * z, jnp.arange(2), 0.0, jnp.sum, fresh())
