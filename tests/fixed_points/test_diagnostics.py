import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp
from jplan.fixed_points import gradient_report, jacobian_penalty, spectral_radius


def matrix_map(p, z):
    return p @ z + 1.0


def test_spectral_radius_of_real_complex_and_nilpotent_jacobians(key, x64):
    z = jnp.zeros(3)
    turn = 0.8 * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 0.5]])
    cases = [(np.diag([0.3, -0.9, 0.1]), 0.9), (turn, 0.8), (np.eye(3, k=1), 0.0)]
    for (matrix, radius), one in zip(cases, jax.random.split(key, 3), strict=True):
        estimate = spectral_radius(matrix_map, jnp.asarray(matrix), z, one, num_steps=200)
        np.testing.assert_allclose(estimate, radius, rtol=2e-2, atol=1e-12)


@pytest.mark.parametrize(("scale", "expected"), [(np.nan, np.nan), (np.inf, np.nan), (1e25, 1e25)])
def test_spectral_radius_of_a_broken_or_huge_map(scale, expected, key):
    estimate = spectral_radius(lambda p, z: p * z, scale, jnp.ones(40), key)
    np.testing.assert_allclose(estimate, expected, rtol=1e-4)


def test_jacobian_penalty_is_an_unbiased_frobenius_norm(x64):
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)))
    first, second = jax.random.split(jax.random.key(1), (2, 20_000))
    probes = jax.vmap(lambda k: jacobian_penalty(matrix_map, matrix, jnp.zeros(4), k))(first)
    np.testing.assert_allclose(jnp.mean(probes), jnp.sum(matrix**2) / 4, rtol=3e-2)
    gradient = jax.vmap(
        jax.grad(lambda m, k: jacobian_penalty(matrix_map, m, jnp.zeros(4), k)), (None, 0)
    )(matrix, second)
    np.testing.assert_allclose(gradient.mean(0), matrix / 2, atol=6e-2)


def test_gradient_report_tells_a_converged_solve_from_an_unconverged_one(key, x64):
    rng = np.random.default_rng(0)
    matrix = jnp.asarray(rng.normal(size=(5, 5)))
    matrix = 0.95 * matrix / jnp.max(jnp.abs(jnp.linalg.eigvals(matrix)))
    loss = lambda z: jnp.sum(z**2)
    good, poor = (
        gradient_report(
            matrix_map, matrix, jnp.zeros(5), loss, one, solver=jp.Picard(max_steps=steps)
        )
        for steps, one in zip((2000, 4), jax.random.split(key), strict=True)
    )
    assert good.cosine == pytest.approx(1, abs=1e-9)
    assert good.relative_error < 1e-6
    assert good.forward_status == good.backward_status == jp.Status.CONVERGED
    assert poor.forward_status != jp.Status.CONVERGED
    assert poor.relative_error > 0.3
    assert good.spectral_radius == pytest.approx(0.95, rel=3e-2)


def test_spectral_radius_needs_two_steps(key):
    with pytest.raises(ValueError, match="num_steps is 1"):
        spectral_radius(matrix_map, jnp.eye(2), jnp.zeros(2), key, num_steps=1)
