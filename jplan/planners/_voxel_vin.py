"""VoxelVIN: max-plus value iteration in three dimensions, equivariant to the cube's symmetries."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Solver, Truncated
from jplan.nn import MaxPlusCell, MaxPlusReadout, VoxelCostMapper
from jplan.planners._max_plus_vin import check_sight, harden, solve_max_plus
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput
from jplan.planners._symmetric import make_move_kernel, move_kernel


class VoxelVIN(AbstractMapPlanner):
    """Max-plus value iteration network on voxel maps [D, H, W], with the six moves as actions.

    The value is a scalar field; the six action values are permuted by the 48 symmetries of the
    cube, and inside the cost network are vectors and tensors that turn with the map. All that is
    learnt is local, so a planner trained on small cubes plans in large ones. It is trained in two
    stages, soft first, then `hardened`, as `MaxPlusVIN`. Needs e3nn-jax, the extra ``space``.

    Args:
      channels: channels of the maps, each a scalar field; the last one is 1 at goals, and
        costs do not depend on it; at least 2.
      hidden: scalars, vectors and tensors inside the cost network, of each as many.
      kernel_size: odd; how far an action may lead and the mapper sees.
      max_steps: budget of the iteration; None is the number of cells, which is never too few.
      adjoint: how the iteration is differentiated; None is ``Truncated(20)``.
      hard: the stage.
      padding: static; "zero" for maps that end at their faces, "wrap" for tori.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range, the kernel even or the padding unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = VoxelVIN(2, hidden=4, rngs=nnx.Rngs(0))
      >>> maps = jnp.ones((2, 5, 5, 5, 2)).at[..., 1].set(0).at[:, 2, 2, 2, 1].set(1)
      >>> planner(maps).shape
      (2, 5, 5, 5, 6)

    Note: on ties in the hard stage see `SymMaxPlusVIN`.

    References: as `SymMaxPlusVIN` and `jplan.nn.VoxelCostMapper`.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int = 8,
        kernel_size: int = 3,
        max_steps: int | None = None,
        adjoint: AbstractAdjoint | None = None,
        hard: bool = False,
        padding: Padding = "zero",
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(hidden=hidden, max_steps=max_steps)
        check_sight(channels)
        self.channels = channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.max_steps = max_steps
        self.adjoint = nnx.static(Truncated(20) if adjoint is None else adjoint)
        self.hard = hard
        self.padding: Padding = padding
        self.kernel = make_move_kernel("Oh", "moves6", kernel_size=kernel_size, rngs=rngs)
        self.mapper = VoxelCostMapper(
            channels - 1, hidden=hidden, kernel_size=kernel_size, padding=padding, rngs=rngs
        )
        self.readout = MaxPlusReadout()

    def hardened(self) -> "VoxelVIN":
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
        """See `AbstractMapPlanner.solve`, of maps [..., D, H, W, C].

        The value is minus the cost-to-go, -inf out of reach. ``solver`` must be `Picard`: other
        solvers do not keep the iteration monotone.
        """
        cell = MaxPlusCell(move_kernel(self.kernel), padding=self.padding, hard=self.hard)
        return solve_max_plus(self, cell, maps, solver=solver, adjoint=adjoint, num_steps=num_steps)
