"""Trajectories: drawn in a world, and cut into windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp
from jplan.envs import World
from jplan.training import Trajectories, collect, draw_windows

STEPS = 6


def step(params, state, action):
    """Count up by the action; the episode ends at 3."""
    del params
    was_over = state >= 3
    following = jnp.where(was_over, state, state + action[0])
    over = following >= 3
    return following, jnp.where(was_over, 0.0, following), jnp.where(over, 0.0, 1.0)


WORLD = World(
    reset_fn=lambda key: jax.random.bernoulli(key).astype(jnp.float32),
    step_fn=step,
    observe_fn=lambda state: state,
    action_space=jp.Box(jnp.zeros(1), jnp.ones(1)),
    max_steps=STEPS,
)


@pytest.fixture(scope="module")
def episodes():
    policy = lambda state, key: jnp.ones(1)
    return jax.jit(lambda key: collect(WORLD, key, 8, policy_fn=policy))(jax.random.key(0))


def test_collect_follows_the_policy(episodes):
    firsts = np.asarray(episodes.states[:, 0])
    assert set(firsts) == {0.0, 1.0}
    for first, states, rewards, alive in zip(
        firsts, episodes.states, episodes.rewards, episodes.is_alive, strict=True
    ):
        np.testing.assert_array_equal(states, np.minimum(first + np.arange(STEPS + 1), 3))
        left = int(3 - first)
        np.testing.assert_array_equal(alive, np.arange(STEPS) < left)
        assert rewards.sum() == sum(range(int(first) + 1, 4))
    assert episodes.num_steps == (3 - firsts).sum()


def test_random_actions_are_those_of_the_action_space():
    out = jax.jit(lambda key: collect(WORLD, key, 4, num_steps=2))(jax.random.key(1))
    assert out.actions.shape == (4, 2, 1)
    assert ((out.actions >= 0) & (out.actions <= 1)).all()
    assert np.unique(out.actions).size == 8


def test_windows_begin_before_an_end_and_are_contiguous(episodes):
    windows = draw_windows(episodes, jax.random.key(2), batch_size=64, length=3)
    assert windows.is_alive[:, 0].all()
    assert (windows.states[:, 0] < 3).all()
    np.testing.assert_array_equal(windows.states[:, 1:], np.minimum(windows.states[:, :-1] + 1, 3))
    # All four beginnings that there are.
    assert set(np.asarray(windows.states[:, 0])) == {0.0, 1.0, 2.0}


def test_windows_begin_where_there_is_weight(episodes):
    weights = jnp.zeros((8, STEPS)).at[5, 1].set(0.1)
    windows = draw_windows(episodes, jax.random.key(3), batch_size=16, length=2, weights=weights)
    np.testing.assert_array_equal(windows.states, np.tile(episodes.states[5, 1:4], (16, 1)))


def test_windows_of_one_step_are_alive(episodes):
    windows = draw_windows(episodes, jax.random.key(5), batch_size=8, length=1)
    assert windows.is_alive.shape == (8, 1)
    assert windows.is_alive.all()


def test_weights_after_an_end_may_be_anything(episodes):
    weights = jnp.where(episodes.is_alive, 1.0, jnp.nan)
    draw = lambda **weighed: draw_windows(
        episodes, jax.random.key(1), batch_size=32, length=2, **weighed
    )
    np.testing.assert_array_equal(draw(weights=weights).rewards, draw().rewards)


def test_the_first_step_stands_in_for_what_comes_after_an_end():
    episodes = Trajectories(
        states={
            "place": jnp.array([[1, 2, 3, 4]]),
            "key": jax.random.split(jax.random.key(0), (1, 4)),
        },
        actions=jnp.array([[[5.0], [6.0], [jnp.nan]]]),
        rewards=jnp.array([[7.0, 8.0, jnp.inf]]),
        discounts=jnp.array([[0.9, 0.0, jnp.nan]]),
    )
    with jax.debug_key_reuse(False):  # a stand-in is not drawn from
        masked = episodes.masked
    assert masked.states["place"].tolist() == [[1, 2, 3, 1]]
    np.testing.assert_array_equal(
        jax.random.key_data(masked.states["key"]),
        jax.random.key_data(episodes.states["key"][:, jnp.array([0, 1, 2, 0])]),
    )
    assert masked.actions.tolist() == [[[5.0], [6.0], [5.0]]]
    assert masked.rewards.tolist() == [[7.0, 8.0, 7.0]]
    np.testing.assert_array_equal(masked.is_alive, [[True, True, False]])


def test_no_place_to_begin_shows(episodes):
    # The weight is where every episode has ended.
    weights = jnp.zeros((8, STEPS)).at[:, 4].set(1.0)
    windows = draw_windows(episodes, jax.random.key(6), batch_size=4, length=2, weights=weights)
    assert jnp.isnan(windows.rewards).all()


def test_all_steps_are_drawn_alike():
    lasting = Trajectories(
        states=jnp.tile(jnp.arange(5.0), (2, 1)),
        actions=jnp.zeros((2, 4)),
        rewards=jnp.arange(8.0).reshape(2, 4),
        discounts=jnp.ones((2, 4)),
    )
    drawn = draw_windows(lasting, jax.random.key(4), batch_size=4000, length=1).rewards
    counts = np.bincount(np.asarray(drawn, int).ravel(), minlength=8)
    assert abs(counts - 500).max() < 5 * np.sqrt(500)


def test_bad_input(episodes):
    with pytest.raises(ValueError, match="num_episodes and num_steps are 0 and 6"):
        collect(WORLD, jax.random.key(0), 0)
    with pytest.raises(ValueError, match="at most 6"):
        draw_windows(episodes, jax.random.key(0), batch_size=4, length=7)
    short = episodes.replace(actions=episodes.actions[:, 1:])
    with pytest.raises(ValueError, match=r"actions have a leaf of shape \[8, 5, 1\]"):
        draw_windows(short, jax.random.key(0), batch_size=4, length=2)
    with pytest.raises(ValueError, match=r"weights have shape \[6\]"):
        draw_windows(episodes, jax.random.key(0), batch_size=4, length=2, weights=jnp.ones(6))
    none = jax.tree.map(lambda leaf: leaf[:0], episodes)
    with pytest.raises(ValueError, match="at least one episode"):
        draw_windows(none, jax.random.key(0), batch_size=1, length=1)


def test_double_precision(x64):
    out = jax.jit(lambda key: collect(jp.envs.spaceship(), key, 2, num_steps=3))(jax.random.key(0))
    assert out.rewards.shape == (2, 3)
