"""Networks from a map to what a value iteration network iterates with: rewards and kernels."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution


class RewardMapper(nnx.Module):
    """Network from a map to the reward of each cell: a convolution, a rectifier, a linear layer.

    Args:
      channels: channels of the map.
      hidden: width.
      kernel_size: odd.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel is even or the padding unknown.

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
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_kernel_size(kernel_size)
        check_padding(padding)
        size = (kernel_size, kernel_size)
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.kernel = nnx.Param(draw_weights(rngs, (*size, channels, hidden)))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.out = nnx.Param(draw_weights(rngs, (hidden, 1)))

    def __call__(self, inputs: Array) -> Array:
        """Reward of one map, [H, W, C] -> [H, W]."""
        field = loop_convolution(
            inputs, self.kernel[...], padding=self.padding, forward_mode=self.forward_mode
        )
        return (jax.nn.relu(field + self.bias[...][None, None]) @ self.out[...])[..., 0]


class KernelMapper(nnx.Module):
    """Network from a map to a kernel of its own: transitions that depend on the observation.

    A convolution and a rectifier, their mean over the map, and a linear layer that starts at zero;
    the result is the offset of a `TransitionKernel`.

    Args:
      channels: channels of the map.
      shape: of the kernel, [K, K, 2, Q].
      hidden: width.
      kernel_size: odd; of the convolution.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel is even or the padding unknown.

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
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_kernel_size(kernel_size)
        check_padding(padding)
        height, width, fields, outputs = shape
        size = (kernel_size, kernel_size)
        self.shape = shape
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.kernel = nnx.Param(draw_weights(rngs, (*size, channels, hidden)))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.out = nnx.Param(jnp.zeros((hidden, height * width * fields * outputs)))

    def __call__(self, inputs: Array) -> Array:
        """Kernel of one map, [H, W, C] -> [K, K, 2, Q]."""
        field = loop_convolution(
            inputs, self.kernel[...], padding=self.padding, forward_mode=self.forward_mode
        )
        features = jax.nn.relu(field + self.bias[...][None, None]).mean((0, 1))
        return (features @ self.out[...]).reshape(self.shape)
