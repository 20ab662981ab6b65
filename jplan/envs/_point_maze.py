"""A point with momentum among walls, and a controller that wanders there."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array, PyTree
from jplan.descent import Box
from jplan.envs._grid_tasks import check_free, check_single_key, random_free_cell
from jplan.envs._world import World
from jplan.mdp import MOVES, GridMDP, value_iteration

_DAMPING = 0.7  # share of the velocity that a step leaves
_THRUST = 0.12  # cells a step, a step; the speed ends at 0.4 cells a step
_RADIUS = 0.2  # of the point, in cells
_REACHED = 0.5  # cells from the goal


@struct.dataclass(kw_only=True)
class PointState:
    """A point on its way to a goal; places are ``(y, x)`` in cells, whole numbers at centres.

    Attributes:
      position: [2].
      velocity: [2], cells a step.
      goal: [2].
    """

    position: Array
    velocity: Array
    goal: Array


def point_maze(free: Any, *, max_steps: int = 200) -> World:
    """A point that is pushed through a maze.

        v <- 0.7 v + 0.12 a;  x <- x + v,  each axis on its own: a wall stops it
        reward = 1 within half a cell of the goal, which ends the episode; else 0

    The point is a square with sides of 0.4 cells. Its speed stays below 0.4 cells a step an axis.

    Args:
      free: concrete bool [H, W], True where one can be; the border must be closed.
      max_steps: static, of an episode.

    Returns:
      `World`: states are `PointState`, at rest in the centre of a free cell at first, the goal in
      that of another. The observation [4] is position and velocity; the goal is not in it. An
      action is [2], in [-1, 1].

    Raises:
      ValueError: if the map is no bool [H, W], its border is open, or fewer than two cells are
        free; by ``reset_fn``, if its key is not a single key.

    Differentiability: the state, off the walls; not the reward.

    Example:
      >>> free = np.zeros((5, 5), bool)
      >>> free[1:4, 1:4] = True
      >>> world = point_maze(free)
      >>> state = world.reset_fn(jax.random.key(0))
      >>> following, reward, discount = world.step_fn(None, state, jnp.ones(2))
      >>> world.observe_fn(following).shape
      (4,)

    References: Fu et al. 2020, "D4RL: datasets for deep data-driven reinforcement learning",
      section 5, for the task; theirs is simulated in MuJoCo.
    """
    walls = ~_check_maze(free)
    box = jnp.asarray(walls)

    def reset(key: Array) -> PointState:
        check_single_key(key, "reset_fn")
        start_key, goal_key = jax.random.split(key)
        start = random_free_cell(start_key, ~box)
        others = (~box).at[start[0], start[1]].set(False)
        goal = random_free_cell(goal_key, others)
        return PointState(
            position=start.astype(jnp.float32),
            velocity=jnp.zeros(2, jnp.float32),
            goal=goal.astype(jnp.float32),
        )

    def step(params: PyTree, state: PointState, action: Array) -> tuple[PointState, Array, Array]:
        del params
        action = jnp.asarray(action, state.position.dtype)
        if action.shape != (2,):
            raise ValueError(f"action has shape {list(action.shape)}, expected [2].")
        position, velocity = _move(box, state.position, state.velocity, action)
        was_there = _at_goal(state.position, state.goal)
        arrives = _at_goal(position, state.goal) & ~was_there
        # Ends absorb: a point that is there stays.
        position = jnp.where(was_there, state.position, position)
        velocity = jnp.where(was_there, state.velocity, velocity)
        following = dataclasses.replace(state, position=position, velocity=velocity)
        ended = arrives | was_there
        return following, arrives.astype(position.dtype), (~ended).astype(position.dtype)

    bound = jnp.ones(2, jnp.float32)
    return World(
        reset_fn=reset,
        step_fn=step,
        observe_fn=lambda state: jnp.concatenate([state.position, state.velocity]),
        action_space=Box(-bound, bound),
        max_steps=max_steps,
    )


def wander(
    free: Any, key: Array, num_episodes: int, num_steps: int, *, noise: float = 0.3
) -> tuple[Array, Array]:
    """Episodes of a point that goes from one random place of a maze to the next.

    a = clip(2.5 (x' - x) - 2 v + noise * n),  n ~ N(0, 1)

    Here x' is the centre of the next cell on a shortest path to the present goal, which changes
    when it is reached; nothing ends. What is learnt from these episodes has to tell by itself how
    to get from one place to another.

    Args:
      free: concrete bool [H, W], see `point_maze`, all of it connected.
      key: consumed.
      num_episodes: static, B.
      num_steps: static, T.
      noise: standard deviation of the noise on actions.

    Returns:
      Observations [B, T + 1, 4], as those of `point_maze`, and actions [B, T, 2].

    Raises:
      ValueError: as `point_maze`, or if the free cells are not connected.

    Differentiability: none.

    Example:
      >>> free = np.zeros((5, 5), bool)
      >>> free[1:4, 1:4] = True
      >>> observations, actions = wander(free, jax.random.key(0), 2, 50)
      >>> observations.shape, actions.shape
      ((2, 51, 4), (2, 50, 2))
    """
    walls = ~_check_maze(free)
    cells = jnp.argwhere(~walls).astype(jnp.int32)
    solve = lambda goal: value_iteration(GridMDP.from_free(jnp.asarray(~walls), goal=goal)).value
    distances = jax.lax.map(lambda goal: -solve(goal), cells)
    # GridMDP gives unreachable cells a floor, which no path of this map is as long as.
    if bool((jnp.where(walls[None], 0, distances) > walls.size).any()):
        raise ValueError("free has parts that cannot reach one another; take largest_component.")
    around = jnp.array(MOVES[:4], jnp.int32)
    box = jnp.asarray(walls)

    def step(carry: tuple, key: Array) -> tuple[tuple, tuple]:
        position, velocity, goal = carry
        noise_key, goal_key = jax.random.split(key)
        here = jnp.round(position).astype(jnp.int32)
        near = here[None] + around
        far = jnp.where(
            box[near[:, 0], near[:, 1]], jnp.inf, distances[goal][near[:, 0], near[:, 1]]
        )
        target = jnp.where((here == cells[goal]).all(), here, near[far.argmin()])
        action = 2.5 * (target - position) - 2 * velocity
        action = (action + noise * jax.random.normal(noise_key, (2,))).clip(-1, 1)
        moved, velocity = _move(box, position, velocity, action)
        other = jax.random.randint(goal_key, (), 0, len(cells))
        goal = jnp.where(_at_goal(moved, cells[goal].astype(moved.dtype)), other, goal)
        return (moved, velocity, goal), (jnp.concatenate([moved, velocity]), action)

    start_key, goal_key, step_key = jax.random.split(key, 3)
    drawn = lambda key: jax.random.randint(key, (num_episodes,), 0, len(cells))
    starts = cells[drawn(start_key)].astype(jnp.float32)
    first = starts, jnp.zeros_like(starts), drawn(goal_key)
    keys = jax.random.split(step_key, (num_steps, num_episodes))
    _, (states, actions) = jax.lax.scan(jax.vmap(step), first, keys)
    states = jnp.concatenate([jnp.concatenate(first[:2], axis=-1)[None], states])
    return jnp.swapaxes(states, 0, 1), jnp.swapaxes(actions, 0, 1)


def _move(walls: Array, position: Array, velocity: Array, action: Array) -> tuple[Array, Array]:
    """Position and velocity [2] after a step."""
    velocity = _DAMPING * velocity + _THRUST * action.clip(-1, 1)
    for axis in range(2):
        moved = position.at[axis].add(velocity[axis])
        hit = _touches(walls, moved)
        position = jnp.where(hit, position, moved)
        velocity = velocity.at[axis].multiply(1 - hit)
    return position, velocity


def _check_maze(free: Any) -> np.ndarray:
    check_free(free, "free")
    cells = np.asarray(free)
    border = np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    if border.any() or cells.sum() < 2:
        raise ValueError(
            f"free has {border.sum()} free cells on its border and {cells.sum()} in all, expected "
            "a closed border and 2 free cells or more; pad the map with walls."
        )
    return cells


def _touches(walls: Array, position: Array) -> Array:
    """Whether a corner of the point is in a wall, []."""
    corners = jnp.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], position.dtype) * _RADIUS
    y, x = jnp.round(position[None] + corners).astype(jnp.int32).T
    return walls[y, x].any()


def _at_goal(position: Array, goal: Array) -> Array:
    return jnp.sum((position - goal) ** 2) <= _REACHED**2
