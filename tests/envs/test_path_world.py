import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import rollout
from jplan.envs import GridTask, arm_task, maze, path_world, voxel_maze
from jplan.mdp import GridMDP, value_iteration

WORLDS = {
    "maze": (lambda key: maze(key, 9), {"moves": 8}),
    "voxels": (lambda key: voxel_maze(key, 5), {"moves": 6}),
    "arm": (lambda key: arm_task(key, 12)[1], {"moves": 4, "wrap": True}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_best_actions_earn_minus_the_shortest_path(name):
    draw, options = WORLDS[name]
    world = path_world(draw, max_steps=40, **options)

    def episode(key):
        state = world.reset_fn(key)
        grid = GridMDP.from_free(state.task.free, state.task.goal, **options)
        value = value_iteration(grid).value
        q = grid.action_values(value)

        def step(state, _):
            state, reward, discount = world.step_fn(None, state, q[tuple(state.agent)])
            return state, (reward, discount)

        last, (rewards, discounts) = jax.lax.scan(step, state, length=world.max_steps)
        return value[tuple(state.agent)], rewards, discounts, last

    out = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 32))
    value, rewards, discounts, last = jax.tree.map(np.asarray, out)
    assert (value < 0).all()
    np.testing.assert_allclose(rewards.sum(1), value, rtol=1e-5)
    np.testing.assert_array_equal(last.agent, last.task.goal)
    np.testing.assert_array_equal(rewards[:, 1:] == 0, discounts[:, :-1] == 0)


@pytest.fixture
def corridor():
    free = jnp.array([[False, False, False], [True, True, True]])
    task = GridTask(free=free, goal=jnp.array([1, 2], jnp.int32))
    return path_world(lambda key: task, max_steps=9, moves=4)


def test_a_closed_move_costs_and_leads_nowhere(corridor, key):
    state = corridor.reset_fn(key).replace(agent=jnp.array([1, 1], jnp.int32))
    north, west, south, east = jnp.eye(4)
    out = rollout(corridor.step_fn, None, state, jnp.stack([north, west, west, south, east, east]))
    np.testing.assert_array_equal(
        out.states.agent, [[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 1], [1, 2]]
    )
    np.testing.assert_array_equal(out.rewards, [-1] * 6)
    np.testing.assert_array_equal(out.discounts, [1] * 5 + [0])


def test_the_observation_shows_map_goal_and_agent(corridor, key):
    state = corridor.reset_fn(key)
    seen = corridor.observe_fn(state)
    np.testing.assert_array_equal(seen[..., 0], state.task.free)
    np.testing.assert_array_equal(np.argwhere(seen[..., 1]), [[1, 2]])
    np.testing.assert_array_equal(np.argwhere(seen[..., 2]), [state.agent])


def test_where_no_cell_reaches_the_goal_the_episode_is_over(key):
    free = jnp.array([[True, False, True]])
    world = path_world(lambda key: GridTask(free=free, goal=jnp.array([0, 0])), max_steps=3)
    state = world.reset_fn(key)
    _, reward, discount = world.step_fn(None, state, jnp.eye(8)[0])
    assert (reward, discount) == (0, 0)


def test_what_does_not_fit_is_refused(corridor, key):
    first, second = jax.random.split(key)
    state = corridor.reset_fn(first)
    with pytest.raises(ValueError, match=r"got shape \[8\], expected \[4\]"):
        corridor.step_fn(None, state, jnp.ones(8))
    with pytest.raises(ValueError, match="single key"):
        corridor.reset_fn(jax.random.split(second, 2))
