"""Kernels of a convolutional GRU on regular fields."""

import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Padding
from jplan.nn._conv_gru import ConvGRUCell
from jplan.nn._grid_groups import SteerableKernel, check_multiple, group_elements


class SteerableGRU(nnx.Module):
    """A convolutional GRU that commutes with the symmetries of the grid.

    It holds the free weights; to call it expands them to a `ConvGRUCell`, once, outside of any
    loop. Gates and state are regular fields, on which the cell's pointwise functions act alike.

    Args:
      group: "C4" or "D4".
      channels: channels of the input map, scalars.
      hidden: channels of the state, a multiple of the group's order G.
      kernel_size: odd.
      rngs: for the initial weights.

    Raises:
      ValueError: if a size is below 1, ``hidden`` is no multiple of G, or the kernel is even.

    Example:
      >>> cell = SteerableGRU("D4", 2, 16, kernel_size=3, rngs=nnx.Rngs(0))()
      >>> cell.gate_kernel.shape
      (3, 3, 16, 32)

    References:
      Zhao et al., Integrating symmetry into differentiable planning with steerable convolutions,
      2023, section 4 (SymGPPN).
    """

    def __init__(
        self, group: str, channels: int, hidden: int, *, kernel_size: int, rngs: nnx.Rngs
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_multiple(group, hidden=hidden)
        fields = "regular", hidden // len(group_elements(group))

        def kernel(inputs: tuple[str, int]) -> SteerableKernel:
            return SteerableKernel(group, inputs, fields, kernel_size=kernel_size, rngs=rngs)

        self.of_input = nnx.List([kernel(("trivial", channels)) for _ in range(3)])
        self.of_state = nnx.List([kernel(fields) for _ in range(3)])
        self.bias = nnx.Param(jnp.zeros((3, fields[1])))

    def __call__(self, *, padding: Padding = "zero", forward_mode: bool = False) -> ConvGRUCell:
        """The cell; see `ConvGRUCell` for the options."""
        update, reset, candidate = (kernel() for kernel in self.of_state)
        order = candidate.shape[-1] // self.bias.shape[1]
        return ConvGRUCell(
            jnp.concatenate([kernel() for kernel in self.of_input], axis=-1),
            jnp.tile(self.bias[...], (1, order)).ravel(),
            jnp.concatenate([update, reset], axis=-1),
            candidate,
            padding=padding,
            forward_mode=forward_mode,
        )
