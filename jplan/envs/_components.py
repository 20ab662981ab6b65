"""Which cells can reach one another."""

import jax.numpy as jnp
from jax import lax

from jplan._typing import Array
from jplan.envs._grid_tasks import check_free

_OFFSETS = {
    4: ((-1, 0), (0, -1), (1, 0), (0, 1)),
    8: ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)),
}


def largest_component(free: Array, *, moves: int = 4) -> Array:
    """Keep the largest set of free cells that can reach one another.

    Each cell starts with a label of its own; until nothing changes, the cell that gave a label
    takes the smallest label beside its cells, and the pointers that this makes are followed to
    their end. The number of rounds grows with the logarithm of the longest path, not with the
    path, so that big mazes are quick as well.

    Args:
      free: bool [H, W], True where one can stand.
      moves: static, 4, or 8 to count diagonal neighbours as connected. Where diagonal moves may
        not cut corners they connect nothing that 4 moves do not: use 4 there.

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
    if moves not in _OFFSETS:
        raise ValueError(f"largest_component: got moves {moves!r}, expected 4 or 8")
    height, width = free.shape
    blocked = height * width

    def least_beside(label):
        padded = jnp.pad(label, 1, constant_values=blocked)
        least = label
        for dy, dx in _OFFSETS[moves]:
            window = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            least = jnp.minimum(least, window)
        return jnp.where(free, least, blocked)

    def follow(parent):
        return lax.while_loop(
            lambda state: jnp.any(state[0] != state[1]),
            lambda state: (state[1], state[1][state[1]]),
            (parent, parent[parent]),
        )[1]

    def merge(state):
        label, _ = state
        parent = jnp.arange(blocked + 1).at[label.ravel()].min(least_beside(label).ravel())
        merged = follow(parent)[label]
        return merged, jnp.any(merged != label)

    own = jnp.where(free, jnp.arange(blocked).reshape(free.shape), blocked)
    label, _ = lax.while_loop(lambda state: state[1], merge, (own, jnp.bool_(True)))
    sizes = jnp.bincount(label.ravel(), length=blocked)
    return free & (label == jnp.argmax(sizes))
