import functools

import jax
import numpy as np
import pytest

import jplan as jp
from jplan import mdp
from jplan.envs import voxel_maze


def draw(count, size, **options):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(functools.partial(voxel_maze, size=size, **options)))(keys)


@pytest.mark.parametrize("size", [5, 8, 9])
def test_without_decimation_mazes_are_perfect(size):
    m = (size - 1) // 2
    tasks = draw(4, size, decimation=0.0)
    free = np.asarray(tasks.free)
    assert set(free.sum((1, 2, 3))) == {2 * m**3 - 1}
    assert free[:, 1 : 2 * m : 2, 1 : 2 * m : 2, 1 : 2 * m : 2].all()

    def values(task):
        return mdp.value_iteration(mdp.GridMDP.from_free(task.free, task.goal, moves=6)).value

    # As many cells as a tree has, and all connected.
    assert np.array_equal(np.isfinite(jax.jit(jax.vmap(values))(tasks)), free)


def test_opened_cells_come_on_top_and_the_border_stays_closed():
    perfect, opened = draw(50, 8, decimation=0.0), draw(50, 8, decimation=0.3)
    assert np.asarray(opened.free)[np.asarray(perfect.free)].all()
    np.testing.assert_array_equal(opened.goal, perfect.goal)
    inside = np.asarray(opened.free)[:, 1:-1, 1:-1, 1:-1]
    assert opened.free.sum() == inside.sum()
    walls = ~np.asarray(perfect.free)[:, 1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(inside[walls].mean(), 0.3, atol=0.02)
    assert draw(3, 6, decimation=1.0).free.sum() == 3 * 4**3


def test_goals_are_carved_cells():
    tasks = draw(300, 5, decimation=0.0)
    at = np.asarray(tasks.free)[np.arange(300), *np.asarray(tasks.goal).T]
    assert at.all()
    # Of the 15 carved cells 8 are rooms.
    rooms = (np.asarray(tasks.goal) % 2 == 1).all(-1).mean()
    np.testing.assert_allclose(rooms, 8 / 15, atol=0.1)


def test_every_direction_is_as_likely():
    free = np.asarray(draw(400, 5, decimation=0.0).free)
    # The wall between two rooms of a 2 x 2 x 2 lattice is open in 7 of 12 places.
    for axis in (1, 2, 3):
        passages = np.moveaxis(free, axis, 1)[:, 2, 1::2, 1::2]
        np.testing.assert_allclose(passages.mean(), 7 / 12, atol=0.03)


def test_maps_of_three_dimensions_stack_like_others():
    tasks = draw(3, 6)
    maps = jp.envs.as_map(tasks)
    assert maps.shape == (3, 6, 6, 6, 2)
    np.testing.assert_array_equal(maps[..., 0], tasks.free)
    for goal, layer in zip(tasks.goal, maps[..., 1], strict=True):
        assert np.argwhere(layer).tolist() == [goal.tolist()]
    with pytest.raises(ValueError, match=r"or \[..., D, H, W\] and \[..., 3\]"):
        jp.envs.as_map(jp.envs.GridTask(free=tasks.free, goal=tasks.goal[:2]))


def test_mistakes_get_advice():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="at least 5"):
        voxel_maze(key, 4)
    with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
        voxel_maze(key, 5, decimation=1.5)
    with pytest.raises(ValueError, match=r"jax.vmap\(voxel_maze\)"):
        voxel_maze(jax.random.split(key), 5)
