"""Gradients of a fixed point by the implicit function theorem."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jplan._typing import Array, FixedPointFn, Params, PyTree
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._broyden import Broyden
from jplan.fixed_points._checks import check_map, check_solver
from jplan.fixed_points._iterate import solve
from jplan.fixed_points._linear import GMRES
from jplan.fixed_points._picard import Picard
from jplan.fixed_points._residual import measure_total, resolve_tolerance
from jplan.fixed_points._solution import Solution, Status

Backward: TypeAlias = Picard | Anderson | Broyden | GMRES
"""What solves the linear system of a backward pass."""

BACKWARD_KINDS = (Picard, Anderson, Broyden, GMRES)


def solve_linear(
    apply_fn: Callable[[PyTree], PyTree],
    right: PyTree,
    *,
    backward: Backward,
    num_steps: Any = None,
) -> Solution:
    """Solve ``u = apply_fn(u) + right`` from zero; residuals are relative to ``right``.

    Measured in the sum norm, see `measure_total`, and against ``right``: against a growing ``u``
    the residual of a divergent series looks as if it fell.
    """
    if isinstance(backward, GMRES):
        return backward.solve(apply_fn, right)
    limit = resolve_tolerance(backward, right).limit
    sizes = [jnp.sum(jnp.abs(leaf).astype(limit.dtype)) for leaf in jax.tree.leaves(right)]
    scale = functools.reduce(jnp.add, sizes)
    scale = jnp.where(jnp.isfinite(scale), scale, 1)  # the solve itself reports what is not finite
    solver = dataclasses.replace(backward, tol=None, atol=limit * scale, rtol=0.0)
    step = lambda right, u: jax.tree.map(jnp.add, apply_fn(u), right)
    zeros = jax.tree.map(jnp.zeros_like, right)
    solution, _ = solve(
        step, right, zeros, solver=solver, num_steps=num_steps, measure=measure_total
    )
    return dataclasses.replace(
        solution, residual=solution.residual / jnp.where(scale > 0, scale, 1)
    )


@dataclasses.dataclass(frozen=True)
class _AdjointMap:
    """The fixed-point map of the backward pass, ``u -> (df/dz)^T u + g``.

    It is compared by ``f``, so that nested solves are cached, and it is differentiable in its
    parameters ``(params, z, g)``, so that reverse mode nests.
    """

    f: FixedPointFn

    def __call__(self, params: tuple[Params, PyTree, PyTree], u: PyTree) -> PyTree:
        inner, z, g = params
        _, pullback = jax.vjp(functools.partial(self.f, inner), z)
        return jax.tree.map(jnp.add, pullback(u)[0], g)


def solve_adjoint(
    f: FixedPointFn,
    params: Params,
    z: PyTree,
    cotangent: PyTree,
    *,
    backward: Backward,
    num_steps: Any = None,
) -> Solution:
    """Solve ``u = (df/dz)^T u + cotangent`` without gradients."""
    params, z, cotangent, backward = jax.lax.stop_gradient((params, z, cotangent, backward))
    _, pullback = jax.vjp(functools.partial(f, params), z)
    return solve_linear(lambda u: pullback(u)[0], cotangent, backward=backward, num_steps=num_steps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attach(
    f: FixedPointFn,
    drop_failures: bool,
    params: Params,
    z: PyTree,
    backward: Backward,
    trust: Array,
) -> PyTree:
    """Identity on ``z`` that carries the implicit gradient to ``params``.

    Where the backward solve fails the gradient is NaN, or zero if ``drop_failures``; where
    ``trust`` is False no backward solve is made and the gradient is zero.
    """
    del f, drop_failures, params, backward, trust
    return z


def _attach_forward(
    f: FixedPointFn,
    drop_failures: bool,
    params: Params,
    z: PyTree,
    backward: Backward,
    trust: Array,
) -> tuple[PyTree, tuple]:
    # The saved z must itself depend on params, or second derivatives would miss that path.
    z = attach(f, drop_failures, params, z, backward, trust)
    return z, (params, z, backward, trust)


def _attach_backward(
    f: FixedPointFn, drop_failures: bool, saved: tuple, cotangent: PyTree
) -> tuple[Params, None, None, None]:
    params, z, backward, trust = saved
    budget = None if isinstance(backward, GMRES) else jnp.where(trust, backward.max_steps, 0)
    solution = solve_adjoint(f, params, z, cotangent, backward=backward, num_steps=budget)
    failed = solution.status == Status.DIVERGED
    adjoint_map = _AdjointMap(f)
    u = attach(adjoint_map, drop_failures, (params, z, cotangent), solution.value, backward, trust)
    if drop_failures:
        use = trust & ~failed
        u = jax.tree.map(lambda leaf: jnp.where(use, leaf, 0), u)
    else:
        u = jax.tree.map(lambda leaf: jnp.where(failed, jnp.nan, leaf), u)
    _, pullback = jax.vjp(lambda params: f(params, z), params)
    return pullback(u)[0], None, None, None


attach.defvjp(_attach_forward, _attach_backward)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def attach_tangent(f: FixedPointFn, params: Params, z: PyTree, backward: Backward) -> PyTree:
    """As `attach`, by a tangent rule with a transposable linear solve: forward mode works too."""
    del f, params, backward
    return z


@attach_tangent.defjvp
def _attach_tangent_rule(f: FixedPointFn, primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    params, z, backward = primals
    z = attach_tangent(f, params, z, backward)
    _, right = jax.jvp(lambda params: f(params, z), (params,), (tangents[0],))
    _, push = jax.linearize(functools.partial(f, params), z)
    subtract = functools.partial(jax.tree.map, jnp.subtract)

    def solve_system(matvec: Callable[[PyTree], PyTree], right: PyTree) -> PyTree:
        solution = solve_linear(lambda u: subtract(u, matvec(u)), right, backward=backward)
        failed = solution.status == Status.DIVERGED
        return jax.tree.map(lambda leaf: jnp.where(failed, jnp.nan, leaf), solution.value)

    tangent = jax.lax.custom_linear_solve(
        lambda v: subtract(v, push(v)), right, solve_system, transpose_solve=solve_system
    )
    return z, tangent


def implicit_at(
    f: FixedPointFn,
    params: Params,
    z_star: PyTree,
    *,
    backward: Backward = Anderson(),  # noqa: B008 (frozen)
) -> PyTree:
    """Give a fixed point that any other solver found its implicit gradient.

    Returns ``z_star`` unchanged; its derivative with respect to ``params`` is that of the fixed
    point equation, ``dz/dparams = (I - df/dz)^{-1} df/dparams``.

    Args:
      f: ``f(params, z) -> z``, the equation that ``z_star`` satisfies.
      params: everything to differentiate with respect to; integer, boolean and key leaves pass.
      z_star: the fixed point; whatever gradient it carries itself is ignored.
      backward: solver of the adjoint system: ``Picard`` (Neumann series), ``Anderson``,
        ``Broyden`` or ``GMRES``.

    Returns:
      ``z_star``.

    Raises:
      ValueError: if ``f(params, z_star)`` has another structure, shape or dtype than ``z_star``.

    Differentiability: reverse mode of any order. NaN if the backward solve diverges. The gradient
    means nothing where ``z_star`` is not a fixed point.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> babylon = lambda a, x: 0.5 * (x + a / x)
      >>> root = lambda a: implicit_at(babylon, a, jax.lax.stop_gradient(jnp.sqrt(a)))
      >>> jax.grad(root)(4.0)
      Array(0.25, dtype=float32, weak_type=True)

    References:
      Bai, Kolter and Koltun, Deep equilibrium models, 2019, theorem 1.
      Krantz and Parks, The implicit function theorem, 2012.
    """
    check_solver(backward, BACKWARD_KINDS, "backward")
    check_map(f, params, z_star)
    z_star = jax.lax.stop_gradient(z_star)
    return attach(f, False, params, z_star, backward, jnp.ones((), bool))


def fixed_point_vjp(
    f: FixedPointFn,
    params: Params,
    z: PyTree,
    cotangent: PyTree,
    *,
    backward: Backward = Anderson(),  # noqa: B008 (frozen)
) -> Solution:
    """Pull a cotangent of the fixed point back to ``params``, with the solve's own report.

    Solves ``u = (df/dz)^T u + cotangent`` and returns ``(df/dparams)^T u``.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree.
      z: fixed point of ``f``.
      cotangent: same structure as ``z``.
      backward: solver of the linear system.

    Returns:
      `Solution` whose ``value`` is the cotangent of ``params`` and whose ``residual``,
      ``num_steps`` and ``status`` are those of the linear solve; the residual is relative to
      the cotangent.

    Raises:
      ValueError: if ``f(params, z)`` has another structure, shape or dtype than ``z``.

    Differentiability: none; differentiate through `implicit_at` instead.

    Example:
      >>> import jax.numpy as jnp
      >>> halve = lambda p, z: 0.5 * z + p
      >>> fixed_point_vjp(halve, jnp.ones(2), 2 * jnp.ones(2), jnp.ones(2)).value.round(2)
      Array([2., 2.], dtype=float32)
    """
    check_solver(backward, BACKWARD_KINDS, "backward")
    check_map(f, params, z, explicit=False)
    solution = solve_adjoint(f, params, z, cotangent, backward=backward)
    _, pullback = jax.vjp(lambda params: f(params, z), params)
    return dataclasses.replace(solution, value=pullback(solution.value)[0])
