"""The iteration of a symmetric value iteration network: its kernel, cell and reward network."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_padding
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution
from jplan.nn._grid_groups import SteerableKernel, check_multiple, group_elements
from jplan.nn._max_bellman import check_discount, first_maximiser
from jplan.nn._solve_cell import AbstractCell


class RegularTransitionKernel(nnx.Module):
    """The learnt kernel of a symmetric value iteration network: of the reward, and of the value.

    Both lead from a regular field to ``q_channels / G`` regular fields. The value's part is a
    softmax over the neighbours and their G values, times the discount, so a step with this kernel
    is monotone and, for a discount below 1, a contraction of that modulus in the sup norm.

    Args:
      group: "C4" or "D4".
      q_channels: number of action channels Q in all, a multiple of the group's order G.
      kernel_size: odd.
      discount: of the value, in (0, 1].
      sharpness: factor on the logits of the softmax: how much faster than the rewards they learn.
      rngs: for the initial weights.

    Raises:
      ValueError: if Q is no multiple of G, the kernel is even, or the discount out of range.

    Example:
      >>> kernel = RegularTransitionKernel("D4", 40, kernel_size=3, rngs=nnx.Rngs(0))
      >>> kernel().shape
      (3, 3, 2, 8, 40)
    """

    def __init__(
        self,
        group: str,
        q_channels: int,
        *,
        kernel_size: int,
        discount: float = 0.99,
        sharpness: float = 10.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_multiple(group, q_channels=q_channels)
        check_discount(discount)
        fields = q_channels // len(group_elements(group))
        make = functools.partial(
            SteerableKernel, group, ("regular", 1), ("regular", fields), kernel_size=kernel_size
        )
        self.discount = discount
        self.sharpness = sharpness
        self.rewards = make(rngs=rngs)
        self.logits = make(rngs=rngs)
        # Chances start almost even, as in `TransitionKernel`.
        self.logits.weights[...] *= 0.1

    def __call__(self) -> Array:
        """The kernel, [K, K, 2, G, Q]; the Q channels are ordered as [G, Q / G]."""
        logits = self.sharpness * self.logits()
        chances = self.discount * jax.nn.softmax(logits, axis=(0, 1, 2))
        return jnp.stack([self.rewards(), chances], axis=2)


class RegularBellmanCell(AbstractCell):
    """One step of value iteration on a regular field: one value for each symmetry of a cell.

        Q_gq(s) = sum_{k, h} W_gq(k, h) R_h(s + k) + P_gq(k, h) V_h(s + k)
        V_g(s) <- max_q Q_gq(s)

    The maximum is over the fields and keeps the group's axis, so a step commutes with whatever
    symmetry its kernel has. The reward's share is computed once, outside the loop, and for
    gradients a step keeps the greedy field of each value, one byte.

    Args:
      kernel: [K, K, 2, G, Q], ``W`` and ``P``, such as `RegularTransitionKernel` makes; K is odd
        and Q a multiple of G.
      padding: static; see `loop_convolution`.
      forward_mode: static; a form that has jvp and Hessians. At ties it splits the gradient evenly,
        whereas the default gives it to the first maximiser.

    Raises:
      ValueError: if the kernel has another shape, or the padding is unknown.

    Example:
      >>> cell = RegularBellmanCell(jnp.ones((3, 3, 2, 8, 40)) / 72)
      >>> inputs = cell.prepare(jnp.ones((5, 6, 8)))
      >>> cell(cell.start(inputs), inputs).shape
      (5, 6, 8)

    References:
      Zhao et al., Integrating symmetry into differentiable planning with steerable convolutions,
      2023, section 4 (SymVIN).
    """

    def __init__(
        self, kernel: Array, *, padding: Padding = "zero", forward_mode: bool = False
    ) -> None:
        shape = kernel.shape
        if len(shape) != 5 or shape[0] != shape[1] or shape[2] != 2 or shape[4] % shape[3]:
            raise ValueError(
                f"kernel has shape {list(shape)}, expected [K, K, 2, G, Q] with Q a multiple of G."
            )
        check_kernel_size(shape[0])
        check_padding(padding)
        self.kernel = nnx.Param(kernel)
        self.padding: Padding = padding
        self.forward_mode = forward_mode

    def prepare(self, reward: Array) -> Array:
        """The reward's share of the action values, [H, W, G] -> [H, W, G, Q / G]."""
        # The sum makes NaN anywhere in the kernel visible in the start; a wide maximum drops it.
        return self._expand(reward, 0) + 0 * jax.lax.stop_gradient(self.kernel[...].sum())

    def start(self, inputs: Array) -> Array:
        """Initial value, [H, W, G]; zero, and NaN where the inputs are."""
        return 0 * inputs.sum(-1)

    def action_values(self, value: Array, inputs: Array) -> Array:
        """Q, [H, W, G] -> [H, W, G, Q / G]."""
        return inputs + self._expand(value, 1)

    def __call__(self, value: Array, inputs: Array) -> Array:
        """One step, [H, W, G] -> [H, W, G]."""
        q = self.action_values(value, inputs)
        # XLA drops NaN in wide maxima on CPU, so a value that is NaN is kept by hand.
        return (q.max(-1) if self.forward_mode else _first_max(q)) + 0 * value

    def _expand(self, field: Array, part: int) -> Array:
        """One field's share of the action values, [H, W, G] -> [H, W, G, Q / G]."""
        kernel = self.kernel[...][:, :, part]
        q = loop_convolution(field, kernel, padding=self.padding, forward_mode=self.forward_mode)
        return q.reshape(*field.shape, -1)


@jax.custom_vjp
def _first_max(q: Array) -> Array:
    """Maximum over the last axis, whose gradient needs one byte a maximum."""
    return q.max(-1)


def _first_max_forward(q: Array) -> tuple[Array, tuple[Array, Array]]:
    best = _first_max(q)  # and not q.max(-1), for second derivatives
    greedy = first_maximiser(q, best)
    channels = jnp.arange(q.shape[-1], dtype=greedy.dtype)
    return best, (greedy, jnp.expand_dims(channels, range(q.ndim - 1)))


def _first_max_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    greedy, channels = saved
    return (jnp.where(greedy[..., None] == channels, g[..., None], 0),)


_first_max.defvjp(_first_max_forward, _first_max_backward)


class RegularRewardMapper(nnx.Module):
    """Network from a map to a regular field of rewards: a convolution, a rectifier, a linear layer.

    Args:
      group: "C4" or "D4".
      channels: channels of the map, scalars.
      hidden: width, a multiple of the group's order G.
      kernel_size: odd.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if the width is no multiple of G, a size is below 1, the kernel is even or the
        padding unknown.

    Example:
      >>> mapper = RegularRewardMapper("D4", 2, hidden=16, kernel_size=3, rngs=nnx.Rngs(0))
      >>> mapper(jnp.ones((5, 6, 2))).shape
      (5, 6, 8)
    """

    def __init__(
        self,
        group: str,
        channels: int,
        *,
        hidden: int,
        kernel_size: int,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_multiple(group, hidden=hidden)
        check_padding(padding)
        fields = "regular", hidden // len(group_elements(group))
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.kernel = SteerableKernel(
            group, ("trivial", channels), fields, kernel_size=kernel_size, rngs=rngs
        )
        self.bias = nnx.Param(jnp.zeros(fields[1]))
        self.out = SteerableKernel(group, fields, ("regular", 1), kernel_size=1, rngs=rngs)

    def __call__(self, inputs: Array) -> Array:
        """Rewards of one map, [H, W, C] -> [H, W, G]."""
        convolve = functools.partial(
            loop_convolution, padding=self.padding, forward_mode=self.forward_mode
        )
        field = convolve(inputs, self.kernel())
        bias = jnp.tile(self.bias[...], field.shape[-1] // len(self.bias[...]))
        return convolve(jax.nn.relu(field + bias[None, None]), self.out())
