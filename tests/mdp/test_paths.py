import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.mdp import GridMDP, extract_path, greedy_policy, value_iteration
from jplan.mdp._paths import follow_everywhere


def test_by_hand():
    grid = GridMDP.from_free(jnp.ones((3, 4), bool), goal=(0, 0))
    value = value_iteration(grid).value
    path = extract_path(grid, value, (2, 3), max_length=5)
    assert path.positions.shape == (6, 2)
    assert path.positions[0].tolist() == [2, 3]
    assert path.positions[3].tolist() == [0, 0]
    assert (path.positions[4:] == -1).all()
    assert (path.num_straight, path.num_diagonal, path.num_steps) == (1, 2, 3)
    assert path.reached
    assert path.length.dtype == np.float64
    np.testing.assert_allclose(path.length, 1 + 2 * np.sqrt(2), rtol=1e-15)
    from_actions = extract_path(grid, greedy_policy(grid, value), (2, 3), max_length=5)
    np.testing.assert_array_equal(from_actions.positions, path.positions)


@pytest.mark.parametrize("wrap", [False, True])
def test_length_is_the_shortest_distance(wrap, random_map, distances):
    starts = jnp.asarray(list(np.ndindex(15, 14)))

    @jax.jit
    def follow(grid, value):
        path = lambda start: extract_path(grid, value, start, max_length=100)
        return jax.vmap(path)(starts), follow_everywhere(grid, greedy_policy(grid, value))

    for seed in range(5):
        free, goal = random_map(seed, height=15, width=14)
        grid = GridMDP.from_free(free, goal, wrap=wrap)
        value = value_iteration(grid).value
        want = distances(free, [goal], wrap=wrap)
        paths, (cost, _, reached) = jax.device_get(follow(grid, value))
        arrives = np.isfinite(want)
        np.testing.assert_array_equal(paths.reached, arrives.ravel())
        np.testing.assert_allclose(paths.length[paths.reached], want[arrives], rtol=1e-12)
        np.testing.assert_array_equal(reached, arrives)
        np.testing.assert_allclose(cost[reached], want[arrives], rtol=1e-6)


def test_every_way_not_to_arrive():
    free = jnp.array([[1, 1, 1, 0, 1]]) > 0
    grid = GridMDP.from_free(free, goal=(0, 0), moves=4)
    circle = jnp.array([[1, 3, 1, 1, 0]])
    cases = {
        "circle": ((0, 1), [[0, 1], [0, 2], [0, 1], [0, 2]]),
        "closed move": ((0, 4), [[0, 4]] + [[-1, -1]] * 3),
        "in a wall": ((0, 3), [[0, 3]] + [[-1, -1]] * 3),
        "off the map": ((0, 9), [[-1, -1]] * 4),
        "negative": ((0, -1), [[-1, -1]] * 4),
    }
    for start, positions in cases.values():
        path = extract_path(grid, circle, start, max_length=3)
        assert not path.reached
        assert path.positions.tolist() == positions
    too_short = extract_path(grid, jnp.array([[-1, 1, 1, -1, -1]]), (0, 2), max_length=1)
    assert not too_short.reached
    at_goal = extract_path(grid, circle, (0, 0), max_length=3)
    assert at_goal.reached
    assert at_goal.num_steps == 0
    for bad in (-1, 7):  # no action, or one that does not exist
        assert not extract_path(grid, jnp.full((1, 5), bad), (0, 1), max_length=3).reached


def test_jit_and_one_value_for_many_starts():
    grid = GridMDP.from_free(jnp.ones((5, 5), bool), goal=(2, 2))
    run = jax.jit(lambda s: extract_path(grid, value_iteration(grid).value, s, max_length=9))
    starts = jnp.array([[0, 0], [4, 1], [2, 2]])
    many = jax.vmap(run)(starts)
    for index, start in enumerate(starts):
        np.testing.assert_array_equal(run(start).positions, many.positions[index])
    assert many.length.shape == (3,)


def test_bad_arguments():
    grid = GridMDP.from_free(jnp.ones((2, 2), bool), goal=(0, 0))
    with pytest.raises(ValueError, match="start, max_length"):
        extract_path(grid, jnp.zeros((2, 2), int), jnp.zeros((3, 2), int), max_length=3)
    with pytest.raises(ValueError, match="start, max_length"):
        extract_path(grid, jnp.zeros((2, 2), int), (0, 0), max_length=-1)
    with pytest.raises(ValueError, match="value: got shape"):
        extract_path(grid, jnp.zeros((2, 3)), (0, 0), max_length=1)
