import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.mdp import GridMDP, greedy_policy, plan_measures, value_iteration

OFFSETS = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)]


def followed(is_open, goal, actions, start):
    """Reference: follow the policy step by step in Python."""
    (y, x), length = start, 0.0
    for step in range(actions.size + 1):
        if (y, x) == goal:
            return True, length, step
        action = actions[y, x]
        if action < 0 or not is_open[y, x, action]:
            break
        dy, dx = OFFSETS[action]
        length += np.hypot(dy, dx)
        y, x = y + dy, x + dx
    return False, np.inf, 0


def test_by_hand():
    # A corridor; goal at its west end, cell 4 walks into a circle with cell 5, a wall, a far cell.
    grid = GridMDP.from_free(jnp.array([[1, 1, 1, 1, 1, 1, 0, 1]]) > 0, (0, 0), moves=4)
    actions = jnp.array([[0, 1, 1, 1, 3, 1, 1, 1]])
    measures = plan_measures(grid, actions, start=(0, 3))
    assert measures.num_states == 5
    np.testing.assert_allclose(
        [measures.success, measures.optimality, measures.spl], 3 / 5, rtol=1e-6
    )
    assert measures.single_start_success == 1
    assert plan_measures(grid, actions, start=(0, 5)).single_start_success == 0
    for start in (None, (0, 0), (0, 6), (0, 7), (0, 99)):
        assert np.isnan(plan_measures(grid, actions, start=start).single_start_success)


def test_detour_counts_in_spl_but_not_as_optimal():
    grid = GridMDP.from_free(jnp.ones((2, 2), bool), goal=(0, 0), moves=4)
    # (0, 1) goes S, W, N in place of W: 3 steps in place of 1, within no cap of two.
    actions = jnp.array([[-1, 2], [0, 1]])
    measures = plan_measures(grid, actions, start=(0, 1))
    np.testing.assert_allclose(measures.success, 1)
    np.testing.assert_allclose(measures.optimality, 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(measures.spl, (1 + 1 + 1 / 3) / 3, rtol=1e-6)
    assert measures.single_start_success == 0  # 3 > 2 * 1


def test_reference(random_map, distances):
    for seed in range(6):
        free, goal = random_map(seed, density=0.2)
        grid = GridMDP.from_free(free, goal)
        want = distances(free, [goal])
        actions = np.array(greedy_policy(grid, value_iteration(grid).value))
        rng = np.random.default_rng(seed)
        spoiled = rng.random(free.shape) < 0.15
        actions[spoiled] = rng.integers(-1, 8, size=spoiled.sum())
        cells = [tuple(c) for c in np.argwhere(np.isfinite(want)) if tuple(c) != goal]
        is_open = np.asarray(grid.open_moves())
        fate = [followed(is_open, goal, actions, cell) for cell in cells]
        best = np.array([want[cell] for cell in cells])
        success = np.array([reached for reached, _, _ in fate])
        length = np.array([length for _, length, _ in fate])
        got = plan_measures(grid, jnp.asarray(actions))
        assert got.num_states == len(cells)
        np.testing.assert_allclose(got.success, success.mean(), rtol=1e-6)
        np.testing.assert_allclose(got.optimality, (length < best + 1e-6).mean(), rtol=1e-6)
        np.testing.assert_allclose(got.spl, (success * best / length).mean(), rtol=1e-5)


def test_optimal_policy_is_perfect_also_with_costs(random_map):
    free, goal = random_map(2, height=20, width=20, density=0.2)
    cost = np.random.default_rng(0).uniform(0.1, 5, free.shape).astype(np.float32)
    for cell_cost in (None, cost):
        grid = GridMDP.from_free(free, goal, cell_cost=cell_cost)
        value = value_iteration(grid).value
        measures = plan_measures(grid, greedy_policy(grid, value), value=value)
        assert (measures.success, measures.optimality) == (1, 1)
        np.testing.assert_allclose(measures.spl, 1, rtol=1e-5)


def test_nothing_to_count_is_flagged():
    for free, goal in (([[1]], (0, 0)), ([[1, 0, 1]], (0, 0)), ([[1, 0, 1]], (0, 1))):
        grid = GridMDP.from_free(jnp.array(free) > 0, goal)
        measures = plan_measures(grid, jnp.zeros(grid.state_shape, int))
        assert measures.num_states == 0
        for field in (measures.success, measures.optimality, measures.spl):
            assert np.isnan(field)


def test_jit_vmap_and_errors(random_map):
    free = jnp.asarray(random_map(1)[0])
    goals = jnp.argwhere(free)[:3]
    actions = jax.random.randint(jax.random.key(0), (3, *free.shape), 0, 8)
    run = lambda goal, actions: plan_measures(GridMDP.from_free(free, goal), actions, start=(0, 0))
    many = jax.jit(jax.vmap(run))(goals, actions)
    for index in range(3):
        one = run(goals[index], actions[index])
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a, b[i], rtol=1e-6), one, many
        )
    grid = GridMDP.from_free(free, goals[0])
    with pytest.raises(ValueError, match="actions: got dtype float32, expected integers"):
        plan_measures(grid, jnp.zeros(free.shape))
