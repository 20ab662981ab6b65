"""Which cells can reach one another."""

import functools
from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax

from jplan._typing import Array
from jplan.envs._grid_tasks import check_free

# free [H, W], label [H, W], whether the last round changed a label
_State: TypeAlias = tuple[Array, Array, Array]


def largest_component(free: Array, *, moves: int = 4, wrap: bool = False) -> Array:
    """Keep the largest set of free cells that can reach one another.

    Each cell starts with a label of its own; until nothing changes, the cell that gave a label
    takes the smallest label beside its cells, and the pointers that this makes are followed to
    their end. The number of rounds grows with the logarithm of the longest path, not with the
    path, so that big mazes are quick as well.

    Args:
      free: bool [H, W], True where one can stand.
      moves: static, 4, or 8 to count diagonal neighbours as connected. Where diagonal moves may
        not cut corners they connect nothing that 4 moves do not: use 4 there.
      wrap: static, whether the map is a torus.

    Returns:
      bool [H, W], a subset of ``free``; among equally large components, that of the first cell
      in reading order; all False if nothing is free.

    Raises:
      ValueError: if ``free`` is not a boolean matrix or ``moves`` is neither 4 nor 8.

    Example:
      >>> free = jnp.array([[True, True, False, True]])
      >>> largest_component(free)
      Array([[ True,  True, False, False]], dtype=bool)
    """
    check_free(free, "largest_component")
    if moves not in (4, 8):
        raise ValueError(f"largest_component: got moves {moves!r}, expected 4 or 8")
    blocked = free.size
    label = jnp.where(free, jnp.arange(blocked).reshape(free.shape), blocked)
    _, label, _ = lax.while_loop(_has_changed, _MERGE[moves, wrap], (free, label, jnp.bool_(True)))
    sizes = jnp.bincount(label.ravel(), length=blocked)
    return free & (label == jnp.argmax(sizes))


def _has_changed(state: _State) -> Array:
    return state[2]


def _merge(state: _State, *, offsets: Sequence[tuple[int, int]], wrap: bool) -> _State:
    """Point each label to the least one beside its cells, and follow the pointers."""
    free, label, _ = state
    height, width = free.shape
    blocked = free.size
    padded = jnp.pad(label, 1, mode="wrap") if wrap else jnp.pad(label, 1, constant_values=blocked)
    least = label
    for dy, dx in offsets:
        beside = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        least = jnp.minimum(least, beside)
    least = jnp.where(free, least, blocked)
    parent = jnp.arange(blocked + 1).at[label.ravel()].min(least.ravel())
    _, root = lax.while_loop(
        lambda pointers: jnp.any(pointers[0] != pointers[1]),
        lambda pointers: (pointers[1], pointers[1][pointers[1]]),
        (parent, parent[parent]),
    )
    merged = root[label]
    return free, merged, jnp.any(merged != label)


_SIDES = ((-1, 0), (0, -1), (1, 0), (0, 1))
_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))

# Made once, because an eager loop over a fresh closure is compiled anew at every call.
_MERGE = {
    (moves, wrap): functools.partial(_merge, offsets=offsets, wrap=wrap)
    for moves, offsets in ((4, _SIDES), (8, _SIDES + _CORNERS))
    for wrap in (False, True)
}
