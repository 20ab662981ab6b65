"""Properties that hold for every contraction, on problems drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jplan as jp

SOLVERS = {
    "picard": jp.Picard(tol=1e-11, max_steps=600),
    "anderson": jp.Anderson(tol=1e-11, max_steps=600),
    "broyden": jp.Broyden(tol=1e-11, max_steps=600),
}
BACKWARD = {**SOLVERS, "gmres": jp.GMRES(tol=1e-11, max_steps=200)}


def linear(params, z):
    matrix, bias = params
    return matrix @ z + bias


@st.composite
def contractions(draw, size=6):
    """A matrix of 2-norm below 1, and a bias of any scale."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    norm = draw(st.floats(0.0, 0.95))
    matrix = rng.normal(size=(size, size))
    matrix *= norm / np.linalg.norm(matrix, 2)
    return matrix, rng.normal(size=size) * 10.0 ** draw(st.integers(-3, 3))


@pytest.mark.parametrize("solver", SOLVERS)
@settings(max_examples=30, deadline=None)
@given(problem=contractions())
def test_every_solver_finds_the_solution_of_a_linear_contraction(solver, problem):
    matrix, bias = problem
    exact = np.linalg.solve(np.eye(6) - matrix, bias)
    with jax.enable_x64(True):
        params = (jnp.asarray(matrix), jnp.asarray(bias))
        solution = jp.fixed_point(linear, params, jnp.zeros(6), solver=SOLVERS[solver])
        assert solution.status == jp.Status.CONVERGED
        np.testing.assert_allclose(solution.value, exact, rtol=1e-7, atol=1e-9)


@jax.jit
def adjoint_solve(params, cotangent, backward):
    return jp.fixed_point_vjp(linear, params, jnp.zeros(6), cotangent, backward=backward)


@pytest.mark.parametrize("backward", BACKWARD)
@settings(max_examples=30, deadline=None)
@given(problem=contractions())
def test_every_backward_solver_solves_the_transposed_system(backward, problem):
    matrix, bias = problem
    with jax.enable_x64(True):
        params = (jnp.asarray(matrix), jnp.asarray(bias))
        report = adjoint_solve(params, jnp.asarray(bias), BACKWARD[backward])
        exact = np.linalg.solve(np.eye(6) - matrix.T, bias)
        assert report.status == jp.Status.CONVERGED
        np.testing.assert_allclose(report.value[1], exact, rtol=1e-6, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(problem=contractions(), shift=st.floats(-100, 100))
def test_a_shifted_problem_has_the_shifted_solution(problem, shift):
    """z = A z + b moves by c when b moves by (I - A) c."""
    matrix, bias = problem
    moved = bias + (np.eye(6) - matrix) @ np.full(6, shift)
    with jax.enable_x64(True):
        plain, other = (
            jp.fixed_point(
                linear,
                (jnp.asarray(matrix), jnp.asarray(b)),
                jnp.zeros(6),
                solver=SOLVERS["picard"],
            ).value
            for b in (bias, moved)
        )
        np.testing.assert_allclose(other - plain, shift, rtol=1e-7, atol=1e-7)
