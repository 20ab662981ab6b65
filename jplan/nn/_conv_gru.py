"""Convolutional gated recurrent cell, the iteration of ConvGPPN."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution
from jplan.nn._solve_cell import AbstractCell


class ConvGRUCell(AbstractCell):
    """Convolutional GRU on a map, with the input injected in every step.

        u, r = sigmoid(K_h * z + x_{u,r}),  c = tanh(K_c * (r z) + x_c),  z <- (1 - u) z + u c

    The part that depends on the input only, ``x = K_x * input + b``, is computed once by
    `prepare`, outside the loop.

    Args:
      input_kernel: ``K_x``, [K, K, C, 3 * hidden] with odd K, for ``u``, ``r`` and ``c``.
      bias: ``b``, [3 * hidden].
      gate_kernel: ``K_h``, [K, K, hidden, 2 * hidden].
      candidate_kernel: ``K_c``, [K, K, hidden, hidden].
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.

    Raises:
      ValueError: if the shapes disagree, the kernels are even or the padding is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> cell = ConvGRUCell.create(2, 4, kernel_size=3, rngs=nnx.Rngs(0))
      >>> inputs = cell.prepare(jnp.ones((5, 6, 2)))
      >>> cell(jnp.zeros((5, 6, 4)), inputs).shape
      (5, 6, 4)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 4 (ID-ConvGPPN).
      Lee et al., Gated path planning networks, 2018.
    """

    def __init__(
        self,
        input_kernel: Array,
        bias: Array,
        gate_kernel: Array,
        candidate_kernel: Array,
        *,
        padding: Padding = "zero",
        forward_mode: bool = False,
    ) -> None:
        if input_kernel.ndim != 4 or candidate_kernel.ndim != 4:
            raise ValueError(
                f"the kernels have shapes {input_kernel.shape} and {candidate_kernel.shape}, "
                "expected [K, K, C, 3 * hidden] and [K, K, hidden, hidden]; ConvGRUCell.create "
                "draws them."
            )
        size, _, hidden, _ = candidate_kernel.shape
        channels = input_kernel.shape[2]
        check_kernel_size(size)
        check_padding(padding)
        given = [input_kernel.shape, bias.shape, gate_kernel.shape, candidate_kernel.shape]
        shapes = [(channels, 3 * hidden), (hidden, 2 * hidden), (hidden, hidden)]
        of_input, of_gates, of_candidate = ((size, size, *shape) for shape in shapes)
        wanted = [of_input, (3 * hidden,), of_gates, of_candidate]
        if given != wanted:
            raise ValueError(
                f"input_kernel, bias, gate_kernel and candidate_kernel have shapes {given}, "
                f"expected {wanted}."
            )
        self.hidden = hidden
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.input_kernel = nnx.Param(input_kernel)
        self.bias = nnx.Param(bias)
        self.gate_kernel = nnx.Param(gate_kernel)
        self.candidate_kernel = nnx.Param(candidate_kernel)

    @classmethod
    def create(
        cls,
        channels: int,
        hidden: int,
        *,
        kernel_size: int,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> "ConvGRUCell":
        """A cell with random kernels, LeCun normal, and a bias of zero.

        Args:
          channels: channels of the input map.
          hidden: channels of the state.
          kernel_size: odd.
          padding: see `ConvGRUCell`.
          forward_mode: see `ConvGRUCell`.
          rngs: for the kernels.

        Returns:
          The cell.

        Raises:
          ValueError: if a size is below 1, the kernel is even or the padding unknown.

        Example:
          >>> ConvGRUCell.create(2, 4, kernel_size=3, rngs=nnx.Rngs(0)).candidate_kernel.shape
          (3, 3, 4, 4)
        """
        check_sizes(channels=channels, hidden=hidden)
        check_kernel_size(kernel_size)
        shapes = ((channels, 3 * hidden), (hidden, 2 * hidden), (hidden, hidden))
        of_input, of_gates, of_candidate = (
            draw_weights(rngs, (kernel_size, kernel_size, *shape)) for shape in shapes
        )
        return cls(
            *(of_input, jnp.zeros(3 * hidden), of_gates, of_candidate),
            padding=padding,
            forward_mode=forward_mode,
        )

    def prepare(self, inputs: Array) -> Array:
        """The input's share of the gates, [H, W, C] -> [H, W, 3 * hidden]."""
        return self._convolve(inputs, self.input_kernel) + self.bias[...][None, None]

    def start(self, inputs: Array) -> Array:
        """Initial state, [H, W, hidden]; zero."""
        return jnp.zeros((*inputs.shape[:2], self.hidden), inputs.dtype)

    def _convolve(self, x: Array, kernel: nnx.Param) -> Array:
        return loop_convolution(
            x, kernel[...], padding=self.padding, forward_mode=self.forward_mode
        )

    def __call__(self, z: Array, inputs: Array) -> Array:
        """One step, [H, W, hidden] -> [H, W, hidden]."""
        gates = self._convolve(z, self.gate_kernel)
        candidate = self._convolve(_reset(z, gates, inputs), self.candidate_kernel)
        return _update(z, gates, candidate, inputs)


# The backward pass computes the gates again, which takes no longer and spares keeping them.
@jax.checkpoint
def _reset(z: Array, gates: Array, inputs: Array) -> Array:
    hidden = z.shape[-1]
    return jax.nn.sigmoid(gates[..., hidden:] + inputs[..., hidden : 2 * hidden]) * z


@jax.checkpoint
def _update(z: Array, gates: Array, candidate: Array, inputs: Array) -> Array:
    hidden = z.shape[-1]
    update = jax.nn.sigmoid(gates[..., :hidden] + inputs[..., :hidden])
    return (1 - update) * z + update * jnp.tanh(candidate + inputs[..., 2 * hidden :])
