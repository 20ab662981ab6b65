"""What the symmetric planners share: their groups, and the way from regular fields to logits."""

import jax.numpy as jnp
from flax import nnx

from jplan._initial import draw_weights
from jplan._typing import Array
from jplan.nn import SteerableKernel, group_elements


def check_square(group: str) -> None:
    """ValueError unless the group is one of the square."""
    if group not in ("C4", "D4"):
        raise ValueError(
            f"group is {group!r}, expected 'D4' (turns and reflections of the square) or 'C4' "
            "(turns alone)."
        )


def make_readout(
    group: str, channels: int, actions: int, *, equivariant: bool, rngs: nnx.Rngs
) -> SteerableKernel | nnx.Linear:
    """A linear layer whose outputs are permuted as moves of the grid are, or a plain one."""
    if not equivariant:
        return nnx.Linear(channels, actions, use_bias=False, param_dtype=float, rngs=rngs)
    if actions not in (4, 8):
        raise ValueError(
            f"actions is {actions}, expected 4 or 8, the moves that a symmetry of the square "
            "permutes; for other actions set equivariant_readout=False."
        )
    fields = channels // len(group_elements(group))
    outputs = f"moves{actions}", 1
    return SteerableKernel(group, ("regular", fields), outputs, kernel_size=1, rngs=rngs)


def read_out(readout: SteerableKernel | nnx.Linear, field: Array) -> Array:
    """Logits of each cell, [H, W, C] -> [H, W, A]."""
    return field @ readout()[0, 0] if isinstance(readout, SteerableKernel) else readout(field)


def make_move_kernel(
    group: str, moves: str, *, kernel_size: int, rngs: nnx.Rngs
) -> SteerableKernel:
    """The kernel of a symmetric `MaxPlusCell`: almost even, as in `MaxPlusCell.create`."""
    kernel = SteerableKernel(group, ("trivial", 1), (moves, 1), kernel_size=kernel_size, rngs=rngs)
    kernel.weights[...] = draw_weights(rngs, kernel.weights.shape, fan_in=100)
    return kernel


def move_kernel(kernel: SteerableKernel) -> Array:
    """Its logits, [A, K, ..., K]."""
    return jnp.moveaxis(kernel()[..., 0, :], -1, 0)
