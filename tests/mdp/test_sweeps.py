"""The exact grid solver: shortest paths against SciPy, edge cases, gradients, traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan.mdp._sweeps as sweeps
from jplan.fixed_points import Picard, Status, Unroll
from jplan.mdp import GridMDP, optimality_backup, value_iteration

VARIANTS = [
    {"moves": 4},
    {"moves": 8},
    {"moves": 8, "corner_cutting": True},
    {"moves": 8, "costs": "unit"},
    {"moves": 4, "wrap": True},
    {"moves": 8, "wrap": True, "corner_cutting": True},
]
IDS = ["four", "eight", "cutting", "unit", "torus4", "torus8"]
SERPENTINE = """
.........
########.
.........
.########
.........
########.
.........
"""


def serpentine():
    return np.array([[c == "." for c in row] for row in SERPENTINE.split()])


def test_by_hand():
    free = jnp.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]]) > 0
    value = value_iteration(GridMDP.from_free(free, goal=(0, 0))).value
    inf = np.inf
    np.testing.assert_array_equal(value, [[0, -1, -2], [-1, -inf, -3], [-2, -3, -inf]])
    cut = value_iteration(GridMDP.from_free(free, goal=(0, 0), corner_cutting=True)).value
    np.testing.assert_allclose(cut[1, 2], -1 - np.sqrt(2), rtol=1e-7)


@pytest.mark.parametrize("options", VARIANTS, ids=IDS)
def test_equals_dijkstra(options, random_map, distances):
    reference = {key: value for key, value in options.items() if key != "costs"}
    reference["unit"] = options.get("costs") == "unit"
    for seed in range(8):
        free, goal = random_map(seed)
        cost = np.random.default_rng(seed).uniform(0.2, 3, free.shape).astype(np.float32)
        for cell_cost in (None, cost):
            grid = GridMDP.from_free(free, goal, cell_cost=cell_cost, **options)
            solution = value_iteration(grid)
            assert solution.status == Status.CONVERGED
            assert solution.residual == 0
            want = -distances(free, [goal], cost=cell_cost, **reference)
            np.testing.assert_allclose(solution.value, want, rtol=1e-6)


def test_several_goals(random_map, distances):
    free, goal = random_map(5)
    goals = [goal, (0, 0), (8, 10)]
    value = value_iteration(GridMDP.from_free(free, goals)).value
    np.testing.assert_allclose(value, -distances(free, goals), rtol=1e-6)


def test_a_long_corridor_takes_few_sweeps(distances):
    free = serpentine()
    solution = value_iteration(GridMDP.from_free(free, goal=(6, 0)))
    np.testing.assert_allclose(solution.value, -distances(free, [(6, 0)]), rtol=1e-6)
    assert solution.value[0, 0] < -30
    assert solution.num_steps <= 6


def test_lengths_are_summed_without_rounding():
    # 300 diagonal steps in float32: naive sums are off by 1e-3.
    size = 301
    free = np.eye(size, dtype=bool) | np.eye(size, k=1, dtype=bool) | np.eye(size, k=-1, dtype=bool)
    value = value_iteration(GridMDP.from_free(free, goal=(0, 0))).value
    np.testing.assert_allclose(-value[-1, -1], 300 * np.sqrt(2), rtol=1e-7)


def test_double_precision(x64, random_map, distances):
    free, goal = random_map(1)
    value = value_iteration(GridMDP.from_free(free, goal)).value
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, -distances(free, [goal]), rtol=1e-14)


def test_low_precision_costs_are_raised():
    cost = jnp.full((1, 3), 1.5, jnp.bfloat16)
    value = value_iteration(GridMDP.from_free(jnp.ones((1, 3), bool), (0, 0), cell_cost=cost)).value
    assert value.dtype == jnp.float32
    np.testing.assert_array_equal(value, [[0, -1.5, -3]])


def test_discount(random_map, x64):
    free, goal = random_map(2)
    grid = GridMDP.from_free(free, goal, discount=0.9)
    value = value_iteration(grid).value
    np.testing.assert_allclose(optimality_backup(grid, value), value, rtol=1e-12)
    plain = value_iteration(grid, solver=Picard(tol=0.0, max_steps=400)).value
    np.testing.assert_allclose(value, plain, rtol=1e-12)


def test_edge_cases_are_flagged():
    one = value_iteration(GridMDP.from_free(jnp.ones((1, 1), bool), (0, 0)))
    assert (one.value, one.status) == (0, Status.CONVERGED)
    wall = jnp.ones((3, 3), bool).at[1, 1].set(False)
    nothing = jnp.zeros((3, 3), bool)
    for free, goal in ((wall, (1, 1)), (wall, nothing), (nothing, (0, 0))):
        solution = value_iteration(GridMDP.from_free(free, goal))
        assert np.isneginf(solution.value).all()
        assert solution.status == Status.DIVERGED
        assert np.isinf(solution.residual)
    alone = value_iteration(GridMDP.from_free(jnp.array([[1, 0, 1]]) > 0, (0, 0)))
    np.testing.assert_array_equal(alone.value, [[0, -np.inf, -np.inf]])
    assert alone.status == Status.CONVERGED


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
def test_improper_costs_end_at_once_and_visibly(bad):
    cost = jnp.ones((20, 20)).at[3, 4].set(bad)
    solution = value_iteration(GridMDP.from_free(jnp.ones((20, 20), bool), (0, 0), cell_cost=cost))
    assert np.isnan(solution.value).all()
    assert solution.status == Status.DIVERGED
    assert solution.num_steps < 5


def test_traced_discount_out_of_range_is_flagged():
    solve = jax.jit(lambda g: value_iteration(GridMDP.from_free(free, (0, 0), discount=g)))
    free = jnp.ones((2, 2), bool)
    assert solve(1.5).status == Status.DIVERGED
    assert solve(0.5).status == Status.CONVERGED


def test_gradient_is_the_path(x64, random_map, central_difference):
    free, goal = random_map(7, height=5, width=6)
    cost = jnp.asarray(np.random.default_rng(7).uniform(0.5, 2, free.shape))
    weights = jnp.asarray(np.random.default_rng(8).normal(size=free.shape))

    def loss(cost, discount=1.0, **how):
        grid = GridMDP.from_free(jnp.asarray(free), goal, cell_cost=cost, discount=discount)
        value = value_iteration(grid, **how).value
        return jnp.sum(jnp.where(jnp.isneginf(value), 0, weights * value))

    implicit = jax.grad(loss)(cost)
    unrolled = jax.grad(lambda c: loss(c, solver=Picard(tol=0.0, max_steps=60), adjoint=Unroll()))(
        cost
    )
    difference = central_difference(jax.jit(loss), cost)
    np.testing.assert_allclose(implicit, difference, atol=1e-7)
    np.testing.assert_allclose(implicit, unrolled, atol=1e-12)
    np.testing.assert_array_equal(implicit[~free], 0)

    by_discount = jax.grad(lambda g: loss(cost, g))(0.95)
    step = (loss(cost, 0.95 + 1e-6) - loss(cost, 0.95 - 1e-6)) / 2e-6
    np.testing.assert_allclose(by_discount, step, rtol=1e-6)


def test_gradient_of_one_value_counts_its_path(random_map):
    free, goal = serpentine(), (6, 0)
    value = lambda c: value_iteration(GridMDP.from_free(free, goal, cell_cost=c, moves=4)).value
    gradient = jax.grad(lambda c: value(c)[0, 0])(jnp.ones(free.shape))
    want = np.where(free, -1, 0)
    want[goal] = 0
    np.testing.assert_array_equal(gradient, want)


def test_tie_splits_the_gradient():
    value = lambda c: (
        value_iteration(
            GridMDP.from_free(jnp.ones((2, 2), bool), (0, 0), cell_cost=c, moves=4)
        ).value
    )
    gradient = jax.grad(lambda c: value(c)[1, 1])(jnp.ones((2, 2)))
    np.testing.assert_array_equal(gradient, [[0, -0.5], [-0.5, -1]])


def test_adjoint_must_fit_the_sweeps():
    grid = GridMDP.from_free(jnp.ones((2, 2), bool), (0, 0))
    with pytest.raises(ValueError, match=r"expected Implicit\(\) for the exact sweeps"):
        value_iteration(grid, adjoint=Unroll())


def test_jit_vmap_map_and_empty_batch(random_map):
    free = jnp.asarray(random_map(4)[0])
    goals = jnp.argwhere(free)[::9]
    solve = lambda goal: value_iteration(GridMDP.from_free(free, goal))
    loop = [solve(goal) for goal in goals]
    for many in (jax.vmap(solve)(goals), jax.jit(lambda g: jax.lax.map(solve, g))(goals)):
        np.testing.assert_array_equal(many.value, jnp.stack([one.value for one in loop]))
        np.testing.assert_array_equal(many.num_steps, [one.num_steps for one in loop])
    assert jax.vmap(solve)(goals[:0]).value.shape == (0, 9, 11)


def test_second_eager_call_does_not_trace(monkeypatch):
    calls = []
    inner = sweeps._pass_over
    monkeypatch.setattr(sweeps, "_pass_over", lambda *a, **k: calls.append(1) or inner(*a, **k))
    free = jnp.ones((3, 17), bool)  # a shape that no other test uses
    value_iteration(GridMDP.from_free(free, goal=(0, 0)))
    traced = len(calls)
    assert traced > 0
    value_iteration(GridMDP.from_free(free.at[1, 1].set(False), goal=(2, 3)))
    assert len(calls) == traced
