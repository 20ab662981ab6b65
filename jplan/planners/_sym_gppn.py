"""SymGPPN: a convolutional GRU that commutes with the symmetries of the square."""

from typing import Any

from flax import nnx

from jplan._checks import check_padding, check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Safeguarded, Solver
from jplan.nn import SteerableGRU
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)
from jplan.planners._symmetric import check_square, make_readout, read_out


class SymGPPN(AbstractMapPlanner):
    """Gated path planning network that commutes with turns, and with reflections, of the map.

    As `ConvGPPN`, with a state of regular fields: logits of a turned map are the turned logits,
    actions permuted, before and after training, and whatever the solver.

    Args:
      actions: number of actions A; 4 or 8 with the equivariant read-out.
      channels: channels of the maps, each a scalar field.
      group: "D4", turns and reflections of the square (G = 8), or "C4", turns alone (G = 4).
      hidden: channels of the state, a multiple of G.
      kernel_size: odd.
      max_steps: budget of the iteration; information travels ``(kernel_size - 1) / 2`` cells a
        step. None takes that of the solver.
      adjoint: how the iteration is differentiated; None is ``Safeguarded(15)``.
      solver: None is Picard with ``max_steps``, 30 if that is None too.
      equivariant_readout: static; False takes a plain linear layer, for actions that do not turn
        with the map. The logits are not equivariant then.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use convolutions that have jvp and Hessians.
      rngs: for the initial parameters.

    Raises:
      ValueError: if the group is another, a size is out of range, ``hidden`` is no
        multiple of G, the kernel is even, the padding unknown, solver and ``max_steps`` disagree,
        or the equivariant read-out meets another number of actions.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = SymGPPN(4, 2, hidden=16, max_steps=20, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Zhao et al., Integrating symmetry into differentiable planning with steerable convolutions,
      2023, section 4.
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
        solver: Solver | None = None,
        equivariant_readout: bool = True,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, channels=channels, hidden=hidden, max_steps=max_steps)
        check_square(group)
        check_padding(padding)
        self.actions = actions
        self.channels = channels
        self.group = group
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.equivariant_readout = equivariant_readout
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(Safeguarded(15) if adjoint is None else adjoint)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.kernels = SteerableGRU(group, channels, hidden, kernel_size=kernel_size, rngs=rngs)
        self.readout = make_readout(
            group, hidden, actions, equivariant=equivariant_readout, rngs=rngs
        )

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`; the value of a cell is its largest logit."""
        check_maps(maps, self.channels, kernel_size=self.kernel_size)
        cell = self.kernels(padding=self.padding, forward_mode=self.forward_mode)

        def readout(z: Array, inputs: Array) -> tuple[Array, Array]:
            del inputs
            logits = read_out(self.readout, z)
            return logits, logits.max(-1)

        return iterate(
            cell,
            maps,
            prepare=cell.prepare,
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
        )
