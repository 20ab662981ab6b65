"""Mazes in three dimensions."""

import jax
import jax.numpy as jnp
import numpy as np

from jplan._typing import Array, Scalar
from jplan.envs._grid_tasks import GridTask, check_single_key, random_free_cell
from jplan.envs._mazes import depth_first_tree
from jplan.mdp import VOXEL_MOVES


def voxel_maze(key: Array, size: int, *, decimation: Scalar | None = None) -> GridTask:
    """Draw a maze in a cube and a goal, by the law of `maze` with six directions.

    A perfect maze is carved by randomised depth-first search from (1, 1, 1) in steps of two cells,
    knocking out the wall between; then each interior cell is opened independently with
    probability d, where d ~ U(0, 1) is drawn once a maze. The goal is uniform over the carved
    cells, which all reach one another.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      size: static, cells a side, at least 5.
      decimation: the probability d in [0, 1], which may be traced; None draws it as above, and
        0 gives perfect mazes, whose paths are the longest.

    Returns:
      A `GridTask` with ``free`` [size, size, size], a closed border and ``goal`` (z, y, x).

    Raises:
      ValueError: if ``size`` is not an integer of at least 5, ``decimation`` is a number outside
        [0, 1], or ``key`` is not a single key.

    Note:
      In three dimensions most cells lie beside no passage, so a goal that is drawn from all
      interior cells, as in the plane, would often be walled off.

    Example:
      >>> task = voxel_maze(jax.random.key(0), 7, decimation=0.0)
      >>> task.free.shape, int(task.free.sum())
      ((7, 7, 7), 53)
    """
    check_single_key(key, "voxel_maze")
    if not isinstance(size, int) or size < 5:
        raise ValueError(
            f"voxel_maze: got size {size!r}, expected a static integer of at least 5; "
            "pass a Python int such as 16 (under jit, mark it static)"
        )
    if isinstance(decimation, int | float) and not 0 <= decimation <= 1:
        raise ValueError(
            f"voxel_maze: got decimation {decimation}, expected a probability in [0, 1]; "
            "pass None to draw it for each maze"
        )
    carve_key, decimation_key, open_key, goal_key = jax.random.split(key, 4)
    if decimation is None:
        decimation = jax.random.uniform(decimation_key, dtype=jnp.float32)
    inside = (size - 2,) * 3
    opened = jax.random.uniform(open_key, inside, jnp.float32) < decimation
    carved = _carve(carve_key, size)
    return GridTask(free=carved | jnp.pad(opened, 1), goal=random_free_cell(goal_key, carved))


def _carve(key: Array, size: int) -> Array:
    """Perfect maze [size, size, size]: a spanning tree of the cells that are odd throughout."""
    m = (size - 1) // 2
    move_into = depth_first_tree(key, m, VOXEL_MOVES)
    free = jnp.zeros((size,) * 3, bool)
    rooms = (slice(1, 2 * m, 2),) * 3
    free = free.at[rooms].set(True)
    for move, offset in enumerate(VOXEL_MOVES):
        # The wall that was knocked out lies before the room, seen in the direction of the move.
        walls = tuple(slice(1 - d, 2 * m - d, 2) for d in np.array(offset))
        free = free.at[walls].set(free[walls] | (move_into == move))
    return free
