import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jplan.descent import rollout
from jplan.envs import GridState, GridTask, crash_gridworld
from jplan.envs import _crash_gridworld as module

MOVES = np.array([(-1, 0), (0, -1), (1, 0), (0, 1)])
WORLD = crash_gridworld(8)


def random_episode(key):
    first, second = jax.random.split(key)
    actions = WORLD.action_space.sample(second, (WORLD.max_steps,))
    return actions, rollout(WORLD.step_fn, None, WORLD.reset_fn(first), actions)


@pytest.fixture(scope="module")
def episodes():
    drawn = jax.jit(jax.vmap(random_episode))(jax.random.split(jax.random.key(0), 3000))
    return jax.tree.map(np.asarray, drawn)


def reference(free, goal, agent, logits):
    """Rewards, discounts and cells of one episode, past its end."""
    rewards, discounts, cells, is_over = [], [], [agent], False
    for move in logits.argmax(-1):
        reward = 0.0
        if not is_over:
            agent = agent + MOVES[move]
            at_goal = (agent == goal).all()
            is_over = at_goal or not free[tuple(agent)]
            reward = 1.0 if at_goal else -1.0 if is_over else -0.01
        rewards.append(reward)
        discounts.append(0.0 if is_over else 1.0)
        cells.append(agent)
    return np.float32(rewards), np.float32(discounts), np.array(cells)


def test_episodes_are_those_of_the_reference(episodes):
    actions, out = episodes
    for index in range(200):
        state = jax.tree.map(lambda leaf, index=index: leaf[index, 0], out.states)
        rewards, discounts, cells = reference(
            state.task.free, state.task.goal, state.agent, actions[index]
        )
        np.testing.assert_array_equal(out.rewards[index], rewards)
        np.testing.assert_array_equal(out.discounts[index], discounts)
        np.testing.assert_array_equal(out.states.agent[index], cells)
        assert out.total[index] == pytest.approx(rewards.sum(), abs=1e-5)


def test_the_border_is_closed_and_the_goal_is_another_cell_within_reach(episodes):
    task, agent = episodes[1].states.task, episodes[1].states.agent
    for free, goal, start in zip(task.free[:, 0], task.goal[:, 0], agent[:, 0], strict=True):
        label, _ = ndimage.label(free)
        assert not free[[0, -1]].any()
        assert not free[:, [0, -1]].any()
        assert label[tuple(goal)] == label[tuple(start)] > 0
        assert (goal != start).any()


def test_random_episodes_are_about_as_long_as_published(episodes):
    num_steps = 1 + episodes[1].discounts[:, :-1].sum(1)
    assert num_steps.mean() == pytest.approx(5.0, abs=0.25)  # published: 5.4
    assert 0.05 < (episodes[1].rewards == 1).any(1).mean() < 0.15


def test_the_three_ways_a_step_goes():
    free = jnp.zeros((8, 8), bool).at[1, 1:4].set(True)
    task = GridTask(free=free, goal=jnp.array([1, 3], jnp.int32))
    state = GridState(task=task, agent=jnp.array([1, 1], jnp.int32))
    east = jnp.array([0.2, 0.1, 0.3, 0.4])  # relaxed: the largest entry decides
    walk = rollout(WORLD.step_fn, None, state, jnp.stack([east] * 3))
    np.testing.assert_allclose(walk.rewards, [-0.01, 1.0, 0.0])
    np.testing.assert_array_equal(walk.discounts, [1.0, 0.0, 0.0])
    crash = rollout(WORLD.step_fn, None, state, jnp.stack([east[::-1]] * 2))
    np.testing.assert_array_equal(crash.rewards, [-1.0, 0.0])
    np.testing.assert_array_equal(crash.states.agent, [[1, 1], [0, 1], [0, 1]])
    picture = WORLD.observe_fn(state)
    np.testing.assert_array_equal(picture[..., 0], ~free)
    np.testing.assert_array_equal(np.argwhere(picture[..., 1]), [[1, 3]])
    np.testing.assert_array_equal(np.argwhere(picture[..., 2]), [[1, 1]])
    assert picture.dtype == jnp.float32


def test_a_map_without_two_cells_that_meet_loses_its_obstacles(key, monkeypatch):
    lonely = GridTask(free=jnp.zeros((8, 8), bool).at[2, 2].set(True), goal=jnp.array([2, 2]))
    monkeypatch.setattr(module, "vin_grid", lambda key, size: lonely)
    state = WORLD.reset_fn(key)
    assert state.task.free.sum() == 36
    assert (state.agent != state.task.goal).any()


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(ValueError, match=r"got size 9, expected one of"):
        crash_gridworld(9)
    with pytest.raises(ValueError, match="single key"):
        WORLD.reset_fn(jax.random.split(key, 2))
    state = GridState(task=GridTask(free=jnp.ones((8, 8), bool), goal=jnp.zeros(2)), agent=None)
    with pytest.raises(ValueError, match=r"got shape \[\], expected \[4\]"):
        WORLD.step_fn(None, state, jnp.int32(2))
