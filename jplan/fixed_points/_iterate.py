"""The two loops of engine 1: solve without gradients, and solve with every step recorded."""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jplan._typing import Array, FixedPointFn, Params, PyTree
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._broyden import Broyden
from jplan.fixed_points._picard import Picard
from jplan.fixed_points._residual import resolve_tolerance, weighted_residual
from jplan.fixed_points._solution import Solution, Status

Solver: TypeAlias = Picard | Anderson | Broyden


def select(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """Leafwise ``where``."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def step_budget(solver: Solver, num_steps: Any) -> Array:
    """Traced budget: ``num_steps``, at most ``solver.max_steps``."""
    budget = solver.max_steps if num_steps is None else jnp.minimum(num_steps, solver.max_steps)
    return jnp.asarray(budget, jnp.int32)


def final_status(converged: Array, first: Array, last: Array) -> Array:
    """Status from the first and the last residual."""
    diverged = ~(last <= first)  # also where either is NaN
    status = jnp.where(diverged, Status.DIVERGED, Status.MAX_STEPS)
    return jnp.where(converged, Status.CONVERGED, status).astype(jnp.int32)


def solve(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    *,
    solver: Solver,
    num_steps: Any = None,
    history: bool = False,
) -> Solution:
    """Solve in a ``while_loop``, without gradients; returns the iterate of least residual.

    One evaluation of ``f`` a step. Two non-finite residuals in a row end the solve: one may be an
    extrapolation that the solver takes back.
    """
    params, z0 = jax.lax.stop_gradient((params, z0))
    solver = jax.lax.stop_gradient(solver)
    tolerance = resolve_tolerance(solver, z0)
    budget = step_budget(solver, num_steps)
    dtype = tolerance.limit.dtype
    infinite = jnp.asarray(jnp.inf, dtype)
    log = jnp.full(solver.max_steps if history else 0, jnp.nan, dtype)

    def body(carry: tuple) -> tuple:
        z, memory, step, best, best_residual, first, last, log, failures = carry
        fz = f(params, z)
        residual = weighted_residual(z, fz, tolerance).astype(dtype)
        failures = jnp.where(jnp.isnan(residual), failures + 1, 0)
        better = residual <= best_residual
        best = select(better, z, best)
        best_residual = jnp.where(better, residual, best_residual)
        first = jnp.where(step == 0, residual, first)
        if history:
            log = log.at[step].set(residual)
        z, memory = solver.step(z, fz, memory)
        return z, memory, step + 1, best, best_residual, first, residual, log, failures

    def unfinished(carry: tuple) -> Array:
        _, _, step, _, best_residual, _, _, _, failures = carry
        return (best_residual > tolerance.limit) & (step < budget) & (failures < 2)

    zero = jnp.zeros((), jnp.int32)
    start = (z0, solver.init(z0), zero, z0, infinite, infinite, infinite, log, zero)
    _, _, step, best, best_residual, first, last, log, _ = jax.lax.while_loop(
        unfinished, body, start
    )
    return Solution(
        value=best,
        residual=best_residual,
        num_steps=step,
        status=final_status(best_residual <= tolerance.limit, first, last),
        history=log if history else None,
    )


def unroll(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    *,
    solver: Solver,
    num_steps: Any = None,
    history: bool = False,
    checkpoint: bool = False,
) -> Solution:
    """Run every step in a differentiated ``scan``; returns the last iterate.

    A problem that has converged is frozen, as in `solve`.
    """
    tolerance = resolve_tolerance(solver, z0)
    budget = step_budget(solver, num_steps)
    dtype = tolerance.limit.dtype

    def body(carry: tuple, step: Array) -> tuple[tuple, Array]:
        z, memory, done, count, first, last = carry
        fz = f(params, z)
        residual = jax.lax.stop_gradient(weighted_residual(z, fz, tolerance)).astype(dtype)
        active = ~done & (step < budget)
        converged = active & (residual <= tolerance.limit)
        new_z, new_memory = solver.step(z, fz, memory)
        moving = active & ~converged
        carry = (
            select(moving, new_z, z),
            select(moving, new_memory, memory),
            done | converged,
            count + active,
            jnp.where(step == 0, residual, first),
            jnp.where(active, residual, last),
        )
        return carry, jnp.where(active, residual, jnp.nan)

    infinite = jnp.asarray(jnp.inf, dtype)
    start = (
        z0,
        solver.init(z0),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        infinite,
        infinite,
    )
    body = jax.checkpoint(body) if checkpoint else body
    (z, _, done, count, first, last), log = jax.lax.scan(
        body, start, jnp.arange(solver.max_steps, dtype=jnp.int32)
    )
    return Solution(
        value=z,
        residual=last,
        num_steps=count,
        status=final_status(done, first, last),
        history=log if history else None,
    )


def picard_tail(
    f: FixedPointFn, params: Params, solution: Solution, *, solver: Solver, steps: int, budget: Array
) -> Solution:
    """Take ``steps`` more plain, differentiated steps from a solution."""
    tolerance = resolve_tolerance(solver, solution.value)

    def body(z: PyTree, step: Array) -> tuple[PyTree, Array]:
        fz = f(params, z)
        residual = jax.lax.stop_gradient(weighted_residual(z, fz, tolerance))
        active = step < budget
        return select(active, fz, z), jnp.where(active, residual, 0)

    z, log = jax.lax.scan(body, solution.value, jnp.arange(steps, dtype=jnp.int32))
    count = jnp.minimum(steps, budget)
    last = log[count - 1].astype(solution.residual.dtype)
    finite = functools.reduce(
        jnp.logical_and, [~jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(z)], True
    )
    converged = (last <= tolerance.limit) & finite
    spent = jnp.where(finite, jnp.maximum(solution.status, Status.MAX_STEPS), Status.DIVERGED)
    return solution.replace(
        value=z,
        residual=last,
        num_steps=solution.num_steps + count,
        status=jnp.where(converged, Status.CONVERGED, spent).astype(jnp.int32),
    )
