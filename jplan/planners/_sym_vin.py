"""SymVIN: value iteration network that commutes with the symmetries of the square."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Solver, Truncated
from jplan.nn import RegularBellmanCell, RegularRewardMapper, RegularTransitionKernel
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)
from jplan.planners._symmetric import check_square, make_readout, read_out


class SymVIN(AbstractMapPlanner):
    """Value iteration network that commutes with turns, and with reflections, of the map.

    As `VIN`, with regular fields for reward and value: a cell has one value for each of the G
    symmetries, which the symmetries permute, and the maximum over the action channels keeps them
    apart. Logits of a turned map are the turned logits, actions permuted, before and after
    training, and whatever the solver.

    Args:
      actions: number of actions A; 4 or 8 with the equivariant read-out.
      channels: channels of the maps, each a scalar field.
      group: "D4", turns and reflections of the square (G = 8), or "C4", turns alone (G = 4).
      q_channels: number of action channels Q in all, a multiple of G.
      hidden: width of the reward network, a multiple of G.
      kernel_size: odd; of all convolutions.
      max_steps: budget of the iteration; information travels ``(kernel_size - 1) / 2`` cells a
        step. None takes that of the solver.
      discount: of the value, in (0, 1].
      adjoint: how the iteration is differentiated; None is ``Truncated(15)``.
      solver: None is Picard with ``max_steps``, 30 if that is None too.
      equivariant_readout: static; False takes a plain linear layer, for actions that do not turn
        with the map. The logits are not equivariant then.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use operations that have jvp and Hessians.
      rngs: for the initial parameters.

    Raises:
      ValueError: if the group is another, a size or the discount is out of range, channels are no
        multiple of G, the kernel is even, the padding unknown, solver and ``max_steps`` disagree,
        or the equivariant read-out meets another number of actions.

    Attributes:
      mapper: `jplan.nn.RegularRewardMapper`, or any module from [H, W, C] to rewards [H, W, G].
      kernel: `jplan.nn.RegularTransitionKernel`, or any module that makes [K, K, 2, G, Q].
      readout: the policy, from advantages ``Q - max Q``.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = SymVIN(4, 2, q_channels=16, hidden=16, max_steps=20, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Zhao et al., Integrating symmetry into differentiable planning with steerable convolutions,
      2023, section 4; Zhao, Xu and Wong 2023 (ID-SymVIN), through ``Implicit``.

    Note:
      The released planner's last layer is a plain one by default, so its policy is not equivariant.
      The kernel of the value is a discounted softmax, see `VIN`.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        group: str = "D4",
        q_channels: int = 160,
        hidden: int = 160,
        kernel_size: int = 3,
        max_steps: int | None = None,
        discount: float = 0.99,
        adjoint: AbstractAdjoint | None = None,
        solver: Solver | None = None,
        equivariant_readout: bool = True,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(
            actions=actions,
            channels=channels,
            q_channels=q_channels,
            hidden=hidden,
            max_steps=max_steps,
        )
        check_square(group)
        self.actions = actions
        self.channels = channels
        self.group = group
        self.q_channels = q_channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.discount = discount
        self.equivariant_readout = equivariant_readout
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(Truncated(15) if adjoint is None else adjoint)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.kernel = RegularTransitionKernel(
            group, q_channels, kernel_size=kernel_size, discount=discount, rngs=rngs
        )
        self.mapper = RegularRewardMapper(
            group,
            channels,
            hidden=hidden,
            kernel_size=kernel_size,
            padding=padding,
            forward_mode=forward_mode,
            rngs=rngs,
        )
        self.readout = make_readout(
            group, q_channels, actions, equivariant=equivariant_readout, rngs=rngs
        )

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`; the value of a cell is the mean of its G values."""
        check_maps(maps, self.channels, kernel_size=self.kernel_size)
        cell = RegularBellmanCell(
            self.kernel(), padding=self.padding, forward_mode=self.forward_mode
        )

        def readout(value: Array, inputs: Array) -> tuple[Array, Array]:
            q = cell.action_values(value, inputs)
            advantages = (q - q.max(-1, keepdims=True)).reshape(*q.shape[:2], -1)
            return read_out(self.readout, advantages), value.mean(-1)

        return iterate(
            cell,
            maps,
            prepare=lambda m: cell.prepare(self.mapper(m)),
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
        )
