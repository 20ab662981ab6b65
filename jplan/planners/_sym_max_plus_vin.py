"""SymMaxPlusVIN: max-plus value iteration that commutes with the symmetries of the square."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Solver, Truncated
from jplan.nn import MaxPlusCell, MaxPlusReadout, SteerableCostMapper
from jplan.planners._max_plus_vin import check_sight, harden, solve_max_plus
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput
from jplan.planners._symmetric import check_square, make_move_kernel, move_kernel


class SymMaxPlusVIN(AbstractMapPlanner):
    """`MaxPlusVIN` whose costs and moves turn with the map.

    A symmetry of the square permutes the actions; the kernel of a move and the cost network share
    their weights accordingly, so one move that is learnt is all moves. It is trained in two stages,
    soft first, then `hardened`, and plans on maps of any size.

    Args:
      actions: number of actions A, 4 or 8.
      channels: channels of the maps, each a scalar field; the last one is 1 at goals, and
        costs do not depend on it; at least 2.
      group: "D4", turns and reflections of the square (G = 8), or "C4", turns alone (G = 4).
      hidden: width of the cost network, a multiple of G.
      kernel_size: odd; how far an action may lead and the mapper sees.
      max_steps: budget of the iteration; None is the number of cells, which is never too few.
      adjoint: how the iteration is differentiated; None is ``Truncated(20)``.
      hard: the stage.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; see `jplan.nn.loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if the group is another, a size is out of range, ``hidden`` no multiple of G, the
        kernel even, the padding unknown, or the actions are no moves of a grid.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = SymMaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
      >>> maps = jnp.ones((5, 9, 9, 2)).at[..., 1].set(0).at[:, 4, 4, 1].set(1)
      >>> planner(maps).shape
      (5, 9, 9, 4)

    Note:
      The hard stage leads an action to its likeliest cell. While the symmetry makes several cells
      equally likely, before anything is learnt, the first of them wins, and the logits do not turn
      with the map.

    References:
      As `MaxPlusVIN`; Zhao et al., Integrating symmetry into differentiable planning with steerable
      convolutions, 2023, for the symmetry.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        group: str = "D4",
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
        check_square(group)
        if actions not in (4, 8):
            raise ValueError(
                f"actions is {actions}, expected 4 or 8, the moves that a symmetry of the square "
                "permutes; MaxPlusVIN takes others."
            )
        self.actions = actions
        self.channels = channels
        self.group = group
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.max_steps = max_steps
        self.adjoint = nnx.static(Truncated(20) if adjoint is None else adjoint)
        self.hard = hard
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        moves = f"moves{actions}"
        self.kernel = make_move_kernel(group, moves, kernel_size=kernel_size, rngs=rngs)
        self.mapper = SteerableCostMapper(
            group,
            channels - 1,
            moves,
            hidden=hidden,
            kernel_size=kernel_size,
            padding=padding,
            forward_mode=forward_mode,
            rngs=rngs,
        )
        self.readout = MaxPlusReadout()

    def hardened(self) -> "SymMaxPlusVIN":
        """The same planner in the hard stage, with the parameters it has now."""
        return harden(self)

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
        cell = MaxPlusCell(move_kernel(self.kernel), padding=self.padding, hard=self.hard)
        return solve_max_plus(self, cell, maps, solver=solver, adjoint=adjoint, num_steps=num_steps)
