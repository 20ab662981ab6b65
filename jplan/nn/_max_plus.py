"""The parts of the max-plus planner: cost mapper, cell and read-out."""

import functools
import itertools
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx, struct

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution
from jplan.nn._solve_cell import AbstractCell

FLOOR = -1e6
"""Value of a cell that no path has reached; "give up" is always worth this much."""

LEAST = 1e-30
"""Least chance of a neighbour; a softmax in float32 can be exactly zero."""


@struct.dataclass(kw_only=True)
class MoveCosts:
    """What a map means to the planner.

    Attributes:
      surcharge: [A, H, W], or [A, D, H, W] in three dimensions, non-negative; how much dearer than
        the cheapest move an action looks, and in the hard stage the evidence that it is closed.
      scale: as the surcharge, positive; cost of an open move in the hard stage.
    """

    surcharge: Array
    scale: Array


class MoveCostMapper(nnx.Module):
    """Local network from a map to the cost of every action in every cell.

    One convolution and a linear read-out for each of the two fields of `MoveCosts`. The kernel's
    size is all that the planner sees of the surroundings of a cell.

    Args:
      channels: channels of the map.
      actions: number of actions A.
      hidden: width of each of the two networks.
      kernel_size: odd.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel is even or the padding unknown.

    Example:
      >>> mapper = MoveCostMapper(2, 4, hidden=8, kernel_size=3, rngs=nnx.Rngs(0))
      >>> mapper(jnp.ones((5, 6, 2))).surcharge.shape
      (4, 5, 6)
    """

    def __init__(
        self,
        channels: int,
        actions: int,
        *,
        hidden: int,
        kernel_size: int,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, actions=actions, hidden=hidden)
        check_kernel_size(kernel_size)
        check_padding(padding)
        shape = (kernel_size, kernel_size, channels, hidden)
        kernel = lambda: draw_weights(rngs, shape)
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.gate_kernel = nnx.Param(kernel())
        self.gate_bias = nnx.Param(jnp.zeros(hidden))
        self.gate_out = nnx.Param(draw_weights(rngs, (hidden, actions)))
        self.gate_out_bias = nnx.Param(jnp.zeros(actions))
        self.scale_kernel = nnx.Param(kernel())
        self.scale_bias = nnx.Param(jnp.zeros(hidden))
        # Zero: before the hard stage has learnt otherwise, all open moves cost the same.
        self.scale_out = nnx.Param(jnp.zeros((hidden, actions)))
        self.scale_out_bias = nnx.Param(jnp.zeros(actions))

    def __call__(self, inputs: Array) -> MoveCosts:
        """Costs of one map, [H, W, C] -> `MoveCosts`."""

        def network(kernel: Array, bias: Array, out: Array, out_bias: Array) -> Array:
            field = loop_convolution(
                inputs, kernel, padding=self.padding, forward_mode=self.forward_mode
            )
            hidden = jax.nn.relu(field + bias[None, None])
            return hidden @ out + out_bias[None, None]

        gate = network(
            self.gate_kernel[...],
            self.gate_bias[...],
            self.gate_out[...],
            self.gate_out_bias[...],
        )
        scale = network(
            self.scale_kernel[...],
            self.scale_bias[...],
            self.scale_out[...],
            self.scale_out_bias[...],
        )
        return move_costs(gate, scale)


def move_costs(gate: Array, scale: Array) -> MoveCosts:
    """Costs from what two networks say of every action in every cell, [..., A] each."""
    gate, scale = jnp.moveaxis(gate, -1, 0), jnp.moveaxis(scale, -1, 0)
    return MoveCosts(surcharge=jax.nn.softplus(gate), scale=jnp.exp(scale))


@struct.dataclass(kw_only=True)
class MaxPlusInputs:
    """What the cell reads in every step.

    Attributes:
      cost: [A, H, W] or [A, D, H, W]; a closed move costs more than the floor is deep.
      goal: bool [H, W] or [D, H, W].
    """

    cost: Array
    goal: Array


class MaxPlusCell(AbstractCell):
    """One step of value iteration in the max-plus algebra, on a negative cost-to-go.

        Q_a(s) = log sum_k P_a(k) exp U(s + k) - cost_a(s)
        U(s)  <- 0 at the goal, elsewhere max(floor, max_a Q_a(s))

    ``P_a`` is a softmax over the kernel of action ``a``, learnt from random initial values: the
    cell does not know which way an action leads. There is no discount and nothing underflows: the
    sum always contains the best neighbour. The map is monotone and has one fixed point above the
    floor, which Picard iteration from the floor reaches in as many steps as the longest path has.

    In the hard stage (``hard=True``) ``P_a`` keeps only its most likely neighbour. An action whose
    surcharge is above ``threshold`` is closed, the others cost ``scale``. Neither choice passes a
    gradient on, so the kernel and the gate stay as they are while the costs learn on.

    Args:
      kernel: logits of ``P_a``, [A, K, K] with odd K, or [A, K, K, K] for maps of three dimensions;
        an action may lead ``(K - 1) / 2`` cells far.
      sharpness: factor on the kernel logits: how much faster than the costs they learn.
      threshold: surcharge above which an action counts as closed, in units of the cheapest move.
      padding: static; "zero" for a map that ends at its edges, "wrap" for a torus.
      hard: static; which stage.

    Raises:
      ValueError: if the kernel has another shape or is even, or the padding is unknown.

    Example:
      >>> cell = MaxPlusCell.create(4, kernel_size=3, rngs=nnx.Rngs(0))
      >>> goal = jnp.zeros((5, 6), bool).at[2, 3].set(True)
      >>> inputs = MaxPlusInputs(cost=jnp.ones((4, 5, 6)), goal=goal)
      >>> cell(cell.start(inputs), inputs).shape
      (5, 6)
    """

    def __init__(
        self,
        kernel: Array,
        *,
        sharpness: float = 10.0,
        threshold: float = 4.0,
        padding: Padding = "zero",
        hard: bool = False,
    ) -> None:
        if kernel.ndim not in (3, 4) or len(set(kernel.shape[1:])) != 1:
            raise ValueError(
                f"kernel has shape {list(kernel.shape)}, expected [A, K, K] or [A, K, K, K]."
            )
        check_kernel_size(kernel.shape[1])
        check_padding(padding)
        self.sharpness = sharpness
        self.threshold = threshold
        self.padding: Padding = padding
        self.hard = hard
        self.kernel = nnx.Param(kernel)

    @classmethod
    def create(cls, actions: int, *, kernel_size: int, rngs: nnx.Rngs, **options: Any) -> Self:
        """A cell for maps of two dimensions whose kernels are almost even.

        Args:
          actions: number of actions A.
          kernel_size: odd; how far an action may lead.
          rngs: for the kernel.
          **options: see `MaxPlusCell`.

        Returns:
          The cell.

        Raises:
          ValueError: if a size is below 1 or the kernel even.

        Example:
          >>> MaxPlusCell.create(4, kernel_size=3, rngs=nnx.Rngs(0)).kernel.shape
          (4, 3, 3)
        """
        check_sizes(actions=actions)
        check_kernel_size(kernel_size)
        shape = (actions, kernel_size, kernel_size)
        return cls(draw_weights(rngs, shape, fan_in=100), **options)

    def prepare(self, costs: MoveCosts, goal: Array) -> MaxPlusInputs:
        """Costs of the current stage, computed once, outside the loop."""
        if not self.hard:
            return MaxPlusInputs(cost=1.0 + costs.surcharge, goal=goal)
        closed = costs.surcharge > self.threshold
        return MaxPlusInputs(cost=jnp.where(closed, -2 * FLOOR, costs.scale), goal=goal)

    def start(self, inputs: MaxPlusInputs) -> Array:
        """The floor everywhere but at the goal, of the goal's shape."""
        return jnp.where(inputs.goal, 0.0, FLOOR).astype(inputs.cost.dtype)

    def action_values(self, value: Array, inputs: MaxPlusInputs) -> Array:
        """Q, [H, W] -> [A, H, W]."""
        actions, size = self.kernel.shape[:2]
        beyond: Any = {"mode": "wrap"} if self.padding == "wrap" else {"constant_values": FLOOR}
        padded = jnp.pad(value, size // 2, **beyond)
        logits = self.kernel[...].reshape(actions, -1)
        window = lambda tap: jax.lax.dynamic_slice(padded, tap, value.shape)
        if self.hard:
            best = jnp.unravel_index(logits.argmax(-1), (size,) * value.ndim)
            return jnp.stack([window(tap) for tap in zip(*best, strict=True)]) - inputs.cost
        taps = itertools.product(range(size), repeat=value.ndim)
        neighbours = jnp.stack([window(tap) for tap in taps])
        best = jax.lax.stop_gradient(neighbours.max(0))
        # A chance of at least LEAST for the best neighbour keeps the logarithm finite.
        weights = jnp.maximum(jax.nn.softmax(self.sharpness * logits, axis=-1), LEAST)
        total = jnp.tensordot(weights, jnp.exp(neighbours - best[None]), axes=1)
        return jnp.log(total) + best[None] - inputs.cost

    def __call__(self, value: Array, inputs: MaxPlusInputs) -> Array:
        """One step, [H, W] -> [H, W]."""
        q = list(self.action_values(value, inputs))
        best = functools.reduce(jnp.maximum, q, jnp.full_like(value, FLOOR))
        return jnp.where(inputs.goal, 0, best)


class MaxPlusReadout(nnx.Module):
    """Logits from action values, ``beta (Q_a - max_a Q_a)``, at least -20, with a learnt ``beta``.

    A cell that no path has reached has no opinion: its logits are zero.

    Example:
      >>> MaxPlusReadout()(jnp.array([[-1.0], [-3.0]]).reshape(2, 1, 1)).shape
      (1, 1, 2)
    """

    def __init__(self) -> None:
        self.log_beta = nnx.Param(jnp.zeros(()))

    def __call__(self, q: Array) -> Array:
        """Logits of one map, [A, ...] -> [..., A]."""
        best = q.max(0)
        lost = best <= FLOOR / 2  # and not "> FLOOR / 2", so that NaN stays NaN
        advantage = jnp.exp(self.log_beta[...]) * (q - jax.lax.stop_gradient(best)[None])
        logits = jnp.maximum(jnp.where(lost[None], 0, advantage), -20.0)
        return jnp.moveaxis(logits, 0, -1)
