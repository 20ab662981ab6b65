import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.envs import GridTask, as_map, random_free_cell


def test_as_map_puts_free_first_and_the_goal_second():
    free = jnp.array([[True, False, True], [True, True, False]])
    stacked = as_map(GridTask(free=free, goal=jnp.array([1, 0], jnp.int32)))
    assert stacked.shape == (2, 3, 2)
    assert stacked.dtype == jnp.float32
    np.testing.assert_array_equal(stacked[..., 0], [[1, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(stacked[..., 1], [[0, 0, 0], [1, 0, 0]])


def test_as_map_of_a_batch_is_the_batch_of_maps(key):
    free = jax.random.bernoulli(key, 0.5, (2, 3, 4, 5))
    goal = jnp.arange(12, dtype=jnp.int32).reshape(2, 3, 2) % 4
    batch = as_map(GridTask(free=free, goal=goal))
    one_by_one = jax.vmap(jax.vmap(as_map))(GridTask(free=free, goal=goal))
    np.testing.assert_array_equal(batch, one_by_one)


def test_as_map_refuses_a_batch_of_maps_with_one_goal():
    task = GridTask(free=jnp.ones((4, 3, 3), bool), goal=jnp.array([1, 1], jnp.int32))
    with pytest.raises(ValueError, match=r"\(4, 3, 3\).*\(2,\)"):
        as_map(task)


def test_random_free_cell_is_uniform_over_free_cells_and_nothing_else(key):
    free = jnp.array([[False, True, False, True], [True, False, False, True]])
    num_draws = 4000
    draw = jax.vmap(random_free_cell, in_axes=(0, None))
    cells = np.asarray(draw(jax.random.split(key, num_draws), free))
    counts = np.zeros(free.shape, int)
    np.add.at(counts, tuple(cells.T), 1)
    assert (counts[~np.asarray(free)] == 0).all()
    expected = num_draws / 4
    chi_square = ((counts[np.asarray(free)] - expected) ** 2 / expected).sum()
    assert chi_square < 16.3  # 0.999 quantile with 3 degrees of freedom


def test_random_free_cell_is_uniform_over_many_cells(key):
    draw = jax.vmap(random_free_cell, in_axes=(0, None))
    y, x = np.asarray(draw(jax.random.split(key, 1000), jnp.ones((600, 700), bool))).T
    # Ten bands of 60 rows and of 70 columns; 27.9 is the 0.999 quantile, 9 degrees of freedom.
    for counts in (np.bincount(y // 60, minlength=10), np.bincount(x // 70, minlength=10)):
        assert ((counts - 100) ** 2 / 100).sum() < 27.9


def test_random_free_cell_finds_the_last_cell(key):
    free = jnp.zeros((60, 70), bool).at[59, 69].set(True)
    np.testing.assert_array_equal(random_free_cell(key, free), [59, 69])


def test_random_free_cell_says_so_when_nothing_is_free(key):
    np.testing.assert_array_equal(random_free_cell(key, jnp.zeros((3, 3), bool)), [-1, -1])


def test_random_free_cell_under_jit_draws_the_same(key):
    free = jax.random.bernoulli(jax.random.key(1), 0.5, (9, 9))
    expected = random_free_cell(jax.random.clone(key), free)
    np.testing.assert_array_equal(jax.jit(random_free_cell)(key, free), expected)
    assert expected.dtype == jnp.int32


def test_random_free_cell_in_double_precision_draws_the_same():
    free = jax.random.bernoulli(jax.random.key(1), 0.5, (9, 9))
    single = random_free_cell(jax.random.key(5), free)
    with jax.enable_x64(True):
        double = random_free_cell(jax.random.key(5), free)
    np.testing.assert_array_equal(double, single)
    assert double.dtype == np.int32


@pytest.mark.parametrize(
    "free", [np.ones((3, 3), np.float32), np.ones((2, 3, 3, 3), bool), np.ones((0, 3), bool)]
)
def test_random_free_cell_refuses_what_is_no_map(key, free):
    with pytest.raises(ValueError, match="expected a non-empty bool"):
        random_free_cell(key, jnp.asarray(free))
