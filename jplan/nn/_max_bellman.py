"""The parts of a value iteration network: reward mapper, maximising cell, action values."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx, struct

from jplan._typing import Array
from jplan.nn._convolution import loop_convolution, taps
from jplan.nn._solve_cell import AbstractCell


class RewardMapper(nnx.Module):
    """Network from a map to the reward of each cell: a convolution, a rectifier, a linear layer.

    Args:
      channels: channels of the map.
      hidden: width.
      kernel_size: odd.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Example:
      >>> RewardMapper(2, hidden=8, kernel_size=3, rngs=nnx.Rngs(0))(jnp.ones((5, 6, 2))).shape
      (5, 6)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1 and the released code.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int,
        kernel_size: int,
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        initial = nnx.initializers.lecun_normal()
        size = (kernel_size, kernel_size)
        self.forward_mode = forward_mode
        self.kernel = nnx.Param(initial(rngs.params(), (*size, channels, hidden)))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.out = nnx.Param(initial(rngs.params(), (hidden, 1)))

    def __call__(self, inputs: Array) -> Array:
        """Reward of one map, [H, W, C] -> [H, W]."""
        field = loop_convolution(inputs, self.kernel[...], forward_mode=self.forward_mode)
        return (jax.nn.relu(field + self.bias[...][None, None]) @ self.out[...])[..., 0]


class KernelMapper(nnx.Module):
    """Network from a map to a kernel of its own: transitions that depend on the observation.

    A convolution and a rectifier, their mean over the map, and a linear layer that starts at zero,
    so that it is added to a common kernel.

    Args:
      channels: channels of the map.
      shape: of the kernel, [K, K, 2, Q].
      hidden: width.
      kernel_size: odd; of the convolution.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Example:
      >>> mapper = KernelMapper(2, (3, 3, 2, 7), hidden=8, kernel_size=3, rngs=nnx.Rngs(0))
      >>> mapper(jnp.ones((5, 6, 2))).shape
      (3, 3, 2, 7)

    References:
      Tamar et al., Value iteration networks, 2016, section 4 (the function f_P).
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int, int],
        *,
        hidden: int,
        kernel_size: int,
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, fields, outputs = shape
        initial = nnx.initializers.lecun_normal()
        size = (kernel_size, kernel_size)
        self.shape = shape
        self.forward_mode = forward_mode
        self.kernel = nnx.Param(initial(rngs.params(), (*size, channels, hidden)))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.out = nnx.Param(jnp.zeros((hidden, height * width * fields * outputs)))

    def __call__(self, inputs: Array) -> Array:
        """Kernel of one map, [H, W, C] -> [K, K, 2, Q]."""
        field = loop_convolution(inputs, self.kernel[...], forward_mode=self.forward_mode)
        features = jax.nn.relu(field + self.bias[...][None, None]).mean((0, 1))
        return (features @ self.out[...]).reshape(self.shape)


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


class MaxBellmanCell(AbstractCell):
    """One step of a value iteration network.

        Q_q(s) = sum_k W_q(k) R(s + k) + P_q(k) V(s + k),    V(s) <- max_q Q_q(s)

    The reward's share is convolved once, outside the loop. For gradients a step keeps only the
    greedy channel of each cell, one byte: the step is linear in ``V``, ``R`` and the kernel of that
    channel, so its derivative is a stencil with one kernel a cell.

    Args:
      q_channels: number of action channels Q; need not be the number of actions.
      kernel_size: odd; information travels ``(kernel_size - 1) / 2`` cells a step.
      forward_mode: static; a form in matrix products that has jvp and Hessians. At ties it splits
        the gradient evenly, whereas the default gives it to the first maximiser.
      rngs: for the initial kernel.

    Example:
      >>> cell = MaxBellmanCell(10, kernel_size=3, rngs=nnx.Rngs(0))
      >>> inputs = cell.prepare(jnp.ones((5, 6)))
      >>> cell(cell.start(inputs), inputs).shape
      (5, 6)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1.
    """

    def __init__(
        self,
        q_channels: int,
        *,
        kernel_size: int,
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size is {kernel_size}, expected an odd number; an even kernel has no "
                "centre cell."
            )
        initial = nnx.initializers.lecun_normal()
        shape = (kernel_size, kernel_size, 2, q_channels)
        self.forward_mode = forward_mode
        self.kernel = nnx.Param(initial(rngs.params(), shape))

    def prepare(self, reward: Array, offset: Array | None = None) -> BellmanInputs:
        """The reward's share of the action values, computed once, outside the loop.

        Args:
          reward: [H, W].
          offset: [K, K, 2, Q], added to the kernel for this map; None where there is none.
        """
        kernel = None if offset is None else self.kernel[...] + offset
        inputs = BellmanInputs(reward=reward, expected=reward[..., None], kernel=kernel)
        reward_kernel, _ = self._kernels(inputs)
        expected = self._convolve(reward, reward_kernel, inputs)
        if not self.forward_mode:
            # Its gradient goes by way of the reward, one number a cell instead of Q. The sum makes
            # NaN anywhere in the kernel visible, which a wide maximum would drop on CPU.
            expected = jax.lax.stop_gradient(expected + 0 * self.kernel[...].sum())
        return BellmanInputs(reward=reward, expected=expected, kernel=kernel)

    def start(self, inputs: BellmanInputs) -> Array:
        """Initial value, [H, W]; zero."""
        return jnp.zeros_like(inputs.reward)

    def action_values(self, value: Array, inputs: BellmanInputs) -> Array:
        """Q, [H, W] -> [H, W, Q]."""
        fields = jnp.stack([inputs.reward, value], axis=-1)
        kernel = self.kernel[...] if inputs.kernel is None else inputs.kernel
        return loop_convolution(fields, kernel, forward_mode=self._by_products(inputs))

    def __call__(self, value: Array, inputs: BellmanInputs) -> Array:
        """One step, [H, W] -> [H, W]."""
        reward_kernel, value_kernel = self._kernels(inputs)
        if self.forward_mode:
            return (inputs.expected + self._convolve(value, value_kernel, inputs)).max(-1)
        by_products = self._by_products(inputs)
        return _backup(
            by_products, value, inputs.reward, inputs.expected, reward_kernel, value_kernel
        )

    def _kernels(self, inputs: BellmanInputs) -> tuple[Array, Array]:
        kernel = self.kernel[...] if inputs.kernel is None else inputs.kernel
        return kernel[:, :, 0], kernel[:, :, 1]

    def _by_products(self, inputs: BellmanInputs) -> bool:
        """A kernel a map is a grouped convolution under vmap, which matrix products outrun."""
        return self.forward_mode or inputs.kernel is not None

    def _convolve(self, field: Array, kernel: Array, inputs: BellmanInputs) -> Array:
        return _expand(self._by_products(inputs), field, kernel)


def _expand(by_products: bool, field: Array, kernel: Array) -> Array:
    """[H, W] by [K, K, Q] -> [H, W, Q]."""
    return loop_convolution(field[..., None], kernel[:, :, None], forward_mode=by_products)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _backup(
    by_products: bool,
    value: Array,
    reward: Array,
    expected: Array,
    reward_kernel: Array,
    value_kernel: Array,
) -> Array:
    """max_q Q, [H, W]; the gradient goes to all but ``expected``, a function of the others."""
    del reward, reward_kernel
    return _maximum(expected + _expand(by_products, value, value_kernel))


def _maximum(q: Array) -> Array:
    # XLA drops NaN in wide maxima on CPU; NaN in a field or the kernel reaches every channel.
    return jnp.where(jnp.isnan(q[..., 0]), jnp.nan, q.max(-1))


def _backup_forward(
    by_products: bool,
    value: Array,
    reward: Array,
    expected: Array,
    reward_kernel: Array,
    value_kernel: Array,
) -> tuple[Array, tuple[Array, ...]]:
    q = expected + _expand(by_products, value, value_kernel)
    best = q.max(-1)
    num = q.shape[-1]
    # The first maximiser as a maximum of floats, three times as fast as argmax on CPU.
    rank = jnp.arange(num, 0, -1, dtype=q.dtype)
    greedy = num - jnp.where(q == best[..., None], rank, 1).max(-1)
    greedy = greedy.astype(jnp.uint8 if num <= 256 else jnp.int32)
    return _maximum(q), (value, reward, greedy, reward_kernel, value_kernel)


def _backup_backward(
    by_products: bool, saved: tuple[Array, ...], cotangent: Array
) -> tuple[Array, Array, None, Array, Array]:
    del by_products
    value, reward, greedy, reward_kernel, value_kernel = saved
    size, _, num = value_kernel.shape
    greedy = greedy.astype(jnp.int32)

    def transposed(kernel: Array) -> Array:
        """sum_k g(s - k) kernel(k, greedy(s - k)): each cell's own stencil, transposed."""
        tables = jnp.flip(kernel, (0, 1)).reshape(size * size, num)
        shifted = zip(taps(cotangent[..., None], size), taps(greedy[..., None], size), strict=True)
        parts = [g * table[a] for (g, a), table in zip(shifted, tables, strict=True)]
        return functools.reduce(jnp.add, parts)[..., 0]

    def of_kernel(field: Array) -> Array:
        """sum_s g(s) field(s + k) in the column of greedy(s)."""
        rows = jnp.concatenate(taps(field[..., None], size), axis=-1) * cotangent[..., None]
        total = jnp.zeros((num, size * size), rows.dtype)
        total = total.at[greedy.ravel()].add(rows.reshape(-1, size * size))
        return total.T.reshape(size, size, num)

    return (
        transposed(value_kernel),
        transposed(reward_kernel),
        None,
        of_kernel(reward),
        of_kernel(value),
    )


_backup.defvjp(_backup_forward, _backup_backward)
