import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import mdp
from jplan.nn import (
    FLOOR,
    MaxPlusCell,
    MaxPlusInputs,
    MaxPlusReadout,
    MoveCostMapper,
    MoveCosts,
    solve_cell,
)

TAPS = {"N": 1, "W": 3, "S": 7, "E": 5}  # in the row-major 3x3 kernel


def taught_cell(*, hard, sharp=50.0):
    """A cell whose kernel has been set to the four moves of a grid."""
    cell = MaxPlusCell.create(4, kernel_size=3, hard=hard, rngs=nnx.Rngs(0))
    logits = np.zeros((4, 9))
    logits[range(4), list(TAPS.values())] = sharp
    cell.kernel[...] = jnp.asarray(logits).reshape(4, 3, 3)
    return cell


def walls_and_goal(seed=0, size=7):
    rng = np.random.default_rng(seed)
    free = rng.random((size, size)) > 0.3
    goal = np.zeros((size, size), bool)
    free[3, 3] = goal[3, 3] = True
    return jnp.asarray(free), jnp.asarray(goal)


def closed_moves(free):
    padded = np.pad(np.asarray(free), 1)
    shifts = [padded[:-2, 1:-1], padded[1:-1, :-2], padded[2:, 1:-1], padded[1:-1, 2:]]
    return jnp.asarray(~np.stack([shift & np.asarray(free) for shift in shifts]))


@functools.partial(jax.jit, static_argnames="graphdef")
def run(state, costs, goal, *, graphdef):
    cell = nnx.merge(graphdef, state)
    inputs = cell.prepare(costs, goal) if isinstance(costs, MoveCosts) else costs
    batch = jax.tree.map(lambda x: x[None], inputs)
    solver = jp.Picard(max_steps=200)
    solution = solve_cell(
        cell, batch, cell.start(inputs)[None], solver=solver, adjoint=jp.Implicit()
    )
    return jax.tree.map(lambda x: x[0], solution)


def solve(cell, costs, goal=None):
    """Of the costs and the goal, or of both as the cell prepares them."""
    graphdef, state = nnx.split(cell)
    return run(state, costs, goal, graphdef=graphdef)


@pytest.mark.parametrize("seed", range(3))
def test_a_hard_cell_that_knows_its_moves_finds_shortest_paths(seed, x64):
    free, goal = walls_and_goal(seed)
    surcharge = jnp.where(closed_moves(free), 5.0, 0.5)
    costs = MoveCosts(surcharge=surcharge, scale=jnp.ones_like(surcharge))
    cell = taught_cell(hard=True)
    solution = solve(cell, costs, goal)
    exact = mdp.value_iteration(mdp.GridMDP.from_free(free, goal=goal, moves=4)).value
    assert solution.status == jp.Status.CONVERGED
    np.testing.assert_array_equal(solution.value, jnp.where(jnp.isfinite(exact), exact, FLOOR))


def test_a_sharp_soft_cell_approaches_the_hard_one(x64):
    free, goal = walls_and_goal()
    surcharge = jnp.where(closed_moves(free), 30.0, 0.0)
    costs = MoveCosts(surcharge=surcharge, scale=jnp.ones_like(surcharge))
    soft, hard = (taught_cell(hard=h) for h in (False, True))
    values = [solve(cell, costs, goal).value for cell in (soft, hard)]
    near = np.asarray(values[1]) > -20
    assert near.sum() > 10
    np.testing.assert_allclose(values[0][near], values[1][near], atol=1e-6)


def test_a_kernel_that_has_made_up_its_mind_has_finite_gradients():
    cell = taught_cell(hard=False)
    free, goal = walls_and_goal()
    surcharge = jnp.where(closed_moves(free), 30.0, 0.0).astype(jnp.float32)
    graphdef, state = nnx.split(cell)

    def loss(state, surcharge):
        cell = nnx.merge(graphdef, state)
        inputs = cell.prepare(MoveCosts(surcharge=surcharge, scale=surcharge), goal)
        value = cell.start(inputs)
        for _ in range(3):
            value = cell(value, inputs)
        return jnp.where(value > FLOOR / 2, value, 0).sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(state, surcharge)
    assert all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(gradients))
    assert float(np.abs(gradients[1]).max()) > 0


def test_soft_step_by_hand(x64):
    """Two neighbours of equal weight: the log of their mean, minus the cost."""
    cell = taught_cell(hard=False)
    logits = np.full((4, 9), -1e3)
    logits[:, 3] = logits[:, 5] = 0
    cell.kernel[...] = jnp.asarray(logits).reshape(4, 3, 3)
    inputs = MaxPlusInputs(cost=2.0 * jnp.ones((4, 1, 3)), goal=jnp.asarray([[True, False, False]]))
    value = cell(jnp.asarray([[0.0, -7.0, -3.0]]), inputs)
    expected = [0, np.log((1 + np.exp(-3)) / 2) - 2, -7 - np.log(2) - 2]
    np.testing.assert_allclose(value[0], expected)


@pytest.mark.parametrize("hard", [False, True])
def test_the_step_is_monotone_and_never_below_the_floor(hard):
    rng = np.random.default_rng(0)
    cell = MaxPlusCell.create(4, kernel_size=3, hard=hard, rngs=nnx.Rngs(0))
    cost = jnp.asarray(rng.uniform(1, 4, (4, 6, 5)), jnp.float32)
    goal = jnp.zeros((6, 5), bool).at[0, 0].set(True)
    inputs = MaxPlusInputs(cost=cost, goal=goal)
    low = jnp.asarray(-rng.uniform(0, 50, (6, 5)), jnp.float32)
    high = low + jnp.asarray(rng.uniform(0, 5, (6, 5)), jnp.float32)
    assert bool(jnp.all(cell(low, inputs) <= cell(high, inputs)))
    floor = jnp.full((6, 5), FLOOR)
    assert bool(jnp.all(cell(floor, inputs) >= FLOOR))
    assert bool(jnp.all(jnp.isfinite(jax.grad(lambda v: cell(v, inputs).sum())(floor))))


def test_without_a_goal_everything_is_at_the_floor_and_has_no_opinion():
    cell = MaxPlusCell.create(4, kernel_size=3, rngs=nnx.Rngs(0))
    inputs = MaxPlusInputs(cost=jnp.ones((4, 5, 5)), goal=jnp.zeros((5, 5), bool))
    solution = solve(cell, inputs)
    assert solution.status == jp.Status.CONVERGED
    assert bool(jnp.all(solution.value == FLOOR))
    logits = MaxPlusReadout()(cell.action_values(solution.value, inputs))
    np.testing.assert_array_equal(logits, 0)


def test_hardening_stops_the_gradient_to_gate_and_kernel_only():
    cell = taught_cell(hard=True)
    mapper = MoveCostMapper(2, 4, hidden=8, kernel_size=3, rngs=nnx.Rngs(1))
    inputs = jnp.asarray(np.random.default_rng(0).random((6, 6, 2)), jnp.float32)
    goal = jnp.zeros((6, 6), bool).at[2, 2].set(True)

    def loss(parts):
        cell, mapper = parts
        prepared = cell.prepare(mapper(inputs), goal)
        value = cell.start(prepared)
        for _ in range(3):
            value = cell(value, prepared)
        return jnp.where(value > FLOOR / 2, value, 0).sum()

    gradient = nnx.jit(nnx.grad(loss))((cell, mapper))
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    moving = {jax.tree_util.keystr(path) for path, leaf in leaves if float(jnp.abs(leaf).max()) > 0}
    assert moving
    assert all("scale" in name for name in moving)


def test_readout_is_bounded_and_ranks_by_value():
    q = jnp.asarray([[-1.0, -2.0, -1e7], [-3.0, -2.0, -4.0]]).reshape(2, 1, 3)
    logits = MaxPlusReadout()(q)
    np.testing.assert_allclose(logits[0], [[0, -2], [0, 0], [-20, 0]])


def test_even_kernel_gets_advice():
    with pytest.raises(ValueError, match="odd"):
        MaxPlusCell.create(4, kernel_size=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="odd"):
        MoveCostMapper(2, 4, hidden=3, kernel_size=2, rngs=nnx.Rngs(0))
