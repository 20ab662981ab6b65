"""The data object of all grid tasks, and what turns it into a planner's input."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jplan._typing import Array


@struct.dataclass(kw_only=True)
class GridTask:
    """A map to plan on and the cell to reach.

    A pytree, so a ``vmap`` over keys gives a batch of tasks with leading axes on both fields.
    Whether the agent has four or eight moves is a matter of the dynamics, not of the task.

    Attributes:
      free: bool [H, W], or [D, H, W] in three dimensions; True where one can stand.
      goal: int32 [2] or [3], the goal cell ``(y, x)`` or ``(z, y, x)``; always a free cell in
        generated tasks, which may however be walled off.

    Example:
      >>> free = jnp.ones((3, 3), bool).at[1, 1].set(False)
      >>> GridTask(free=free, goal=jnp.array([2, 0], jnp.int32)).free.shape
      (3, 3)
    """

    free: Array
    goal: Array


def as_map(task: GridTask) -> Array:
    """Stack a task into the channel-last map that learned planners read.

    map(y, x) = [free(y, x), 1 if (y, x) = goal else 0]

    Args:
      task: one task, or a batch of them with the same leading axes on both fields.

    Returns:
      float32 [..., H, W, 2] or [..., D, H, W, 2]; channel 0 is 1 where free, channel 1 is the goal
      one-hot.

    Raises:
      ValueError: if the shapes of ``free`` and ``goal`` do not belong together.

    Example:
      >>> task = GridTask(free=jnp.ones((2, 3), bool), goal=jnp.array([1, 2], jnp.int32))
      >>> as_map(task)[..., 1]
      Array([[0., 0., 0.],
             [0., 0., 1.]], dtype=float32)
    """
    free, goal = task.free, task.goal
    dims = goal.shape[-1] if goal.ndim else 0
    if dims not in (2, 3) or free.ndim < dims or goal.shape[:-1] != free.shape[:-dims]:
        raise ValueError(
            f"got free {free.shape} and goal {goal.shape}, expected free [..., H, W] and goal "
            "[..., 2], or [..., D, H, W] and [..., 3], with equal leading axes; build a batch of "
            "tasks with jax.vmap"
        )
    return jnp.stack([free, cell_mask(goal, free.shape)], axis=-1).astype(jnp.float32)


def random_free_cell(key: Array, free: Array) -> Array:
    """Draw a cell uniformly from the free ones, for a start or a goal.

    P(cell) = 1 / |free| on free cells, 0 elsewhere

    Args:
      key: one random key, consumed.
      free: bool [H, W] or [D, H, W], True where one can stand. To draw only cells of a map [H, W]
        that can reach one another, pass ``largest_component(free)``.

    Returns:
      int32 [2] or [3], the cell; -1 throughout if no cell is free.

    Raises:
      ValueError: if ``key`` is a batch of keys or ``free`` is not a boolean map.

    Example:
      >>> free = jnp.zeros((3, 4), bool).at[1, 2].set(True)
      >>> random_free_cell(jax.random.key(0), free)
      Array([1, 2], dtype=int32)
    """
    check_single_key(key, "random_free_cell")
    check_free(free, "random_free_cell", dims=(2, 3))
    # Integer ranks rather than probabilities: a float32 cumulative sum is not exact on big maps.
    rank = jnp.cumsum(free.ravel(), dtype=jnp.int32)
    num_free = rank[-1]
    drawn = jax.random.randint(key, (), 0, jnp.maximum(num_free, 1), jnp.int32)
    index = jnp.searchsorted(rank, drawn, side="right").astype(jnp.int32)
    cell = jnp.stack(jnp.unravel_index(index, free.shape)).astype(jnp.int32)
    return jnp.where(num_free > 0, cell, -1)


def cell_mask(cell: Array, shape: tuple[int, ...]) -> Array:
    """True at ``cell`` [..., D] and nowhere else; the last D axes of the shape are the map's."""
    dims = cell.shape[-1]
    mask = jnp.ones(shape, bool)
    for axis in range(dims):
        index = lax.broadcasted_iota(jnp.int32, shape, len(shape) - dims + axis)
        mask = mask & (index == cell[..., axis].reshape(*cell.shape[:-1], *[1] * dims))
    return mask


def check_single_key(key: Array, name: str) -> None:
    """Refuse a batch of keys, which is what a forgotten ``vmap`` looks like."""
    is_new_style = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not is_new_style or key.shape != ():
        raise ValueError(
            f"{name}: got a key of shape {key.shape} and dtype {key.dtype}, expected a single key "
            f"from jax.random.key; for a batch write jax.vmap({name}) over jax.random.split"
        )


def check_free(free: Array, name: str, *, dims: tuple[int, ...] = (2,)) -> None:
    """Refuse anything but a non-empty boolean map of one of these dimensions."""
    if free.ndim not in dims or free.dtype != jnp.bool_ or free.size == 0:
        raise ValueError(
            f"{name}: got free of shape {free.shape} and dtype {free.dtype}, expected a non-empty "
            f"bool [H, W]{' or [D, H, W]' if 3 in dims else ''}; compare (free > 0.5) or use "
            f"jax.vmap({name}) over a batch"
        )
