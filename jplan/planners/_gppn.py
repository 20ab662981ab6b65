"""GPPN: an LSTM in every cell of the map, iterated."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding, PyTree
from jplan.fixed_points import AbstractAdjoint, Solver, Unroll
from jplan.nn import PathLSTMCell
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)


class GPPN(AbstractMapPlanner):
    """Gated path planning network.

    Every cell of the map has an LSTM, which reads one number from a wide kernel around it; a
    linear read-out of ``h`` gives the logits. The map enters through the initial state only, so
    the planner is trained through every step, with ``Unroll``, unless ``inject`` is set.

    Args:
      actions: number of actions A.
      channels: channels of the input maps.
      hidden: channels of the state.
      kernel_size: odd.
      max_steps: budget of the iteration; information travels ``(kernel_size - 1) / 2`` cells a
        step. None takes that of the solver.
      inject: static; let the map enter in every step too, so that every adjoint works.
      adjoint: how the iteration is differentiated; None is ``Unroll()``.
      solver: None is Picard with ``max_steps``, 30 if that is None too.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use convolutions that have jvp and Hessians, see
        `jplan.nn.loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range, the kernel is even, the padding unknown, solver and
        ``max_steps`` disagree, or the adjoint is not ``Unroll`` and ``inject`` is false.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = GPPN(4, 2, hidden=8, kernel_size=5, max_steps=10, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Lee et al., Gated path planning networks, 2018, and the code released with it.

    Note:
      The iteration count of the released code is one more than the steps it takes.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        hidden: int = 150,
        kernel_size: int = 9,
        max_steps: int | None = None,
        inject: bool = False,
        adjoint: AbstractAdjoint | None = None,
        solver: Solver | None = None,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, channels=channels, hidden=hidden, max_steps=max_steps)
        adjoint = Unroll() if adjoint is None else adjoint
        _check_adjoint(adjoint, inject)
        self.actions = actions
        self.channels = channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.inject = inject
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(adjoint)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.cell = PathLSTMCell(
            channels,
            hidden,
            kernel_size=kernel_size,
            inject=inject,
            padding=padding,
            forward_mode=forward_mode,
            rngs=rngs,
        )
        self.readout = nnx.Linear(hidden, actions, use_bias=False, param_dtype=float, rngs=rngs)

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`; the value of a cell is its largest logit.

        Raises a ValueError also for another adjoint than ``Unroll`` where ``inject`` is false.
        """
        check_maps(maps, self.channels, kernel_size=self.kernel_size)
        adjoint = self.adjoint if adjoint is None else adjoint
        _check_adjoint(adjoint, self.inject)

        def readout(z: tuple[Array, Array], inputs: PyTree) -> tuple[Array, Array]:
            del inputs
            logits = self.readout(z[0])
            return logits, logits.max(-1)

        return iterate(
            self.cell,
            maps,
            prepare=self.cell.prepare,
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=adjoint,
            num_steps=num_steps,
        )


def _check_adjoint(adjoint: AbstractAdjoint, inject: bool) -> None:
    if not inject and isinstance(adjoint, AbstractAdjoint) and not isinstance(adjoint, Unroll):
        raise ValueError(
            f"adjoint is {type(adjoint).__name__}, expected Unroll: the map enters through the "
            "initial state only, to which no other adjoint passes a gradient; use Unroll(), or "
            "make the planner with inject=True."
        )
