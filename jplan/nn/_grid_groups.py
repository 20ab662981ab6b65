"""Symmetries of square and cubic grids, and kernels that respect them."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jplan._checks import check_kernel_size, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array
from jplan.mdp import MOVES, VOXEL_MOVES

_GROUPS = {"C4": (2, False), "D4": (2, True), "O": (3, False), "Oh": (3, True)}
"""Dimensions, and whether reflections belong to the group."""

_MOVES = {
    "moves4": MOVES[:4],
    "moves8": MOVES,
    "moves6": VOXEL_MOVES,
}


@functools.cache
def group_elements(group: str) -> np.ndarray:
    """The elements of a symmetry group of the grid, as signed permutations of the axes.

    Args:
      group: "C4", the quarter turns of the square; "D4", with its reflections; "O", the turns of
        the cube; "Oh", with its reflections.

    Returns:
      int [G, D, D], matrices that act on offsets ``(y, x)`` or ``(z, y, x)``; the first is the
      identity.

    Raises:
      ValueError: if there is no such group.

    Example:
      >>> {name: len(group_elements(name)) for name in ("C4", "D4", "O", "Oh")}
      {'C4': 4, 'D4': 8, 'O': 24, 'Oh': 48}
    """
    if group not in _GROUPS:
        raise ValueError(f"group is {group!r}, expected one of {', '.join(_GROUPS)}.")
    dims, has_reflections = _GROUPS[group]
    matrices = [
        np.eye(dims, dtype=int)[list(axes)] * np.array(signs)[:, None]
        for axes in itertools.permutations(range(dims))
        for signs in itertools.product((1, -1), repeat=dims)
    ]
    return _frozen(np.stack([m for m in matrices if has_reflections or np.linalg.det(m) > 0]))


@functools.cache
def group_action(group: str, kind: str) -> np.ndarray:
    """How a group permutes the channels of a field.

    Args:
      group: see `group_elements`.
      kind: "trivial" for a scalar, which stays as it is; "regular" for a channel an element;
        "moves4", "moves8" or "moves6" for a channel a move of the grid.

    Returns:
      int [G, N]: where element g puts channel n.

    Raises:
      ValueError: if there is no such group or kind, or it is one of another dimension.

    Example:
      >>> group_action("C4", "moves4")[0], group_action("D4", "regular").shape
      (array([0, 1, 2, 3]), (8, 8))
    """
    elements = group_elements(group)
    dims = elements.shape[-1]
    if kind == "trivial":
        return _frozen(np.zeros((len(elements), 1), int))
    if kind == "regular":
        products = np.einsum("gij,hjk->ghik", elements, elements)
        flat = products.reshape(*products.shape[:2], -1)
        return _frozen(_find(flat, elements.reshape(len(elements), -1)))
    if kind not in _MOVES or len(_MOVES[kind][0]) != dims:
        raise ValueError(
            f"kind is {kind!r}, expected 'trivial', 'regular' or the moves of a grid in {dims} "
            f"dimensions: {[name for name, moves in _MOVES.items() if len(moves[0]) == dims]}."
        )
    return _frozen(_permute(elements, np.array(_MOVES[kind])))


def _frozen(array: np.ndarray) -> np.ndarray:
    """What is cached for all must not be written to by one."""
    array.setflags(write=False)
    return array


def _permute(elements: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[G, N]: the index of g times point n."""
    return _find(np.einsum("gij,nj->gni", elements, points), points)


def _find(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Index of each row [..., D] in a table [N, D] that contains it."""
    return (rows[..., None, :] == table).all(-1).argmax(-1)


@functools.cache
def _orbits(group: str, size: int, inputs: str, outputs: str) -> np.ndarray:
    """The number of the free weight of each entry of a kernel, int [T, N_in, N_out].

    Entries that the group carries into one another, k(g t; g i, g o) = k(t; i, o), share a weight.
    """
    elements = group_elements(group)
    axes = [np.arange(size) - size // 2] * elements.shape[-1]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    taps = _permute(elements, offsets)
    ins, outs = group_action(group, inputs), group_action(group, outputs)
    shape = (taps.shape[1], ins.shape[1], outs.shape[1])
    first = np.full(shape, np.prod(shape))
    for t, i, o in zip(taps, ins, outs, strict=True):
        moved = np.ravel_multi_index(np.ix_(t, i, o), shape)
        first = np.minimum(first, moved)
    return np.unique(first, return_inverse=True)[1].reshape(shape).astype(np.int32)


class SteerableKernel(nnx.Module):
    """A convolution kernel that commutes with the symmetries of the grid.

        k(g t; g i, g o) = k(t; i, o)

    for every element g of the group, offset t, and channels i and o, which the group permutes. The
    free weights are one a set of entries that the group carries into one another; to call the
    module expands them, once, outside of any loop.

    Args:
      group: "C4" or "D4", or in three dimensions "O" or "Oh", see `group_elements`.
      inputs: kind of the input's fields, see `group_action`, and their number.
      outputs: the same of the output.
      kernel_size: odd.
      rngs: for the initial weights, LeCun normal.

    Raises:
      ValueError: if a size is below 1, the kernel is even, or the group or a kind is unknown.

    Example:
      >>> kernel = SteerableKernel(
      ...     "D4", ("trivial", 2), ("regular", 5), kernel_size=3, rngs=nnx.Rngs(0)
      ... )
      >>> kernel().shape, kernel.weights[...].shape
      ((3, 3, 2, 40), (9, 2, 5))

    References:
      Cohen and Welling, Group equivariant convolutional networks, 2016.
      Zhao et al., Integrating symmetry into differentiable planning with steerable convolutions,
      2023.
    """

    def __init__(
        self,
        group: str,
        inputs: tuple[str, int],
        outputs: tuple[str, int],
        *,
        kernel_size: int,
        rngs: nnx.Rngs,
    ) -> None:
        (in_kind, in_fields), (out_kind, out_fields) = inputs, outputs
        check_sizes(inputs=in_fields, outputs=out_fields)
        check_kernel_size(kernel_size)
        orbits = _orbits(group, kernel_size, in_kind, out_kind)
        self.group = group
        self.inputs = inputs
        self.outputs = outputs
        self.kernel_size = kernel_size
        shape = (int(orbits.max()) + 1, in_fields, out_fields)
        fan_in = orbits.shape[0] * orbits.shape[1] * in_fields
        self.weights = nnx.Param(draw_weights(rngs, shape, fan_in=fan_in))

    def __call__(self) -> Array:
        """The kernel, [K, ..., K, C, O]; channels are ordered as [channel of a field, field]."""
        (in_kind, in_fields), (out_kind, out_fields) = self.inputs, self.outputs
        orbits = _orbits(self.group, self.kernel_size, in_kind, out_kind)
        entries = jnp.transpose(self.weights[...][orbits], (0, 1, 3, 2, 4))
        dims = group_elements(self.group).shape[-1]
        channels = orbits.shape[1] * in_fields, orbits.shape[2] * out_fields
        return entries.reshape(*[self.kernel_size] * dims, *channels)


def check_multiple(group: str, **channels: int) -> None:
    """ValueError unless each number of channels makes whole regular fields."""
    order = len(group_elements(group))
    for name, count in channels.items():
        if count % order:
            raise ValueError(
                f"{name} is {count}, expected a multiple of {order}, the order of {group}, such "
                f"as {count // order * order + order}."
            )
