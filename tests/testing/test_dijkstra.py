import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import dijkstra

import jplan as jp
from jplan.testing import dijkstra_distances

ROOT2 = math.sqrt(2)


def test_hand_computed_corner():
    free = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    inf = np.inf
    four = dijkstra_distances(free, (0, 0), moves=4, corner_cutting=False)
    np.testing.assert_array_equal(four, [[0, 1, inf], [inf, 2, 3], [inf, inf, 4]])
    strict = dijkstra_distances(free, (0, 0), moves=8, corner_cutting=False)
    np.testing.assert_array_equal(strict, four)
    cutting = dijkstra_distances(free, (0, 0), moves=8, corner_cutting=True)
    expected = [[0, 1, inf], [inf, ROOT2, 1 + ROOT2], [2 * ROOT2, inf, 2 * ROOT2]]
    np.testing.assert_allclose(cutting, expected, rtol=1e-15)
    unit = dijkstra_distances(free, (0, 0), moves=8, corner_cutting=True, costs="unit")
    np.testing.assert_array_equal(unit, [[0, 1, inf], [inf, 1, 2], [2, inf, 2]])


def scipy_distances(free, goal, moves, corner_cutting, costs):
    height, width = free.shape
    graph = lil_matrix((free.size, free.size))
    for y, x in np.argwhere(free):
        for dy, dx in [(0, 1), (1, 0), (1, 1), (1, -1)][: moves // 2]:
            v, u = y + dy, x + dx
            if not (v < height and 0 <= u < width and free[v, u]):
                continue
            if dy and dx and not corner_cutting and not (free[v, x] and free[y, u]):
                continue
            length = ROOT2 if dy and dx and costs == "octile" else 1.0
            graph[y * width + x, v * width + u] = length
    start = goal[0] * width + goal[1]
    distance = dijkstra(graph.tocsr(), directed=False, indices=start).reshape(free.shape)
    return np.where(free & free[tuple(goal)], distance, np.inf)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    moves=st.sampled_from([4, 8]),
    corner_cutting=st.booleans(),
    costs=st.sampled_from(["octile", "unit"]),
)
def test_equals_scipy(seed, shape, moves, corner_cutting, costs):
    rng = np.random.default_rng(seed)
    free = rng.random(shape) < 0.7
    goal = tuple(int(rng.integers(n)) for n in shape)
    got = dijkstra_distances(free, goal, moves=moves, corner_cutting=corner_cutting, costs=costs)
    expected = scipy_distances(free, goal, moves, corner_cutting, costs)
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("moves", [4, 8])
def test_a_torus_is_a_map_among_copies_of_itself(moves):
    options, shorter = {"moves": moves, "corner_cutting": False}, 0
    for seed in range(5):
        free = np.random.default_rng(seed).random((5, 6)) < 0.6
        free[2, 3] = True
        goals = [(2 + 5 * i, 3 + 6 * j) for i in range(7) for j in range(7)]
        tiled = dijkstra_distances(np.tile(free, (7, 7)), goals, **options)[15:20, 18:24]
        torus = dijkstra_distances(free, (2, 3), wrap=True, **options)
        np.testing.assert_array_equal(torus, tiled)
        shorter += (torus < dijkstra_distances(free, (2, 3), **options)).sum()
    assert shorter > 0


def test_goals_in_all_forms_and_as_an_oracle_of_value_iteration():
    task = jp.envs.maze(jax.random.key(2), 11, decimation=0.2)
    goals = np.array([[1, 1], np.asarray(task.goal)])
    mask = np.zeros((11, 11), bool)
    mask[tuple(goals.T)] = True
    options = {"moves": 8, "corner_cutting": False}
    by_cells = dijkstra_distances(task.free, goals, **options)
    np.testing.assert_array_equal(by_cells, dijkstra_distances(task.free, mask, **options))
    single = [dijkstra_distances(task.free, tuple(goal), **options) for goal in goals]
    np.testing.assert_array_equal(by_cells, np.minimum(*single))
    grid = jp.mdp.GridMDP.from_free(task.free, goal=goals)
    np.testing.assert_allclose(-jp.mdp.value_iteration(grid).value, by_cells, rtol=1e-6)


@pytest.mark.parametrize(
    ("free", "goal", "options", "message"),
    [
        (np.ones((2, 2)), (0, 0), {}, "dtype float64, expected bool"),
        (np.ones(2, bool), (0, 0), {}, r"shape \(2,\)"),
        (np.ones((2, 2), bool), (0, 2), {}, r"got goal \[\[0, 2\]\]"),
        (np.ones((2, 2), bool), (-1, 0), {}, r"got goal \[\[-1, 0\]\]"),
        (np.ones((2, 2), bool), (0, 0), {"moves": 5}, "moves 5"),
        (np.ones((2, 2), bool), (0, 0), {"moves": 6}, r"bool \[D, H, W\] for 6 moves"),
        (np.ones((2, 2), bool), (0, 0), {"costs": "euclid"}, "costs 'euclid'"),
    ],
)
def test_wrong_arguments_are_named(free, goal, options, message):
    with pytest.raises(ValueError, match=message):
        dijkstra_distances(free, goal, **({"moves": 8, "corner_cutting": True} | options))
