import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from jplan.envs import largest_component, maze
from jplan.testing import dijkstra_distances


def reference(free, moves):
    structure = np.ones((3, 3)) if moves == 8 else None
    label, num = ndimage.label(free, structure=structure)
    if num == 0:
        return np.zeros_like(free)
    return label == 1 + np.argmax(np.bincount(label.ravel())[1:])


@given(free=hnp.arrays(bool, (7, 5)), moves=st.sampled_from([4, 8]))
@settings(max_examples=30, deadline=None)
def test_agrees_with_scipy(free, moves):
    found = largest_component(jnp.asarray(free), moves=moves)
    np.testing.assert_array_equal(found, reference(free, moves))


@pytest.mark.parametrize("moves", [4, 8])
def test_agrees_with_scipy_near_the_percolation_threshold(key, moves):
    free = jax.random.bernoulli(key, 0.59 if moves == 4 else 0.41, (96, 64))
    np.testing.assert_array_equal(
        largest_component(free, moves=moves), reference(np.asarray(free), moves)
    )


@pytest.mark.parametrize("moves", [4, 8])
def test_a_torus_joins_its_edges(moves):
    for seed in range(20):
        free = np.random.default_rng(seed).random((9, 11)) < (0.5 if moves == 4 else 0.3)
        found = np.asarray(largest_component(jnp.asarray(free), moves=moves, wrap=True))
        options = {"moves": moves, "corner_cutting": True, "wrap": True}
        sizes = {}
        for cell in map(tuple, np.argwhere(free)):
            sizes[cell] = np.isfinite(dijkstra_distances(free, cell, **options))
        largest = max(mask.sum() for mask in sizes.values())
        first = next(cell for cell, mask in sizes.items() if mask.sum() == largest)
        np.testing.assert_array_equal(found, sizes[first])


def test_the_longest_corridors_are_one_component(key):
    free = maze(key, 61, decimation=0.0).free
    np.testing.assert_array_equal(largest_component(free), reference(np.asarray(free), 4))


def test_double_precision_changes_nothing(x64):
    free = jnp.array([[True, False, True, True]])
    np.testing.assert_array_equal(largest_component(free), [[False, False, True, True]])


def test_diagonals_join_with_eight_moves_only():
    free = jnp.eye(3, dtype=bool)
    assert largest_component(free, moves=8).sum() == 3
    np.testing.assert_array_equal(np.argwhere(largest_component(free)), [[0, 0]])


def test_opposite_edges_do_not_touch():
    free = jnp.array([[True, False, True], [False, False, False], [True, False, True]])
    assert largest_component(free, moves=8).sum() == 1


def test_nothing_free_is_nothing():
    assert not largest_component(jnp.zeros((4, 3), bool)).any()


def test_vmap_and_jit_are_the_loop(key):
    free = jax.random.bernoulli(key, 0.5, (5, 8, 9))
    together = jax.jit(jax.vmap(largest_component))(free)
    for index in range(5):
        np.testing.assert_array_equal(together[index], largest_component(free[index]))


@pytest.mark.parametrize("moves", [6, "8", None])
def test_other_moves_are_refused(moves):
    with pytest.raises(ValueError, match="expected 4 or 8"):
        largest_component(jnp.ones((3, 3), bool), moves=moves)


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match="float32"):
        largest_component(jnp.ones((3, 3)))
