"""The iteration of a value iteration network: its kernel, and the maximising cell."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx, struct

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution, taps
from jplan.nn._solve_cell import AbstractCell


@struct.dataclass(kw_only=True)
class BellmanInputs:
    """What the cell reads in every step.

    Attributes:
      reward: [H, W].
      expected: [H, W, Q], the reward's share of the action values; carries no gradient.
      kernel: [K, K, 2, Q], the kernel of this map; None where all maps share the cell's.
    """

    reward: Array
    expected: Array
    kernel: Array | None = None


class TransitionKernel(nnx.Module):
    """The learnt kernel of a value iteration network: of the reward, and of the value.

    The value's part is a softmax over the neighbours, times the discount. So a step with this
    kernel is monotone, and for a discount below 1 a contraction of that modulus in the sup norm,
    whatever has been learnt: no iteration blows up.

    Args:
      q_channels: number of action channels Q; need not be the number of actions.
      kernel_size: odd; information travels ``(kernel_size - 1) / 2`` cells a step.
      discount: of the value; 1 for none.
      sharpness: factor on the logits of the softmax: how much faster than the rewards they learn.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel is even, or the discount is not in (0, 1].

    Example:
      >>> TransitionKernel(10, kernel_size=3, rngs=nnx.Rngs(0))().shape
      (3, 3, 2, 10)

    Note:
      The paper's kernel of the value is free, so its iteration may grow without bound.

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1.
    """

    def __init__(
        self,
        q_channels: int,
        *,
        kernel_size: int,
        discount: float = 0.99,
        sharpness: float = 10.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(q_channels=q_channels)
        check_kernel_size(kernel_size)
        check_discount(discount)
        self.discount = discount
        self.sharpness = sharpness
        weights = draw_weights(rngs, (kernel_size, kernel_size, 2, q_channels))
        # Chances start almost even: a neighbour that is likely from the start may stay so for good.
        self.weights = nnx.Param(weights.at[:, :, 1].multiply(0.1))

    def __call__(self, offset: Array | None = None) -> Array:
        """The kernel, [K, K, 2, Q]; ``offset``, of the same shape, is added before the softmax."""
        weights = self.weights[...] if offset is None else self.weights[...] + offset
        size, _, _, num = weights.shape
        logits = self.sharpness * weights[:, :, 1].reshape(size * size, num)
        chances = self.discount * jax.nn.softmax(logits, axis=0)
        return jnp.stack([weights[:, :, 0], chances.reshape(size, size, num)], axis=2)


def check_discount(discount: float) -> None:
    """ValueError unless it is in (0, 1]."""
    if not 0 < discount <= 1:
        raise ValueError(f"discount is {discount}, expected a number in (0, 1].")


class MaxBellmanCell(AbstractCell):
    """One step of a value iteration network.

        Q_q(s) = sum_k W_q(k) R(s + k) + P_q(k) V(s + k),    V(s) <- max_q Q_q(s)

    The reward's share is convolved once, outside the loop. For gradients a step keeps only the
    greedy channel of each cell, one byte: the step is linear in ``V``, ``R`` and the kernel of that
    channel, so its derivative is a stencil with one kernel a cell.

    Args:
      kernel: [K, K, 2, Q], ``W`` and ``P``, such as `TransitionKernel` makes; K is odd.
      padding: static; see `loop_convolution`.
      forward_mode: static; a form in matrix products that has jvp and Hessians. At ties it splits
        the gradient evenly, whereas the default gives it to the first maximiser.

    Raises:
      ValueError: if the kernel is not [K, K, 2, Q] with odd K, or the padding is unknown.

    Example:
      >>> cell = MaxBellmanCell(jnp.ones((3, 3, 2, 10)) / 9)
      >>> inputs = cell.prepare(jnp.ones((5, 6)))
      >>> cell(cell.start(inputs), inputs).shape
      (5, 6)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1.
    """

    def __init__(
        self, kernel: Array, *, padding: Padding = "zero", forward_mode: bool = False
    ) -> None:
        if kernel.ndim != 4 or kernel.shape[2] != 2 or kernel.shape[0] != kernel.shape[1]:
            raise ValueError(f"kernel has shape {list(kernel.shape)}, expected [K, K, 2, Q].")
        check_kernel_size(kernel.shape[0])
        check_padding(padding)
        self.kernel = nnx.Param(kernel)
        self.padding: Padding = padding
        self.forward_mode = forward_mode

    def prepare(self, reward: Array, kernel: Array | None = None) -> BellmanInputs:
        """The reward's share of the action values, computed once, outside the loop.

        Args:
          reward: [H, W].
          kernel: [K, K, 2, Q], of this map alone; None where it is the cell's.

        Raises:
          ValueError: if one of them has another shape.
        """
        if reward.ndim != 2:
            raise ValueError(f"reward has shape {list(reward.shape)}, expected [H, W].")
        if kernel is not None and kernel.shape != self.kernel.shape:
            raise ValueError(
                f"the kernel of a map has shape {list(kernel.shape)}, expected "
                f"{list(self.kernel.shape)} as the cell's."
            )
        used, by_products = self._kernel(kernel)
        expected = self._expand(by_products, reward, used, 0)
        if not self.forward_mode:
            # Its gradient goes by way of the reward, one number a cell instead of Q. The sum makes
            # NaN anywhere in the kernel visible in the start, which a wide maximum would drop.
            expected = jax.lax.stop_gradient(expected + 0 * used.sum())
        return BellmanInputs(reward=reward, expected=expected, kernel=kernel)

    def start(self, inputs: BellmanInputs) -> Array:
        """Initial value, [H, W]; zero, and NaN where the inputs are."""
        return 0 * inputs.expected.sum(-1)

    def action_values(self, value: Array, inputs: BellmanInputs) -> Array:
        """Q, [H, W] -> [H, W, Q]."""
        fields = jnp.stack([inputs.reward, value], axis=-1)
        kernel, by_products = self._kernel(inputs.kernel)
        return loop_convolution(fields, kernel, padding=self.padding, forward_mode=by_products)

    def __call__(self, value: Array, inputs: BellmanInputs) -> Array:
        """One step, [H, W] -> [H, W]."""
        kernel, by_products = self._kernel(inputs.kernel)
        q = inputs.expected + self._expand(by_products, value, kernel, 1)
        # XLA drops NaN in wide maxima on CPU, so a value that is NaN is kept by hand.
        best = q.max(-1) + 0 * value
        if self.forward_mode:
            return best
        q, best = jax.lax.stop_gradient((q, best))
        greedy = first_maximiser(q, best)
        return _attach(self.padding, best, value, inputs.reward, greedy, kernel)

    def _kernel(self, kernel: Array | None) -> tuple[Array, bool]:
        """The kernel, and whether to apply it by matrix products.

        A kernel a map is a grouped convolution under vmap, which matrix products outrun.
        """
        return (self.kernel[...], self.forward_mode) if kernel is None else (kernel, True)

    def _expand(self, by_products: bool, field: Array, kernel: Array, channel: int) -> Array:
        """One field's share of the action values, [H, W] by [K, K, 2, Q] -> [H, W, Q]."""
        part, field = kernel[:, :, channel : channel + 1], field[..., None]
        return loop_convolution(field, part, padding=self.padding, forward_mode=by_products)


def first_maximiser(q: Array, best: Array) -> Array:
    """[..., Q] -> [...]: as a maximum of floats it takes half the time of argmax on CPU."""
    num = q.shape[-1]
    rank = jnp.arange(num, 0, -1, dtype=jnp.promote_types(q.dtype, jnp.float32))
    greedy = num - jnp.where(q == best[..., None], rank, 1).max(-1)
    return greedy.astype(jnp.uint8 if num <= 256 else jnp.int32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attach(
    padding: Padding, best: Array, value: Array, reward: Array, greedy: Array, kernel: Array
) -> Array:
    """Identity on ``best`` that carries its gradient to the fields and the greedy kernels."""
    del padding, value, reward, greedy, kernel
    return best


def _attach_forward(
    padding: Padding, best: Array, value: Array, reward: Array, greedy: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    # For second derivatives the result must itself carry this gradient.
    saved = value, reward, greedy, kernel
    return _attach(padding, best, *saved), saved


def _attach_backward(
    padding: Padding, saved: tuple[Array, Array, Array, Array], g: Array
) -> tuple[None, Array, Array, None, Array]:
    value, reward, greedy, kernel = saved
    size, _, _, num = kernel.shape
    greedy = greedy.astype(jnp.int32)

    # sum_k g(s - k) kernel(k, greedy(s - k)): each cell's own stencil, transposed.
    around = functools.partial(taps, size=size, padding=padding)
    shifted = zip(around(g[..., None]), around(greedy[..., None]), strict=True)
    tables = jnp.flip(kernel, (0, 1)).reshape(size * size, 2, num)
    parts = [(g * r[a], g * v[a]) for (g, a), (r, v) in zip(shifted, tables, strict=True)]
    of_reward, of_value = (
        functools.reduce(jnp.add, part)[..., 0] for part in zip(*parts, strict=True)
    )

    # sum_s g(s) field(s + k) in the column of greedy(s).
    fields = jnp.stack([reward, value], axis=-1)
    rows = jnp.concatenate(around(fields), axis=-1) * g[..., None]
    total = jnp.zeros((num, 2 * size * size), rows.dtype)
    total = total.at[greedy.ravel()].add(rows.reshape(-1, 2 * size * size))
    of_kernel = total.T.reshape(kernel.shape).astype(kernel.dtype)
    return None, of_value.astype(value.dtype), of_reward.astype(reward.dtype), None, of_kernel


_attach.defvjp(_attach_forward, _attach_backward)
