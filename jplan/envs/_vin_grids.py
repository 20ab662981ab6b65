"""The gridworlds of the Value Iteration Networks paper: scattered discs and rectangles."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jplan._typing import Array
from jplan.envs._grid_tasks import GridTask, check_single_key

# size -> (max_obstacles, max_obstacle_size), from the scripts that made the published data.
_PRESETS = {8: (30, 0.0), 16: (40, 1.0), 28: (50, 2.0), 36: (70, 3.0)}

_MAX_DRAWS = 16

# key, number of draws so far, blocked cells [H, W], goal [2], number of obstacles placed
_State: TypeAlias = tuple[Array, Array, Array, Array, Array]


def vin_grid(
    key: Array,
    size: int,
    *,
    max_obstacles: int | None = None,
    max_obstacle_size: float | None = None,
) -> GridTask:
    """Draw a gridworld and a goal by the law of the VIN paper.

    The goal is uniform over the interior; N ~ U{1 .. max_obstacles} obstacles follow, each with
    probability 1/2 a disc of radius ceil(u * max_obstacle_size) about a uniform cell and else a
    rectangle with sides ceil(u * max_obstacle_size) from a uniform corner, u ~ U(0, 1] for each
    length; an obstacle over the goal is dropped, and a task in which all were dropped is drawn
    again, goal included. The border is closed. At size 0 discs are one cell and rectangles are
    empty. The task is meant for eight moves with corner cutting.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      size: static, height and width in cells, at least 3; the paper has 8, 16 and 28, its code
        also 36.
      max_obstacles: static, largest number of obstacles; None takes the value of the paper.
      max_obstacle_size: static, largest radius and side in cells; None takes that of the paper.

    Returns:
      A ``GridTask`` with ``free`` [size, size]. After 16 rejected draws, which the published
      sizes need with probability below 1e-50, the last draw is returned: a task with no obstacle
      but the border.

    Raises:
      ValueError: if ``size`` has no published values and they are not given, if one of the three
        is out of range, or if ``key`` is not a single key.

    Note:
      The shapes are those that MATLAB's ``insertShape`` drew in the published files: a disc of
      radius r > 0 holds the cells with squared distance below r^2 + r. The scripts draw the goal
      in the last row or column too and reject such maps; here it is drawn inside, which is the
      same law.

    Example:
      >>> task = vin_grid(jax.random.key(0), 16)
      >>> task.free.shape, bool(task.free[task.goal[0], task.goal[1]])
      ((16, 16), True)

    References: Tamar et al. 2016, "Value Iteration Networks", section 5.1, and the released
    scripts ``make_data_gridworld_nips.m`` and ``obstacle_gen.m``.
    """
    check_single_key(key, "vin_grid")
    if not isinstance(size, int) or size < 3:
        raise ValueError(
            f"vin_grid: got size {size!r}, expected a static integer of at least 3; "
            "pass a Python int such as 16 (under jit, mark it static)"
        )
    if size not in _PRESETS and (max_obstacles is None or max_obstacle_size is None):
        raise ValueError(
            f"vin_grid: got size {size}, expected one of the published sizes {list(_PRESETS)}; "
            "for another size give max_obstacles and max_obstacle_size"
        )
    preset_obstacles, preset_size = _PRESETS.get(size, (1, 0.0))
    if max_obstacles is None:
        max_obstacles = preset_obstacles
    if max_obstacle_size is None:
        max_obstacle_size = preset_size
    if max_obstacles < 1 or not 0 <= max_obstacle_size <= size:
        raise ValueError(
            f"vin_grid: got max_obstacles {max_obstacles} and max_obstacle_size "
            f"{max_obstacle_size}, expected at least 1 and a length in [0, {size}]; "
            "leave both out for the published values"
        )

    nothing = jnp.zeros((size, size), bool), jnp.ones(2, jnp.int32), jnp.int32(0)
    draw_again = _draw_again(size, max_obstacles, max_obstacle_size)
    state = lax.while_loop(_is_rejected, draw_again, (key, jnp.int32(0), *nothing))
    _, _, blocked, goal, _ = state
    interior = np.pad(np.ones((size - 2, size - 2), bool), 1)
    return GridTask(free=~blocked & interior, goal=goal)


def _is_rejected(state: _State) -> Array:
    _, num_draws, _, _, num_placed = state
    return (num_placed == 0) & (num_draws < _MAX_DRAWS)


# Cached, because an eager loop over a fresh closure is compiled anew at every call (about 1 s).
@functools.cache
def _draw_again(
    size: int, max_obstacles: int, max_obstacle_size: float
) -> Callable[[_State], _State]:
    def step(state):
        key, num_draws, *_ = state
        draw = _draw(jax.random.fold_in(key, num_draws), size, max_obstacles, max_obstacle_size)
        return key, num_draws + 1, *draw

    return step


def _draw(
    key: Array, size: int, max_obstacles: int, max_obstacle_size: float
) -> tuple[Array, Array, Array]:
    """One draw before rejection: blocked [H, W], goal [2], and how many obstacles were placed."""
    # Explicit dtypes throughout, so that a key draws the same map with double precision enabled.
    goal_key, number_key, kind_key, corner_key, length_key = jax.random.split(key, 5)
    goal = jax.random.randint(goal_key, (2,), 1, size - 1, jnp.int32)
    number = jax.random.randint(number_key, (), 1, max_obstacles + 1, jnp.int32)
    is_disc = jax.random.uniform(kind_key, (max_obstacles,), jnp.float32) < 0.5
    corner = jax.random.randint(corner_key, (2, max_obstacles), 0, size, jnp.int32)
    # 1 - uniform is in (0, 1], so that no length is rounded up from zero by accident.
    length = 1 - jax.random.uniform(length_key, (2, max_obstacles), jnp.float32)
    height, width = jnp.ceil(length * max_obstacle_size).astype(jnp.int32)
    radius = height

    def covers(y, x):
        """Whether each obstacle covers the cell, [N, ...]; y and x have a leading axis of 1."""
        shape = (-1,) + (1,) * (y.ndim - 1)
        dy, dx = y - corner[0].reshape(shape), x - corner[1].reshape(shape)
        disc = dy * dy + dx * dx < jnp.maximum(radius * (radius + 1), 1).reshape(shape)
        rows = (dy >= 0) & (dy < height.reshape(shape))
        columns = (dx >= 0) & (dx < width.reshape(shape))
        return jnp.where(is_disc.reshape(shape), disc, rows & columns)

    is_placed = (jnp.arange(max_obstacles) < number) & ~covers(goal[:1], goal[1:])
    y = lax.broadcasted_iota(jnp.int32, (1, size, size), 1)
    x = lax.broadcasted_iota(jnp.int32, (1, size, size), 2)
    blocked = jnp.any(covers(y, x) & is_placed[:, None, None], axis=0)
    return blocked, goal, is_placed.sum(dtype=jnp.int32)
