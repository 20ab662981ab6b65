"""Mazes by randomised depth-first carving, the standard task of the VIN family."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jplan._typing import Array, Scalar
from jplan.envs._grid_tasks import GridTask, cell_mask, check_single_key
from jplan.mdp import MOVES

_NORTH, _WEST, _SOUTH, _EAST = range(4)
_UNVISITED = -1

# order of directions of each room, move by which each was entered (both flat), current room
_State: TypeAlias = tuple[Array, Array, Array]


def maze(key: Array, size: int, *, decimation: Scalar | None = None) -> GridTask:
    """Draw a maze and a goal by the law of GPPN and DiffPlan.

    A perfect maze is carved by randomised depth-first search from (1, 1) in steps of two cells,
    knocking out the wall between; then each interior cell is opened independently with
    probability d, where d ~ U(0, 1) is drawn once a maze. The goal is uniform over the interior
    cells except (1, 1), and its cell is opened. The map of the four-move and of the eight-move
    task is the same: moves belong to the dynamics.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      size: static, height and width in cells, at least 4. Odd sizes are the published ones.
      decimation: the probability d in [0, 1], which may be traced; None draws it as above, and
        0 gives perfect mazes, whose paths are the longest.

    Returns:
      A ``GridTask`` with ``free`` [size, size] and a closed border.

    Raises:
      ValueError: if ``size`` is not an integer of at least 4 (the only interior cell of a 3x3 map
        is (1, 1), where no goal may be), if ``decimation`` is a number outside [0, 1], or if
        ``key`` is not a single key.

    Note:
      The goal may be an isolated pillar that no other cell can reach; the law has it so (about
      one 15x15 map in 7,000). Two deviations: at even sizes the published generators carve into
      the last row and column and leave the border open, while here carving stops before it, so
      that the last interior row and column are opened by d only; and published sets drop
      duplicate maps, of which there are many at d near 1: 15x15 maps have 0.592 free cells by
      this law, 0.588 in the published set.

    Example:
      >>> task = maze(jax.random.key(0), 7, decimation=0.0)
      >>> int(task.free.sum() - task.free[task.goal[0], task.goal[1]]) in (16, 17)
      True
      >>> jax.vmap(lambda key: maze(key, 15))(jax.random.split(jax.random.key(0), 32)).free.shape
      (32, 15, 15)

    References: Lee et al. 2018, "Gated Path Planning Networks", section 5; Zhao, Xu and Wong 2022,
    "Scaling up and Stabilizing Differentiable Planning with Implicit Differentiation", section 6.
    """
    check_single_key(key, "maze")
    if not isinstance(size, int) or size < 4:
        raise ValueError(
            f"maze: got size {size!r}, expected a static integer of at least 4; "
            "pass a Python int such as 15 (under jit, mark it static)"
        )
    if isinstance(decimation, int | float) and not 0 <= decimation <= 1:
        raise ValueError(
            f"maze: got decimation {decimation}, expected a probability in [0, 1]; "
            "pass None to draw it for each maze"
        )
    # Explicit dtypes throughout, so that a key draws the same maze with double precision enabled.
    carve_key, decimation_key, open_key, goal_key = jax.random.split(key, 4)
    if decimation is None:
        decimation = jax.random.uniform(decimation_key, dtype=jnp.float32)
    inside = size - 2
    opened = jax.random.uniform(open_key, (inside, inside), jnp.float32) < decimation
    index = jax.random.randint(goal_key, (), 1, inside * inside, jnp.int32)
    goal = jnp.stack([index // inside, index % inside]) + 1
    free = _carve(carve_key, size) | jnp.pad(opened, 1) | cell_mask(goal, (size, size))
    return GridTask(free=free, goal=goal)


def _carve(key: Array, size: int) -> Array:
    """Perfect maze [size, size]: a uniform-order depth-first spanning tree of the odd cells."""
    m = (size - 1) // 2
    move_into = depth_first_tree(key, m)
    south = (move_into == _NORTH) | jnp.pad(move_into[1:] == _SOUTH, ((0, 1), (0, 0)))
    east = (move_into == _WEST) | jnp.pad(move_into[:, 1:] == _EAST, ((0, 0), (0, 1)))
    rooms, pillars = jnp.ones((m, m), bool), jnp.zeros((m, m), bool)
    blocks = jnp.stack([jnp.stack([rooms, east]), jnp.stack([south, pillars])])
    carved = blocks.transpose(2, 0, 3, 1).reshape(2 * m, 2 * m)
    return jnp.pad(carved, (1, size - 1 - 2 * m))


def depth_first_tree(key: Array, m: int, moves: Sequence[tuple[int, ...]] = MOVES[:4]) -> Array:
    """Spanning tree of a lattice of m rooms a side, as the move by which each was entered.

    Each room gets one random order of the directions beforehand and always takes the first that
    leads to an unvisited room. Given what was tried before, the rest of a uniform order is
    uniform, so this is the recursive search, and its whole state is the parent pointers: one
    write a step, and exactly two steps a room but the first, forth and back.
    """
    dims, width, stay = len(moves[0]), m + 2, len(moves)
    strides = [width**axis for axis in reversed(range(dims))]
    offsets = *(sum(s * d for s, d in zip(strides, move, strict=True)) for move in moves), 0
    start = np.full((width,) * dims, stay, np.int32)
    start[(slice(1, -1),) * dims] = _UNVISITED
    start[(1,) * dims] = stay
    packed = _orders(len(moves))
    drawn = jax.random.randint(key, (start.size,), 0, len(packed), jnp.int32)
    state = (jnp.asarray(packed)[drawn], jnp.asarray(start.ravel()), jnp.int32(sum(strides)))
    _, entered, _ = lax.fori_loop(0, 2 * (m**dims - 1), _search_step(offsets), state)
    return entered.reshape(start.shape)[(slice(1, -1),) * dims]


@functools.cache
def _orders(count: int) -> np.ndarray:
    """All orders in which to try the directions, each packed into a few bits a direction."""
    bits = (count - 1).bit_length()
    orders = itertools.permutations(range(count))
    return np.array([sum(move << bits * k for k, move in enumerate(p)) for p in orders], np.int32)


# Cached, because an eager loop over a fresh closure is compiled anew at every call.
@functools.cache
def _search_step(offsets: tuple[int, ...]) -> Callable[[int, _State], _State]:
    """One step of the search, into a room or back; the last offset is that of the first room."""
    count = len(offsets) - 1
    bits = (count - 1).bit_length()

    def step(_, state):
        orders, entered, room = state
        offset = jnp.array(offsets, jnp.int32)
        target = room - offset[entered[room]]
        move = entered[target]
        for k in reversed(range(count)):
            candidate = (orders[room] >> bits * k) & (2**bits - 1)
            neighbour = room + offset[candidate]
            is_new = entered[neighbour] == _UNVISITED
            target = jnp.where(is_new, neighbour, target)
            move = jnp.where(is_new, candidate, move)
        return orders, entered.at[target].set(move), target

    return step
