"""Which cells can reach one another."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jplan._typing import Array
from jplan.envs._grid_tasks import check_free
from jplan.mdp import MOVES


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
    return _keep_largest(free, moves, wrap)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _keep_largest(free: Array, moves: int, wrap: bool) -> Array:
    height, width = free.shape
    blocked = free.size

    # The label of each cell [H, W], and whether the last round changed one.
    def merge(state: tuple[Array, Array]) -> tuple[Array, Array]:
        """Point each label to the least one beside its cells, and follow the pointers."""
        label, _ = state
        beyond: Any = {"mode": "wrap"} if wrap else {"constant_values": blocked}
        padded = jnp.pad(label, 1, **beyond)
        least = label
        for dy, dx in MOVES[:moves]:
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
        return merged, jnp.any(merged != label)

    label = jnp.where(free, jnp.arange(blocked).reshape(free.shape), blocked)
    label, _ = lax.while_loop(lambda state: state[1], merge, (label, jnp.bool_(True)))
    sizes = jnp.bincount(label.ravel(), length=blocked)
    return free & (label == jnp.argmax(sizes))
