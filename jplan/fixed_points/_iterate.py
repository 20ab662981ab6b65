"""The two loops of engine 1: solve without gradients, and solve with every step recorded."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jplan._typing import Array, FixedPointFn, Params, PyTree
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._broyden import Broyden
from jplan.fixed_points._picard import Picard
from jplan.fixed_points._residual import Gap, measure_step, resolve_tolerance
from jplan.fixed_points._solution import Solution, Status

Solver: TypeAlias = Picard | Anderson | Broyden
"""What iterates ``z = f(params, z)``."""


def select(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """Leafwise ``where``."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def step_budget(solver: Solver, num_steps: Any) -> Array:
    """Traced budget: ``num_steps``, at most ``solver.max_steps``."""
    budget = solver.max_steps if num_steps is None else jnp.minimum(num_steps, solver.max_steps)
    return jnp.maximum(jnp.asarray(budget, jnp.int32), 0)


def final_status(converged: Array, first: Array, last: Array) -> Array:
    """Status from the absolute size of the first and of the last step."""
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
    keep_best: bool = True,
    measure: Callable[..., tuple[Gap, PyTree]] = measure_step,
) -> tuple[Solution, Array]:
    """Solve in a ``while_loop``, without gradients; also the size of the first step.

    One evaluation of ``f`` a step. Two residuals in a row that are NaN end the solve: one may be an
    extrapolation that the solver takes back. Returns the iterate of least residual, and NaN if the
    very first step fails; with ``keep_best=False`` a solve that did not converge returns its last
    iterate that is a number.
    """
    params, z0, solver = jax.lax.stop_gradient((params, z0, solver))
    tolerance = resolve_tolerance(solver, z0)
    budget = step_budget(solver, num_steps)
    dtype = tolerance.limit.dtype
    infinite = jnp.asarray(jnp.inf, dtype)
    log = jnp.full(solver.max_steps if history else 0, jnp.nan, dtype)

    def body(carry: tuple) -> tuple:
        z, memory, step, best, residual, first, _, log, failures = carry
        gap, fz = measure(z, f(params, z), tolerance, step)
        failures = jnp.where(jnp.isnan(gap.weighted), failures + 1, 0)
        better = gap.weighted <= residual
        best = select(better, z, best)
        residual = jnp.where(better, gap.weighted, residual)
        first = jnp.where(step == 0, gap.absolute, first)
        if history:
            log = log.at[step].set(gap.weighted)
        z, memory = solver.step(z, fz, memory)
        return z, memory, step + 1, best, residual, first, gap.absolute, log, failures

    def unfinished(carry: tuple) -> Array:
        _, _, step, _, residual, _, _, _, failures = carry
        return ~(residual <= tolerance.limit) & (step < budget) & (failures < 2)

    zero = jnp.zeros((), jnp.int32)
    start = (z0, solver.init(z0), zero, z0, infinite, infinite, infinite, log, zero)
    z, _, step, best, residual, first, last, log, _ = jax.lax.while_loop(unfinished, body, start)
    converged = residual <= tolerance.limit
    value = best if keep_best else select(converged | ~_all_numbers(z), best, z)
    value = jax.tree.map(lambda leaf: jnp.where(jnp.isnan(first), jnp.nan, leaf), value)
    solution = Solution(
        value=value,
        residual=residual,
        num_steps=step,
        status=final_status(converged, first, last),
        history=log if history else None,
    )
    return solution, first


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
    infinite = jnp.asarray(jnp.inf, tolerance.limit.dtype)

    def body(carry: tuple, step: Array) -> tuple[tuple, Array]:
        z, memory, done, count, first, last = carry
        gap, fz = measure_step(z, f(params, z), tolerance, step)
        active = ~done & (step < budget)
        converged = active & (gap.weighted <= tolerance.limit)
        new_z, new_memory = solver.step(z, fz, memory)
        moving = active & ~converged
        carry = (
            select(moving, new_z, z),
            select(moving, new_memory, memory),
            done | converged,
            count + active,
            jnp.where(active & (step == 0), gap.absolute, first),
            select(active, gap, last),
        )
        return carry, jnp.where(active, gap.weighted, jnp.nan)

    start = (
        z0,
        solver.init(z0),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        infinite,
        Gap(weighted=infinite, absolute=infinite),
    )
    body = jax.checkpoint(body) if checkpoint else body
    (z, _, done, count, first, last), log = jax.lax.scan(
        body, start, jnp.arange(solver.max_steps, dtype=jnp.int32)
    )
    return Solution(
        value=z,
        residual=last.weighted,
        num_steps=count,
        status=final_status(done, first, last.absolute),
        history=log if history else None,
    )


def picard_tail(
    f: FixedPointFn,
    params: Params,
    solution: Solution,
    first: Array,
    *,
    solver: Solver,
    steps: int,
    budget: Array,
) -> Solution:
    """Take ``steps`` more plain, differentiated steps from what `solve` returned."""
    tolerance = resolve_tolerance(solver, solution.value)
    taken = solution.num_steps

    def body(z: PyTree, step: Array) -> tuple[PyTree, Gap]:
        gap, fz = measure_step(z, f(params, z), tolerance, taken + step)
        return select(step < budget, fz, z), gap

    z, gaps = jax.lax.scan(body, solution.value, jnp.arange(steps, dtype=jnp.int32))
    count = jnp.minimum(steps, budget)
    first = jnp.where(taken > 0, first, gaps.absolute[0])
    last = jax.tree.map(lambda log: log[count - 1], gaps)
    status = final_status(last.weighted <= tolerance.limit, first, last.absolute)
    history = solution.history
    if history is not None:
        padded = jnp.concatenate([history, jnp.full(steps, jnp.nan, history.dtype)])
        log = jnp.where(jnp.arange(steps) < budget, gaps.weighted, jnp.nan)
        history = jax.lax.dynamic_update_slice(padded, log, (taken,))[: history.size]
    return dataclasses.replace(
        solution,
        value=z,
        residual=last.weighted,
        num_steps=taken + count,
        status=jnp.where(status == Status.CONVERGED, status, jnp.maximum(status, solution.status)),
        history=history,
    )


def _all_numbers(z: PyTree) -> Array:
    """Whether no entry is NaN."""
    found = [jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(z)]
    return ~functools.reduce(jnp.logical_or, found, jnp.zeros((), bool))
