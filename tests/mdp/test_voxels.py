"""Grids in three dimensions: exact values, paths and measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp
from jplan import mdp
from jplan.testing import dijkstra_distances

SHAPE = (4, 5, 6)


def voxels(seed, wrap=False, **options):
    free = np.random.default_rng(seed).random(SHAPE) > 0.35
    free[2, 1, 3] = True
    grid = mdp.GridMDP.from_free(jnp.asarray(free), (2, 1, 3), moves=6, wrap=wrap, **options)
    return free, grid


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_sweeps_give_the_shortest_paths(seed, wrap):
    free, grid = voxels(seed, wrap)
    distance = dijkstra_distances(free, (2, 1, 3), moves=6, corner_cutting=False, wrap=wrap)
    out = mdp.value_iteration(grid)
    np.testing.assert_array_equal(-out.value, distance)
    assert out.status == jp.Status.CONVERGED
    assert np.isinf(distance[free]).any() or distance[free].max() > 6


def test_sweeps_agree_with_the_plain_backup(x64):
    _, grid = voxels(2)
    cost = jax.random.uniform(jax.random.key(0), SHAPE, minval=0.5, maxval=2.0)
    grid = mdp.GridMDP.from_free(grid.free, grid.goal, moves=6, cell_cost=cost, discount=0.9)
    swept, plain = mdp.value_iteration(grid), mdp.value_iteration(grid, solver=jp.Picard())
    np.testing.assert_allclose(swept.value, plain.value, rtol=1e-9)
    assert swept.num_steps < plain.num_steps


def test_the_gradient_counts_the_cells_that_a_path_leaves(x64):
    free = jnp.ones((2, 1, 3), bool).at[0, 0, 1].set(False)

    def farthest(cost):
        grid = mdp.GridMDP.from_free(free, (0, 0, 0), moves=6, cell_cost=cost)
        return mdp.value_iteration(grid).value[0, 0, 2]

    left = jnp.ones((2, 1, 3)).at[0, 0, :2].set(0)
    np.testing.assert_allclose(jax.grad(farthest)(jnp.ones((2, 1, 3))), -left)


def test_paths_and_measures():
    _, grid = voxels(3)
    value = mdp.value_iteration(grid).value
    actions = mdp.greedy_policy(grid, value)
    measures = mdp.plan_measures(grid, actions, start=(0, 0, 0))
    assert (measures.success, measures.optimality, measures.spl) == (1, 1, 1)
    z, y, x = np.argwhere(np.isfinite(value))[0]
    path = mdp.extract_path(grid, actions, (z, y, x), max_length=30)
    assert bool(path.reached)
    assert int(path.num_steps) == int(path.num_straight) == -value[z, y, x]
    steps = np.asarray(path.positions)[: int(path.num_steps) + 1]
    assert steps[-1].tolist() == [2, 1, 3]
    assert set(np.abs(np.diff(steps, axis=0)).sum(-1)) == {1}
    # One action everywhere reaches the goal only along one line.
    forth = mdp.plan_measures(grid, jnp.full(SHAPE, 5))
    line, reaching = np.asarray(grid.free)[2, 1, :3], 0
    for is_free in line[::-1]:
        if not is_free:
            break
        reaching += 1
    np.testing.assert_allclose(forth.success, reaching / measures.num_states)
    assert reaching > 0
