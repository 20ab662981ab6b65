import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.mdp import GridMDP, action_values, reachable, value_iteration

ROOT2 = np.sqrt(2)
N, W, S, E, NW, SW, SE, NE = range(8)


def test_action_order_and_lengths_by_hand():
    value = -jnp.arange(9.0).reshape(3, 3)
    grid = GridMDP.from_free(jnp.ones((3, 3), bool), jnp.zeros((3, 3), bool))
    want = [-1 - 1, -1 - 3, -1 - 7, -1 - 5, -ROOT2 - 0, -ROOT2 - 6, -ROOT2 - 8, -ROOT2 - 2]
    np.testing.assert_allclose(action_values(grid, value)[1, 1], want, rtol=1e-6)
    unit = grid.replace(costs="unit")
    np.testing.assert_allclose(action_values(unit, value)[1, 1, SE], -9)


def test_border_walls_and_corner_rule():
    free = jnp.array([[1, 1, 1], [0, 1, 1], [1, 1, 1]]) > 0
    strict = GridMDP.from_free(free, goal=(2, 2))
    cutting = GridMDP.from_free(free, goal=(2, 2), corner_cutting=True)
    # From the middle, W is a wall; NW and SW pass its corner.
    for grid, diagonals in ((strict, 0), (cutting, 1)):
        is_open = grid.open_moves()[1, 1]
        np.testing.assert_array_equal(is_open, [1, 0, 1, 1, diagonals, diagonals, 1, 1])
    assert not strict.open_moves()[1, 0].any()  # nothing leaves a wall
    np.testing.assert_array_equal(strict.open_moves()[0, 0], [0, 0, 0, 1, 0, 0, 0, 0])


def test_leaving_a_cell_costs_its_cost():
    cost = jnp.array([[1.0, 5.0, 2.0]])
    grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), cell_cost=cost)
    np.testing.assert_allclose(value_iteration(grid).value, [[0, -5, -7]], rtol=1e-6)


def test_goal_forms_agree():
    free = jnp.ones((3, 4), bool)
    want = np.zeros((3, 4), bool)
    want[1, 2] = True
    forms = [(1, 2), [1, 2], np.array([1, 2]), jnp.array([1, 2]), jnp.array([[1, 2]]), want]
    for goal in forms:
        np.testing.assert_array_equal(GridMDP.from_free(free, goal).goal, want)
    two = GridMDP.from_free(free, [(0, 0), (1, 2)])
    assert np.argwhere(two.goal).tolist() == [[0, 0], [1, 2]]
    traced = jax.jit(lambda goal: GridMDP.from_free(free, goal).goal)
    np.testing.assert_array_equal(traced(jnp.array([1, 2])), want)


def test_traced_goal_off_the_map_does_not_wrap():
    solve = jax.jit(lambda goal: value_iteration(GridMDP.from_free(jnp.ones((2, 2), bool), goal)))
    for goal in ((-1, 0), (0, 2)):
        solution = solve(jnp.array(goal))
        assert np.isneginf(solution.value).all()
        assert solution.status != 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((jnp.ones((2, 2)), (0, 0)), {}, "free: got dtype float32, expected bool"),
        ((jnp.ones(3, bool), (0, 0)), {}, r"free: got shape \(3,\), expected \[H, W\]"),
        ((jnp.ones((0, 3), bool), jnp.ones((0, 3), bool)), {}, "at least one cell"),
        ((jnp.ones((2, 2), bool), (0, 2)), {}, "the row comes first"),
        ((jnp.ones((2, 2), bool), (-1, 0)), {}, "the row comes first"),
        ((jnp.ones((2, 2), bool), (0.0, 1.0)), {}, "goal: got shape .* float"),
        ((jnp.ones((2, 2), bool), jnp.ones((2, 3), bool)), {}, r"goal: got shape \(2, 3\)"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"moves": 5}, "moves: got 5"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"moves": 6}, r"expected \[D, H, W\].* for 6 moves"),
        ((jnp.ones((2, 2, 2), bool), (0, 0, 0)), {}, r"expected \[H, W\].* for 8 moves"),
        ((jnp.ones((2, 2, 2), bool), (0, 0)), {"moves": 6}, r"expected integers \(z, y, x\)"),
        ((jnp.ones((2, 2, 2), bool), (0, 2, 0)), {"moves": 6}, r"\(z, y, x\) from 0 on"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"costs": "l2"}, "costs: got 'l2'"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"discount": 1.1}, "discount: got 1.1"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"discount": jnp.ones(2)}, "discount: got shape"),
        ((jnp.ones((2, 2), bool), (0, 0)), {"cell_cost": jnp.ones(2)}, r"cell_cost: got shape"),
    ],
)
def test_bad_grid(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        GridMDP.from_free(*arguments, **options)


def test_rotating_the_map_shifts_the_actions(random_map):
    free, goal = random_map(3, height=7, width=7)
    target = np.zeros(free.shape, bool)
    target[goal] = True
    turn = lambda field: jnp.rot90(jnp.asarray(field))
    solve = lambda free, target: (lambda grid: action_values(grid, value_iteration(grid).value))(
        GridMDP.from_free(free, target)
    )
    q, turned = solve(jnp.asarray(free), target), solve(turn(free), turn(target))
    # Counter-clockwise: what was N is W after the turn, and so on in both groups of four.
    shifted = jnp.concatenate([jnp.roll(q[..., :4], 1, -1), jnp.roll(q[..., 4:], 1, -1)], -1)
    np.testing.assert_array_equal(turned, turn(shifted))


def test_reachable_excludes_nan_and_minus_infinity():
    value = jnp.array([0.0, -3.0, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(reachable(value), [True, True, False, False])
