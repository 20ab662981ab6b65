"""Shortest-path tasks as worlds, one move at a time."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jplan._typing import Array, PyTree
from jplan.descent import Simplex
from jplan.envs._crash_gridworld import GridState
from jplan.envs._grid_tasks import (
    GridTask,
    as_map,
    cell_mask,
    check_single_key,
    random_free_cell,
)
from jplan.envs._world import World
from jplan.mdp import GridMDP, reachable, value_iteration


def path_world(
    draw_task: Callable[[Array], GridTask],
    *,
    max_steps: int,
    moves: int = 8,
    corner_cutting: bool = False,
    costs: Literal["octile", "unit"] = "octile",
    wrap: bool = False,
) -> World:
    """Grid tasks to walk in: every move costs its length, until the goal is reached.

    reward = -length(move), 0 from the goal on; the best return is minus the shortest path

    The agent begins at a uniform cell that reaches the goal, or, if no other cell does, at the
    goal. A move that is not open costs the same and leads nowhere.

    The state is a `GridState`; the observation is `as_map` of its task and the agent, float32
    [H, W, 3], or [D, H, W, 3]. The action is [A], in the order of `jplan.mdp.MOVES`, and its
    largest entry decides: gradients in it are zero.

    Args:
      draw_task: ``draw_task(key) -> GridTask``, such as a partial of `maze`, `vin_grid` or
        `voxel_maze`, or the task of an `arm_task`. Maps have one size.
      max_steps: static, of an episode.
      moves: static, as the following see `jplan.mdp.GridMDP`.
      corner_cutting: static.
      costs: static.
      wrap: static.

    Returns:
      `World`.

    Raises:
      ValueError: by its functions: if the tasks, the moves or the action do not fit; by
        ``reset_fn``, if its key is not a single key.

    Differentiability: none.

    Example:
      >>> from jplan.envs import maze
      >>> world = path_world(lambda key: maze(key, 9), max_steps=50, moves=4)
      >>> state = world.reset_fn(jax.random.key(0))
      >>> following, reward, discount = world.step_fn(None, state, jnp.eye(4)[3])
      >>> float(reward), world.observe_fn(following).shape
      (-1.0, (9, 9, 3))
    """
    make = functools.partial(
        GridMDP.from_free, moves=moves, corner_cutting=corner_cutting, costs=costs, wrap=wrap
    )

    def reset(key: Array) -> GridState:
        check_single_key(key, "reset_fn")
        task_key, agent_key = jax.random.split(key)
        task = draw_task(task_key)
        grid = make(task.free, task.goal)
        starts = reachable(value_iteration(grid).value) & ~grid.is_terminal
        agent = random_free_cell(agent_key, starts)
        return GridState(task=task, agent=jnp.where(starts.any(), agent, task.goal))

    def step(params: PyTree, state: GridState, action: Array) -> tuple[GridState, Array, Array]:
        del params
        task = state.task
        grid = make(task.free, task.goal)
        if jnp.shape(action) != (grid.num_actions,):
            raise ValueError(
                f"action: got shape {list(jnp.shape(action))}, expected [{grid.num_actions}], "
                "one-hot"
            )
        move, was_home = jnp.argmax(action), jnp.all(state.agent == task.goal)
        is_open = grid.open_moves()[(*state.agent, move)] & ~was_home
        # Only on a torus does an open move leave the map.
        there = (state.agent + jnp.array(grid.offsets)[move]) % jnp.array(task.free.shape)
        agent = jnp.where(is_open, there.astype(state.agent.dtype), state.agent)
        reward = jnp.where(was_home, 0.0, -jnp.array(grid.lengths)[move])
        discount = jnp.where(jnp.all(agent == task.goal), 0.0, 1.0)
        return GridState(task=task, agent=agent), reward, discount

    return World(
        reset_fn=reset,
        step_fn=step,
        observe_fn=_observe,
        action_space=Simplex(moves),
        max_steps=max_steps,
    )


def _observe(state: GridState) -> Array:
    agent = cell_mask(state.agent, state.task.free.shape)
    return jnp.concatenate([as_map(state.task), agent[..., None].astype(jnp.float32)], axis=-1)
