"""Long short-term memory in every cell of a map, the iteration of GPPN."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution
from jplan.nn._solve_cell import AbstractCell


class PathLSTMCell(AbstractCell):
    """An LSTM in every cell of a map, which reads one number from the cells around it.

        e = K_e * map + b_e,  (h_0, c_0) = K_0 * e + b_0
        x = K * h,  (i, f, g, o) = W_x x + W_h h + b
        c <- sigmoid(f) c + sigmoid(i) tanh(g),  h <- sigmoid(o) tanh(c)

    ``K`` has one output channel and ``kernel_size`` cells a side; ``K_e`` and ``K_0`` are 3x3.

    The map enters through the initial state only, so a fixed point does not depend on it, and no
    gradient but that of `jplan.Unroll` reaches ``K_e`` and ``K_0``. With ``inject=True`` the gates
    also contain ``K_i * e`` with a 3x3 kernel ``K_i``, in every step, and each adjoint works.

    Args:
      channels: channels of the input map.
      hidden: channels of ``h`` and of ``c``.
      kernel_size: odd.
      inject: static; let the map enter in every step too.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial kernels. Biases start at zero, that of the forget gate at one.

    Raises:
      ValueError: if a size is below 1, the kernel is even or the padding unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> cell = PathLSTMCell(2, 4, kernel_size=3, rngs=nnx.Rngs(0))
      >>> inputs = cell.prepare(jnp.ones((5, 6, 2)))
      >>> h, c = cell(cell.start(inputs), inputs)
      >>> h.shape, c.shape
      ((5, 6, 4), (5, 6, 4))

    References:
      Lee et al., Gated path planning networks, 2018, and the code released with it.
      Jozefowicz et al., An empirical exploration of recurrent network architectures, 2015 (the
      forget gate's bias).

    Note:
      ``K`` has no bias: ``b`` contains it. The released code draws the LSTM's parameters from a
      uniform distribution; here kernels are LeCun normal, and ``inject`` is ours.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        kernel_size: int,
        inject: bool = False,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_kernel_size(kernel_size)
        check_padding(padding)
        self.hidden = hidden
        self.inject = inject
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.encoder_kernel = nnx.Param(draw_weights(rngs, (3, 3, channels, hidden)))
        self.encoder_bias = nnx.Param(jnp.zeros(hidden))
        self.start_kernel = nnx.Param(draw_weights(rngs, (3, 3, hidden, 2 * hidden)))
        self.start_bias = nnx.Param(jnp.zeros(2 * hidden))
        size = (kernel_size, kernel_size)
        self.message_kernel = nnx.Param(draw_weights(rngs, (*size, hidden, 1)))
        gates = draw_weights(rngs, (1 + hidden, 4 * hidden))
        self.input_weights = nnx.Param(gates[:1])
        self.state_weights = nnx.Param(gates[1:])
        # The forget gate starts open, or little of a gradient would come back through K steps.
        self.bias = nnx.Param(jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1))
        if inject:
            self.inject_kernel = nnx.Param(draw_weights(rngs, (3, 3, hidden, 4 * hidden)))

    def prepare(self, inputs: Array) -> tuple[Array, Array]:
        """The encoding of a map and its share of the gates.

        Args:
          inputs: map, [H, W, C].

        Returns:
          ``e``, [H, W, hidden], and what the gates contain in every step: [1, 1, 4 * hidden], or
          [H, W, 4 * hidden] with ``inject``.
        """
        encoding = self._convolve(inputs, self.encoder_kernel) + self.encoder_bias[...][None, None]
        gates = self.bias[...][None, None]
        if self.inject:
            gates = gates + self._convolve(encoding, self.inject_kernel)
        return encoding, gates

    def start(self, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        """Initial state ``(h, c)`` from the encoding, each [H, W, hidden]."""
        encoding, _ = inputs
        both = self._convolve(encoding, self.start_kernel) + self.start_bias[...][None, None]
        h, c = jnp.split(both, 2, axis=-1)
        return h, c

    def _convolve(self, x: Array, kernel: nnx.Param) -> Array:
        return loop_convolution(
            x, kernel[...], padding=self.padding, forward_mode=self.forward_mode
        )

    def __call__(self, z: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        """One step of ``(h, c)``."""
        h, c = z
        _, gates = inputs
        message = self._convolve(h, self.message_kernel)
        return _lstm(h, c, message, gates, self.input_weights[...], self.state_weights[...])


@jax.checkpoint  # to compute the gates again is cheaper than to keep them for all steps
def _lstm(
    h: Array, c: Array, message: Array, gates: Array, input_weights: Array, state_weights: Array
) -> tuple[Array, Array]:
    gates = gates + message * input_weights[None] + h @ state_weights
    write, forget, candidate, read = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(write) * jnp.tanh(candidate)
    return jax.nn.sigmoid(read) * jnp.tanh(c), c
