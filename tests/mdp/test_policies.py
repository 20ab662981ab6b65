import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.mdp import (
    GridMDP,
    TabularMDP,
    action_values,
    greedy_policy,
    optimal_actions,
    soft_policy,
    soft_value_iteration,
    sparse_policy,
    value_iteration,
)
from jplan.relax import softmax_value, sparsemax_value

NONE = -1


@pytest.fixture
def grid():
    return GridMDP.from_free(jnp.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) > 0, (0, 0))


def test_by_hand(grid):
    value = value_iteration(grid).value
    np.testing.assert_array_equal(
        greedy_policy(grid, value), [[NONE, 1, 1], [0, NONE, 0], [0, 1, 0]]
    )
    best = optimal_actions(grid, value)
    assert best.shape == (3, 3, 8)
    # The far corner has two ways round the wall; goal and wall have none.
    assert np.flatnonzero(best[2, 2]).tolist() == [0, 1]
    np.testing.assert_array_equal(best.sum(-1), [[0, 1, 1], [1, 0, 1], [1, 1, 2]])


def test_all_optimal_actions_are_exact(random_map, distances):
    for seed in range(4):
        free, goal = random_map(seed, height=14, width=14, density=0.2)
        grid = GridMDP.from_free(free, goal)
        far = -distances(free, [goal])
        q = np.asarray(action_values(grid, jnp.asarray(far)), np.float64)
        best = np.where(np.isneginf(far), np.nan, far)[..., None]
        want = np.abs(q - best) < 1e-3
        want[goal] = False
        np.testing.assert_array_equal(optimal_actions(grid, value_iteration(grid).value), want)


def test_tolerance_is_relative():
    mdp = TabularMDP(
        transition=jnp.ones((1, 3, 1)), reward=jnp.array([[100.0, 99.99, 80.0]]), discount=0.5
    )
    assert optimal_actions(mdp, jnp.zeros(1)).tolist() == [[True, False, False]]
    assert optimal_actions(mdp, jnp.zeros(1), tol=2e-4).tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("policy", "smooth_max"),
    [(soft_policy, softmax_value), (sparse_policy, sparsemax_value)],
    ids=["soft", "sparse"],
)
def test_smooth_policies(policy, smooth_max, random_mdp, x64):
    mdp = random_mdp(0)
    value = jnp.asarray(np.random.default_rng(0).normal(size=6))
    got = policy(mdp, value, temperature=0.4)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-12)
    q = action_values(mdp, value)
    want = jax.grad(lambda q: smooth_max(q, 0.4).sum())(q)
    np.testing.assert_allclose(got, want, atol=1e-12)
    cold = policy(mdp, value, temperature=1e-3)
    np.testing.assert_allclose(cold.argmax(-1), greedy_policy(mdp, value))
    jitted = jax.jit(jax.vmap(lambda v: policy(mdp, v, temperature=0.4)))(value[None])
    np.testing.assert_allclose(jitted[0], got, rtol=1e-10)


@pytest.mark.parametrize("policy", [soft_policy, sparse_policy])
def test_smooth_policies_where_there_is_no_plan(policy, grid):
    value = soft_value_iteration(grid, temperature=0.1).value
    got = policy(grid, value, temperature=0.1)
    np.testing.assert_array_equal(got[1, 1], np.zeros(8))
    others = np.ones((3, 3), bool)
    others[1, 1] = False
    np.testing.assert_allclose(got.sum(-1)[others], 1, rtol=1e-4)
    total = lambda cost: jnp.sum(policy(grid.replace(cell_cost=cost), value, temperature=0.1) ** 2)
    assert np.isfinite(jax.grad(total)(jnp.ones((3, 3)))).all()
