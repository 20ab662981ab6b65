"""What all map planners share: the call, the result, the batch axes, the configuration."""

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jax.core import Tracer

from jplan._batches import map_batches
from jplan._typing import Array, PyTree
from jplan.fixed_points import AbstractAdjoint, Picard, Solution, Solver
from jplan.nn import AbstractCell, solve_cell


@struct.dataclass(kw_only=True)
class PlannerOutput:
    """Result of `solve` of a map planner.

    Attributes:
      logits: [..., H, W, A], unnormalised log-probabilities of the actions.
      value: [..., H, W], the planner's value of each cell.
      solution: `Solution` of the inner solve; residual, step count and status are [...], one for
        each map. None for a reactive planner, which solves nothing.
    """

    logits: Array
    value: Array
    solution: Solution | None


class AbstractMapPlanner(nnx.Module):
    """A planner from maps to action logits; each subclass is final.

    Maps have two dimensions; where a planner is for three, read [D, H, W] for [H, W].

    A subclass keeps every constructor argument but ``rngs`` as an attribute of the same name, so
    that `configuration` can rebuild it.
    """

    channels: int

    @abc.abstractmethod
    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """Plan, and report how the iteration went.

        Args:
          maps: [..., H, W, C], floating point.
          solver: for this call; None takes the planner's own.
          adjoint: for this call; None takes the planner's own.
          num_steps: optional traced budget that lowers the solver's; a scalar, or one for each map.

        Returns:
          `PlannerOutput`.

        Raises:
          ValueError: if the maps have another shape or an integer dtype, or are smaller than the
            planner's kernel, or if ``num_steps`` has another shape or is not a whole number from 1
            on; one that is traced counts as 0 where it is negative.

        Differentiability: in the parameters and the maps, by the rules of the adjoint; forward mode
        and Hessians need ``forward_mode=True`` beside an adjoint that has them.
        """

    def __call__(self, maps: Array) -> Array:
        """Logits, [..., H, W, C] -> [..., H, W, A]."""
        return self.solve(maps).logits

    def configuration(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this planner, without its parameters."""
        return constructor_arguments(self)


def constructor_arguments(planner: nnx.Module) -> dict[str, Any]:
    """The attributes that bear names of constructor arguments, without the ``rngs``."""
    names = list(inspect.signature(type(planner).__init__).parameters)
    return {name: getattr(planner, name) for name in names if name not in ("self", "rngs")}


def resolve_solver(solver: Solver | None, max_steps: int | None) -> Solver:
    """The solver of a planner: as given, or Picard with ``max_steps``, which is 30 if not said."""
    if solver is None:
        return Picard(max_steps=30 if max_steps is None else max_steps)
    if max_steps not in (None, solver.max_steps):
        raise ValueError(
            f"max_steps is {max_steps}, expected {solver.max_steps} as in the solver, or nothing: "
            "a solver brings its own budget."
        )
    return solver


def broadcast_budget(num_steps: Any, lead: tuple[int, ...]) -> Array:
    """A budget for each map, [B]; ValueError unless it is one whole number from 1 on, or [...]."""
    traced = isinstance(num_steps, Tracer)
    budget = num_steps if traced else np.asarray(num_steps)
    whole = jnp.issubdtype(budget.dtype, jnp.integer)
    if not whole or budget.shape not in ((), lead) or not (traced or (budget > 0).all()):
        raise ValueError(
            f"num_steps is {num_steps!r}, expected whole numbers from 1 on: a scalar"
            + (f", or {list(lead)}, one for each map." if lead else ".")
        )
    return jnp.broadcast_to(budget, lead).reshape(-1)


def check_maps(maps: Array, channels: int, *, kernel_size: int = 1, dims: int = 2) -> None:
    """ValueError unless ``maps`` is [..., H, W, channels], floating point and holds the kernel."""
    shape, sides = list(maps.shape), maps.shape[-dims - 1 : -1]
    if maps.ndim <= dims or maps.shape[-1] != channels or 0 in sides:
        wanted = "H, W" if dims == 2 else "D, H, W"
        raise ValueError(
            f"maps have shape {shape}, expected [..., {wanted}, {channels}], channel last and not "
            "empty; jplan.envs.as_map makes the two channels of a grid task."
        )
    if min(sides) < kernel_size:
        raise ValueError(
            f"maps have shape {shape}, expected sides of at least {kernel_size}, the planner's "
            "kernel_size; take a smaller kernel or, unless they are tori, pad the maps with "
            "blocked cells."
        )
    if not jnp.issubdtype(maps.dtype, jnp.floating):
        raise ValueError(
            f"maps have dtype {maps.dtype}, expected floating point; cast them with "
            ".astype(jnp.float32)."
        )


def flatten_batch(maps: Array, dims: int = 2) -> Array:
    """[..., H, W, C] -> [B, H, W, C]."""
    return maps.reshape((-1, *maps.shape[-dims - 1 :]))


def restore_batch(tree: PyTree, maps: Array, dims: int = 2) -> PyTree:
    """Undo `flatten_batch` on every leaf of a result."""
    lead = maps.shape[: -dims - 1]
    return jax.tree.map(lambda leaf: leaf.reshape((*lead, *leaf.shape[1:])), tree)


def iterate(
    cell: AbstractCell,
    maps: Array,
    *,
    prepare: Callable[[Array], PyTree],
    readout: Callable[[PyTree, PyTree], tuple[Array, Array]],
    solver: Solver,
    adjoint: AbstractAdjoint,
    num_steps: Any,
    maps_at_once: int | None = None,
    dims: int = 2,
) -> PlannerOutput:
    """What every iterated planner does with maps [..., H, W, C]: prepare, solve, read out.

    Args:
      cell: the iteration.
      maps: checked by the caller.
      prepare: from one map to what the cell reads in every step; runs once.
      readout: ``(z, inputs) -> (logits, value)`` of one map.
      solver: of the cell's fixed point.
      adjoint: of the cell's fixed point.
      num_steps: see `AbstractMapPlanner.solve`.
      maps_at_once: how many maps a CPU takes at a time, from beginning to end, so that each step
        finds in the cache what the last one left there. None takes all, and so do other platforms.
      dims: dimensions of a map.
    """
    batch = flatten_batch(maps, dims)
    count = batch.shape[0]
    if num_steps is not None:
        num_steps = broadcast_budget(num_steps, maps.shape[: -dims - 1])

    def at_once(arguments: tuple[Array, Any], keep: Callable = lambda f: f) -> PlannerOutput:
        maps, num_steps = arguments
        inputs = jax.vmap(keep(prepare))(maps)
        z0 = jax.vmap(cell.start)(inputs)
        solution = solve_cell(cell, inputs, z0, solver=solver, adjoint=adjoint, num_steps=num_steps)
        logits, value = jax.vmap(keep(readout))(solution.value, inputs)
        return PlannerOutput(logits=logits, value=value, solution=solution)

    def in_chunks(arguments: tuple[Array, Any]) -> PlannerOutput:
        # What is cheap to compute again is not kept for the backward pass, where it would be kept
        # for all chunks.
        return map_batches(functools.partial(at_once, keep=jax.checkpoint), arguments, chunk)

    chunk = count if maps_at_once is None else min(maps_at_once, count)
    if chunk == count:
        out = at_once((batch, num_steps))
    else:
        out = jax.lax.platform_dependent((batch, num_steps), cpu=in_chunks, default=at_once)
    return restore_batch(out, maps, dims)
