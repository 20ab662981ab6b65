"""The bridge from a module to engine 1."""

import abc
import dataclasses
from typing import Any

import jax
from flax import nnx

from jplan._typing import PyTree
from jplan.fixed_points import AbstractAdjoint, Solution, Solver, fixed_point


class AbstractCell(nnx.Module):
    """One step of an iteration on one sample; each subclass is final.

    A cell does not change its own state. What depends on the input only belongs into ``inputs``,
    which are computed once, outside the loop.
    """

    @abc.abstractmethod
    def start(self, inputs: PyTree) -> PyTree:
        """The state ``z`` to start from."""

    @abc.abstractmethod
    def __call__(self, z: PyTree, inputs: PyTree) -> PyTree:
        """One step, ``z -> z``."""


@dataclasses.dataclass(frozen=True)
class _CellStep:
    """``f(params, z)`` of a cell; equal for equal structure, so compiled solves are reused."""

    graphdef: nnx.GraphDef

    def __call__(self, params: tuple[nnx.State, PyTree], z: PyTree) -> PyTree:
        state, inputs = params
        return nnx.merge(self.graphdef, state)(z, inputs)


def solve_cell(
    cell: nnx.Module,
    inputs: PyTree,
    z0: PyTree,
    *,
    solver: Solver,
    adjoint: AbstractAdjoint,
    num_steps: Any = None,
) -> Solution:
    """Iterate a cell to its fixed point, for each sample of a batch.

    Solves ``z = cell(z, inputs)``; gradients flow to the cell's parameters and to ``inputs`` as the
    adjoint says.

    Args:
      cell: module with ``cell(z, inputs) -> z`` on one sample, such as an `AbstractCell`. It must
        not change its own state.
      inputs: pytree with a leading batch axis: what the cell reads in every step.
      z0: pytree with a leading batch axis: where to start.
      solver: as in `jplan.fixed_point`.
      adjoint: as in `jplan.fixed_point`.
      num_steps: optional traced budget, [] or [B].

    Returns:
      `Solution` with a leading batch axis in every field.

    Raises:
      ValueError: as in `jplan.fixed_point`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jplan as jp
      >>> cell = jp.nn.ConvGRUCell.create(2, 4, kernel_size=3, rngs=nnx.Rngs(0))
      >>> inputs = jax.vmap(cell.prepare)(jnp.ones((8, 5, 5, 2)))
      >>> z0 = jnp.zeros((8, 5, 5, 4))
      >>> solve_cell(cell, inputs, z0, solver=jp.Picard(), adjoint=jp.Truncated(5)).status.shape
      (8,)
    """
    graphdef, state = nnx.split(cell)
    step = _CellStep(graphdef)

    def solve_one(inputs: PyTree, z0: PyTree, num_steps: Any) -> Solution:
        return fixed_point(
            step, (state, inputs), z0, solver=solver, adjoint=adjoint, num_steps=num_steps
        )

    batched_budget = 0 if num_steps is not None and getattr(num_steps, "ndim", 0) else None
    return jax.vmap(solve_one, in_axes=(0, 0, batched_budget))(inputs, z0, num_steps)
