import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan import envs
from jplan.envs import PointState, point_maze, wander


def room(size=7):
    free = np.zeros((size, size), bool)
    free[1:-1, 1:-1] = True
    free[3, 1:4] = False
    return free


def state_at(position, velocity=(0.0, 0.0), goal=(1.0, 1.0)):
    return PointState(
        position=jnp.array(position), velocity=jnp.array(velocity), goal=jnp.array(goal)
    )


def run(world, state, actions):
    return jax.lax.scan(
        lambda state, action: (lambda out: (out[0], out))(world.step_fn(None, state, action)),
        *(state, actions),
    )[1]


def test_a_step_by_hand():
    following, reward, discount = point_maze(room()).step_fn(
        None, state_at([2.0, 4.0], [0.1, -0.2]), jnp.array([1.0, 3.0])
    )
    np.testing.assert_allclose(following.velocity, [0.19, -0.02], atol=1e-6)
    np.testing.assert_allclose(following.position, [2.19, 3.98], atol=1e-6)
    assert (reward, discount) == (0, 1)


def test_walls_stop_one_axis():
    world = point_maze(room())
    states, _, _ = run(
        world, state_at([2.0, 2.0], goal=[5.0, 5.0]), jnp.tile(jnp.array([1.0, 0.5]), (4, 1))
    )
    # The wall's edge is at 2.5, the point reaches 0.2 further than its centre.
    assert (states.position[:, 0] < 2.31).all()
    assert states.velocity[-1, 0] == 0
    assert states.position[-1, 1] > 2.3


def test_nothing_gets_through_walls():
    free = room()
    world = point_maze(free)

    def episode(key):
        reset_key, key = jax.random.split(key)
        actions = 3 * jax.random.normal(key, (200, 2))
        return run(world, world.reset_fn(reset_key), actions)[0].position

    places = jax.vmap(episode)(jax.random.split(jax.random.key(0), 50)).reshape(-1, 2)
    for corner in np.ndindex(2, 2):
        y, x = np.round(np.asarray(places) + 0.2 * (2 * np.array(corner) - 1)).astype(int).T
        assert free[y, x].all()


def test_ends_absorb():
    world = point_maze(room())
    state = state_at([1.0, 1.6], [0.0, -0.3])
    states, rewards, discounts = run(world, state, jnp.zeros((3, 2)))
    assert rewards.tolist() == [1, 0, 0]
    assert discounts.tolist() == [0, 0, 0]
    assert (states.position == states.position[:1]).all()


def test_first_states(key):
    free = room()
    states = jax.vmap(point_maze(free).reset_fn)(jax.random.split(key, 200))
    starts, goals = states.position.astype(int), states.goal.astype(int)
    assert free[tuple(starts.T)].all()
    assert free[tuple(goals.T)].all()
    assert (starts != goals).any(1).all()
    assert len({tuple(g) for g in goals.tolist()}) == free.sum()


def test_a_wanderer_gets_around(key):
    free = np.asarray(envs.maze(jax.random.key(1), 9).free)
    observations, actions = wander(free, key, 8, 600)
    assert observations.shape == (8, 601, 4)
    assert abs(actions).max() <= 1
    visited = np.zeros_like(free)
    visited[tuple(np.round(np.asarray(observations[..., :2])).astype(int).reshape(-1, 2).T)] = True
    assert (visited == free).mean() > 0.95
    # What it does is what the world does.
    world = point_maze(free)
    states = PointState(
        position=observations[:, 0, :2], velocity=observations[:, 0, 2:], goal=-jnp.ones((8, 2))
    )
    out, _, _ = jax.vmap(lambda s, a: run(world, s, a))(states, actions[:, :50])
    np.testing.assert_allclose(out.position, observations[:, 1:51, :2], atol=1e-4)


def test_less_noise_is_smoother():
    draw = lambda noise: wander(room(), jax.random.key(0), 4, 100, noise=noise)[1]
    jerk = lambda noise: abs(jnp.diff(draw(noise), axis=1)).mean()
    assert jerk(0.0) < 0.5 * jerk(0.5)


def test_bad_mazes(key):
    with pytest.raises(ValueError, match="free cells on its border"):
        point_maze(np.ones((5, 5), bool))
    with pytest.raises(ValueError, match="0 in all"):
        point_maze(np.zeros((5, 5), bool))
    split = room()
    split[3] = False
    with pytest.raises(ValueError, match="largest_component"):
        wander(split, key, 1, 5)
    with pytest.raises(ValueError, match=r"action has shape \[3\]"):
        point_maze(room()).step_fn(None, state_at([1.0, 1.0]), jnp.ones(3))
    with pytest.raises(ValueError, match="single key"):
        point_maze(room()).reset_fn(jax.random.split(key, 2))
