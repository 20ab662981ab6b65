"""Engine 1 takes plain callables, so the callables of any library work as f."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp


def linen_problem():
    from flax import linen

    class Cell(linen.Module):
        @linen.compact
        def __call__(self, z):
            return 0.5 * jnp.tanh(linen.Dense(4)(z)) + 0.1

    cell = Cell()
    return (lambda params, z: cell.apply(params, z)), cell.init(jax.random.key(0), jnp.zeros(4))


def equinox_problem():
    import equinox as eqx

    linear = eqx.nn.Linear(4, 4, key=jax.random.key(0))
    return (lambda cell, z: 0.5 * jnp.tanh(cell(z)) + 0.1), linear


def haiku_problem():
    import haiku as hk

    cell = hk.without_apply_rng(hk.transform(lambda z: 0.5 * jnp.tanh(hk.Linear(4)(z)) + 0.1))
    return cell.apply, cell.init(jax.random.key(0), jnp.zeros(4))


def nnx_problem():
    from flax import nnx

    graphdef, state = nnx.split(nnx.Linear(4, 4, rngs=nnx.Rngs(0)))
    return (lambda state, z: 0.5 * jnp.tanh(nnx.merge(graphdef, state)(z)) + 0.1), state


@pytest.mark.parametrize("adjoint", [jp.Implicit(), jp.Safeguarded(steps=3)])
@pytest.mark.parametrize("problem", [linen_problem, equinox_problem, haiku_problem, nnx_problem])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the other libraries, at import
def test_gradient_through_a_cell_of_another_library(problem, adjoint):
    f, params = problem()
    solve = lambda params, adjoint: jnp.sum(
        jp.fixed_point(f, params, jnp.zeros(4), solver=jp.Picard(tol=1e-7), adjoint=adjoint).value
        ** 2
    )
    slope = jax.jit(jax.grad(solve), static_argnums=1)
    gradient, expected = slope(params, adjoint), slope(params, jp.Unroll())
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    for got, want in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
        assert float(jnp.abs(want).max()) > 0
