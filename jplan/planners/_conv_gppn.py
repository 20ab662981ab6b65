"""ConvGPPN: a convolutional GRU that is iterated on the map."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Safeguarded, Solver
from jplan.nn import ConvGRUCell
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)


class ConvGPPN(AbstractMapPlanner):
    """Gated path planning network with a convolutional GRU cell.

    The state [H, W, hidden] starts at zero and is iterated with the map injected in every step; a
    linear read-out of each cell's state gives the logits.

    Args:
      actions: number of actions A.
      channels: channels of the input maps.
      hidden: channels of the state.
      kernel_size: odd.
      max_steps: budget of the iteration; information travels ``(kernel_size - 1) / 2`` cells a
        step. None takes that of the solver.
      adjoint: how the iteration is differentiated; None is ``Safeguarded(15)``. The cell need not
        be a contraction, so plain ``Implicit`` may collapse in training.
      solver: None is Picard with ``max_steps``, 30 if that is None too.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use convolutions that have jvp and Hessians, see
        `jplan.nn.loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range, the kernel is even, the padding unknown, or solver and
        ``max_steps`` disagree.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = ConvGPPN(4, 2, hidden=8, kernel_size=3, max_steps=20, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Lee et al., Gated path planning networks, 2018.
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 4: ConvGPPN through ``Unroll``, ID-ConvGPPN through
      ``Implicit``.

    Note:
      The released ID-ConvGPPN starts from a convolution of the reward, and the explicit planner
      beside it is a convolutional LSTM; here both are this GRU, and the start is zero.
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
        solver: Solver | None = None,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, channels=channels, hidden=hidden, max_steps=max_steps)
        self.actions = actions
        self.channels = channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(Safeguarded(15) if adjoint is None else adjoint)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.cell = ConvGRUCell.create(
            channels,
            hidden,
            kernel_size=kernel_size,
            padding=padding,
            forward_mode=forward_mode,
            rngs=rngs,
        )
        self.readout = nnx.Linear(hidden, actions, param_dtype=float, rngs=rngs)

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

        def readout(z: Array, inputs: Array) -> tuple[Array, Array]:
            del inputs
            logits = self.readout(z)
            return logits, logits.max(-1)

        return iterate(
            self.cell,
            maps,
            prepare=self.cell.prepare,
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
        )
