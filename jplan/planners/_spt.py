"""SPT: a transformer block that is iterated over the cells of a map."""

from typing import Any

import jax
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Picard, Solver, Truncated
from jplan.nn import AttentionCell, loop_convolution, position_encoding
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)


class SPT(AbstractMapPlanner):
    """Spatial planning transformer: self-attention over all cells, iterated.

    A convolution embeds the map, waves along both axes mark the positions, and one transformer
    block is iterated. Information crosses the map in a single step, at a cost that is quadratic in
    the number of cells; what is learnt is bound to the sizes seen in training.

    Args:
      actions: number of actions A.
      channels: channels of the maps.
      hidden: channels of the state, a multiple of 4 and of ``heads``.
      heads: of the attention.
      kernel_size: odd; of the embedding.
      inject: static; each step sees the embedded map, and is half a step. Without, as published,
        the map is only where the iteration starts: a budget of K steps is K tied layers, and there
        need be no fixed point to solve for.
      max_steps: budget of the iteration; None takes that of the solver.
      adjoint: how the iteration is differentiated; None is ``Truncated(5)``.
      solver: None is Picard with ``max_steps``, 15 if that is None too.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; see `jplan.nn.loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range, the channels do not divide, the kernel is even, the
        padding unknown, or solver and ``max_steps`` disagree.

    Example:
      >>> import jax.numpy as jnp
      >>> planner = SPT(4, 2, hidden=16, heads=4, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Chaplot, Pathak and Malik, Differentiable spatial planning using transformers, 2021.
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, appendix C.1 (ID-SPT), through ``Implicit`` with ``inject=False``.

    Note:
      SPT proper has five layers with weights of their own and regresses distances; this is the one
      block of ID-SPT, with logits.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        hidden: int = 64,
        heads: int = 8,
        kernel_size: int = 3,
        inject: bool = True,
        max_steps: int | None = None,
        adjoint: AbstractAdjoint | None = None,
        solver: Solver | None = None,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, channels=channels, hidden=hidden, max_steps=max_steps)
        check_kernel_size(kernel_size)
        check_padding(padding)
        if hidden % 4:
            raise ValueError(
                f"hidden is {hidden}, expected a multiple of 4, see position_encoding."
            )
        self.actions = actions
        self.channels = channels
        self.hidden = hidden
        self.heads = heads
        self.kernel_size = kernel_size
        self.inject = inject
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(Truncated(5) if adjoint is None else adjoint)
        if solver is None:
            solver = Picard(max_steps=15 if max_steps is None else max_steps)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.cell = AttentionCell(hidden, heads=heads, inject=inject, rngs=rngs)
        size = (kernel_size, kernel_size, channels, hidden)
        self.embedding = nnx.Param(draw_weights(rngs, size))
        self.embed = nnx.Linear(hidden, hidden, param_dtype=float, rngs=rngs)
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

        def prepare(inputs: Array) -> Array:
            kernel = self.embedding[...]
            height, width, _ = inputs.shape
            field = loop_convolution(
                inputs, kernel, padding=self.padding, forward_mode=self.forward_mode
            )
            positions = position_encoding(height, width, self.hidden, padding=self.padding)
            return self.embed(jax.nn.relu(field)) + positions.astype(field.dtype)

        def readout(z: Array, inputs: Array) -> tuple[Array, Array]:
            del inputs
            logits = self.readout(z)
            return logits, logits.max(-1)

        return iterate(
            self.cell,
            maps,
            prepare=prepare,
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
        )
