"""The gridworld of gradient-based planning, where touching an obstacle ends the episode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array, PyTree
from jplan.descent import Simplex
from jplan.envs._components import largest_component
from jplan.envs._grid_tasks import GridTask, cell_mask, check_single_key, random_free_cell
from jplan.envs._vin_grids import vin_grid
from jplan.envs._world import World
from jplan.mdp import MOVES

_SIZES = (8, 16, 28, 36)  # of the published maps


@struct.dataclass(kw_only=True)
class GridState:
    """An agent on a map, on its way to a goal.

    Attributes:
      task: the map and the goal.
      agent: int32 [2], its cell ``(y, x)``.

    Example:
      >>> task = GridTask(free=jnp.ones((3, 3), bool), goal=jnp.array([2, 0], jnp.int32))
      >>> GridState(task=task, agent=jnp.zeros(2, jnp.int32)).agent.shape
      (2,)
    """

    task: GridTask
    agent: Array


def crash_gridworld(size: int) -> World:
    """The gridworld of gradient-based planning: to touch a wall ends the episode.

    reward = 1 at the goal, -1 at an obstacle, both ends; -0.01 for any other step

    The map is that of `vin_grid`, its border closed; agent and goal are two cells, uniform, of the
    largest set of free cells that reach one another by single steps. A map where that has one
    cell loses its obstacles. An episode has up to ``4 * size`` steps.

    The state is a `GridState`, the observation its picture, float32 [size, size, 3]: the obstacles,
    the goal and the agent. The action is [4], for N, W, S, E, and its largest entry decides:
    relaxed actions are taken as quantised ones, and gradients in them are zero.

    Args:
      size: static, height and width in cells; 8 or 16 as in the paper, or 28 or 36.

    Returns:
      `World`.

    Raises:
      ValueError: if there are no maps of this size; by ``step_fn``, if the action is not [4]; by
        ``reset_fn``, if its key is not a single key.

    Differentiability: none.

    Example:
      >>> world = crash_gridworld(8)
      >>> state = world.reset_fn(jax.random.key(0))
      >>> north = jnp.array([1.0, 0.0, 0.0, 0.0])
      >>> following, reward, discount = world.step_fn(None, state, north)
      >>> following.agent - state.agent, world.observe_fn(following).shape
      (Array([-1,  0], dtype=int32), (8, 8, 3))

    References: Henaff, Whitney & LeCun 2017, "Model-based planning with discrete and continuous
    actions", section 6.1; Tamar et al. 2016, "Value Iteration Networks", section 5.1, for the maps.

    Note:
      The first paper takes the maps of the second and tells neither where the agent begins nor
      when an episode is cut. Its 10,000 random episodes have 5.4 steps on average at size 8; here
      it is about 5.
    """
    if size not in _SIZES:
        raise ValueError(f"crash_gridworld: got size {size!r}, expected one of {_SIZES}")
    return World(
        reset_fn=functools.partial(_reset, size=size),
        step_fn=_step,
        observe_fn=_observe,
        action_space=Simplex(4),
        max_steps=4 * size,
    )


def _reset(key: Array, *, size: int) -> GridState:
    check_single_key(key, "reset_fn")
    map_key, goal_key, agent_key = jax.random.split(key, 3)
    interior = np.pad(np.ones((size - 2, size - 2), bool), 1)
    free = vin_grid(map_key, size).free
    component = largest_component(free)
    is_cramped = component.sum() < 2
    free, component = (jnp.where(is_cramped, interior, cells) for cells in (free, component))
    goal = random_free_cell(goal_key, component)
    agent = random_free_cell(agent_key, component & ~cell_mask(goal, (size, size)))
    return GridState(task=GridTask(free=free, goal=goal), agent=agent)


def _step(params: PyTree, state: GridState, action: Array) -> tuple[GridState, Array, Array]:
    del params
    if jnp.shape(action) != (4,):
        raise ValueError(
            f"action: got shape {list(jnp.shape(action))}, expected [4], one-hot for N, W, S, E"
        )
    task, was_over = state.task, _is_over(state.task, state.agent)
    move = jnp.array(MOVES[:4], jnp.int32)[jnp.argmax(action)]
    agent = jnp.where(was_over, state.agent, state.agent + move)
    gain = jnp.where(jnp.all(agent == task.goal), 1.0, -1.0)
    is_over = _is_over(task, agent)
    reward = jnp.where(was_over, 0.0, jnp.where(is_over, gain, -0.01))
    discount = jnp.where(is_over, 0.0, 1.0)
    following = GridState(task=task, agent=agent)
    return following, reward.astype(jnp.float32), discount.astype(jnp.float32)


def _is_over(task: GridTask, agent: Array) -> Array:
    """Whether the agent is at the goal or in an obstacle, from where nothing leads away."""
    return jnp.all(agent == task.goal) | ~task.free[agent[0], agent[1]]


def _observe(state: GridState) -> Array:
    free, shape = state.task.free, state.task.free.shape
    channels = [~free, cell_mask(state.task.goal, shape), cell_mask(state.agent, shape)]
    return jnp.stack(channels, axis=-1).astype(jnp.float32)
