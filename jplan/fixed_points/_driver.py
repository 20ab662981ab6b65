"""The one entry point of engine 1."""

import functools
from typing import Any

import jax

from jplan._typing import FixedPointFn, Params, PyTree
from jplan.fixed_points._adjoints import AbstractAdjoint, Implicit, Unroll
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._broyden import Broyden
from jplan.fixed_points._checks import (
    as_float_tree,
    check_hashable,
    check_map,
    check_params,
    check_solver,
)
from jplan.fixed_points._iterate import Solver
from jplan.fixed_points._picard import Picard
from jplan.fixed_points._solution import Solution


def fixed_point(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    *,
    solver: Solver = Anderson(),  # noqa: B008 (frozen)
    adjoint: AbstractAdjoint = Implicit(),  # noqa: B008 (frozen)
    num_steps: Any = None,
    history: bool = False,
) -> Solution:
    """Solve ``z = f(params, z)``, and differentiate the solution as ``adjoint`` says.

    One problem; use ``vmap`` for many. Under ``vmap`` all wait for the slowest, each has its own
    residual, step count and status, and one that has converged is frozen.

    Args:
      f: ``f(params, z) -> z``, pure. Use one function object for repeated calls: it is the cache
        key of the compiled solve, and what it closes over is fixed at the first call. So a module,
        or anything else that changes or is differentiated, belongs into ``params``.
      params: any pytree, everything that is differentiated. Integer, boolean and key leaves pass.
      z0: where to start; a pytree of floating-point arrays.
      solver: `Picard`, `Anderson` or `Broyden`, with the tolerance and ``max_steps``.
      adjoint: `Implicit`, `Unroll`, `Truncated`, `OneStep` or `Safeguarded`.
      num_steps: optional traced budget that lowers ``solver.max_steps`` without recompiling.
      history: static; also record the residual of each step, the differentiated ones included.

    Returns:
      `Solution`. Tolerance-based adjoints return the iterate of least residual, ``Unroll``,
      ``Truncated``, ``OneStep`` and ``Safeguarded`` the last one.

    Raises:
      ValueError: if an option is out of range, ``z0`` is not floating point, ``f`` returns
        anything but a new ``z``, or ``f`` closes over traced values. Failures that depend on
        values are reported in ``Solution.status``; see `raise_on_failure`.

    Differentiability: as the adjoint says. The gradient with respect to ``z0`` is zero for all
      adjoints but ``Unroll``: a fixed point does not depend on where the search for it began.
      ``Unroll`` from a start that already is the solution takes no step, so its gradient is zero.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> f = lambda p, z: jnp.cos(p * z)
      >>> solution = jp.fixed_point(f, 1.0, 0.0)
      >>> solution.value.round(4)
      Array(0.7391, dtype=float32)
      >>> slope = jax.grad(lambda p: jp.fixed_point(f, p, 0.0).value)(1.0)
      >>> print(f"{slope:.4f}")
      -0.2975
    """
    check_hashable(f)
    check_params(params)
    check_solver(solver, (Picard, Anderson, Broyden), "solver")
    if not isinstance(adjoint, AbstractAdjoint):
        raise ValueError(f"adjoint is {adjoint!r}, expected an instance such as Implicit().")
    z0 = as_float_tree(z0, "z0")
    return _fixed_point(f, params, z0, solver, adjoint, num_steps, history)


# Jitted here, on a stable function, so that an eager second call with the same f does not retrace.
@functools.partial(jax.jit, static_argnums=(0, 6))
def _fixed_point(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    solver: Solver,
    adjoint: AbstractAdjoint,
    num_steps: Any,
    history: bool,
) -> Solution:
    check_map(f, params, z0, explicit=not isinstance(adjoint, Unroll))
    return adjoint.run(f, params, z0, solver=solver, num_steps=num_steps, history=history)
