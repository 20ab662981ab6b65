"""MaxPlusVIN: value iteration in the max-plus algebra, with learnt moves and costs."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Picard, Solver, Truncated
from jplan.nn import FLOOR, MaxPlusCell, MaxPlusInputs, MaxPlusReadout, MoveCostMapper
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
)


class MaxPlusVIN(AbstractMapPlanner):
    """Value iteration network on negative costs-to-go, solved to convergence.

    A local network tells what each action costs in each cell, a kernel for each action tells where
    it leads, and max-plus value iteration does the rest. All that is learnt is local, so a planner
    trained on small maps plans on any larger one. The last channel of a map marks the goal.

    It is trained in two stages: soft first, then `hardened`, in which every action leads to one
    cell and is open or closed. See `jplan.nn.MaxPlusCell` for the equations.

    Args:
      actions: number of actions A.
      channels: channels of the maps; the last one is 1 at goals, and costs do not depend on it; at
        least 2.
      hidden: width of the cost networks.
      kernel_size: odd; how far an action may lead and the mapper sees.
      max_steps: budget of the iteration; None is the number of cells, which is never too few.
      adjoint: how the iteration is differentiated. The default is ``Truncated(20)``: at a shortest
        path solution an implicit gradient needs as many backward steps as the longest path has.
      hard: the stage.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use convolutions that have jvp and Hessians, see
        `jplan.nn.loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range, the kernel is even or the padding unknown.

    Attributes:
      mapper: `jplan.nn.MoveCostMapper`, or any module from [H, W, C - 1] to `jplan.nn.MoveCosts`.
      cell: `jplan.nn.MaxPlusCell`.
      readout: `jplan.nn.MaxPlusReadout`, or any module from Q [A, H, W] to logits [H, W, A].

    Example:
      >>> import jax.numpy as jnp
      >>> planner = MaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
      >>> maps = jnp.ones((5, 9, 9, 2)).at[..., 1].set(0).at[:, 4, 4, 1].set(1)
      >>> planner(maps).shape
      (5, 9, 9, 4)

    Note:
      The cost network does not see the goal's channel. If it did, it might make the last move, into
      the goal, as dear as a closed one: all paths have that move, so imitation is silent about it.

    References:
      Tamar et al., Value iteration networks, 2016, for the planner as a network; the max-plus
      recursion is that of shortest paths (Bellman 1958).
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        hidden: int = 40,
        kernel_size: int = 3,
        max_steps: int | None = None,
        adjoint: AbstractAdjoint | None = None,
        hard: bool = False,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, hidden=hidden, max_steps=max_steps)
        check_sight(channels)
        self.actions = actions
        self.channels = channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.max_steps = max_steps
        self.adjoint = nnx.static(Truncated(20) if adjoint is None else adjoint)
        self.hard = hard
        self.cell = MaxPlusCell.create(
            actions, kernel_size=kernel_size, padding=padding, hard=hard, rngs=rngs
        )
        self.mapper = MoveCostMapper(
            channels - 1,
            actions,
            hidden=hidden,
            kernel_size=kernel_size,
            padding=padding,
            forward_mode=forward_mode,
            rngs=rngs,
        )
        self.readout = MaxPlusReadout()

    def hardened(self) -> "MaxPlusVIN":
        """The same planner in the hard stage, with the parameters it has now.

        Example:
          >>> MaxPlusVIN(4, 2, rngs=nnx.Rngs(0)).hardened().hard
          True
        """
        copy = harden(self)
        copy.cell.hard = True
        return copy

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`; the value is minus the cost-to-go, -inf out of reach.

        ``solver`` must be `Picard`: other solvers do not keep the iteration monotone.
        """
        return solve_max_plus(
            self, self.cell, maps, solver=solver, adjoint=adjoint, num_steps=num_steps
        )


def check_sight(channels: int) -> None:
    """ValueError unless a map has more than its goal."""
    check_sizes(channels=channels)
    if channels < 2:
        raise ValueError(
            f"channels is {channels}, expected at least 2: something to see beside the goal."
        )


def harden(planner: Any) -> Any:
    """A copy of a max-plus planner in the hard stage."""
    copy = nnx.merge(*nnx.split(planner))
    copy.hard = True
    return copy


def solve_max_plus(
    planner: Any,
    cell: MaxPlusCell,
    maps: Array,
    *,
    solver: Solver | None,
    adjoint: AbstractAdjoint | None,
    num_steps: Any,
) -> PlannerOutput:
    """What the max-plus planners, of two dimensions or three, do with maps."""
    dims = cell.kernel.ndim - 1
    check_maps(maps, planner.channels, kernel_size=planner.kernel_size, dims=dims)
    budget = math.prod(maps.shape[-dims - 1 : -1])
    budget = budget if planner.max_steps is None else planner.max_steps
    check_monotone(solver)

    def readout(value: Array, inputs: MaxPlusInputs) -> tuple[Array, Array]:
        logits = planner.readout(cell.action_values(value, inputs))
        return logits, jnp.where(value <= FLOOR / 2, -jnp.inf, value)

    return iterate(
        cell,
        maps,
        prepare=lambda m: cell.prepare(planner.mapper(m[..., :-1]), m[..., -1] > 0.5),
        readout=readout,
        solver=Picard(max_steps=budget) if solver is None else solver,
        adjoint=planner.adjoint if adjoint is None else adjoint,
        num_steps=num_steps,
        dims=dims,
    )


def check_monotone(solver: Solver | None) -> None:
    """ValueError unless the solver, if one is given, keeps an iteration monotone."""
    if solver is not None and not isinstance(solver, Picard):
        raise ValueError(
            f"solver is {type(solver).__name__}, expected Picard; mixing iterates breaks the "
            "monotone descent to the one fixed point above the floor."
        )
