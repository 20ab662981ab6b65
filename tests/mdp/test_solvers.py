import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jplan.mdp._solvers as solvers
from jplan.fixed_points import GMRES, Anderson, Implicit, Picard, Status, Unroll
from jplan.mdp import (
    GridMDP,
    TabularMDP,
    evaluate_policy,
    greedy_policy,
    modified_policy_iteration,
    policy_iteration,
    soft_backup,
    soft_value_iteration,
    sparse_backup,
    sparse_value_iteration,
    value_iteration,
)

EXACT = Picard(tol=1e-13, max_steps=1000)
IMPLICIT = Implicit(backward=EXACT)
OPTIMAL = {
    "value": functools.partial(value_iteration, solver=EXACT, adjoint=IMPLICIT),
    "anderson": functools.partial(
        value_iteration,
        solver=Anderson(tol=1e-12, max_steps=1000),
        adjoint=Implicit(backward=GMRES(tol=1e-13)),
    ),
    "policy": functools.partial(policy_iteration, solver=EXACT),
    "modified": functools.partial(modified_policy_iteration, solver=EXACT),
}
EACH = pytest.mark.parametrize("name", OPTIMAL)


def linear_program(mdp):
    """Optimal value as the least V with V >= R + discount P V."""
    transition, reward = np.asarray(mdp.transition), np.asarray(mdp.reward)
    states = len(reward)
    rows = mdp.discount * transition - np.eye(states)[:, None, :]
    result = linprog(
        np.ones(states),
        A_ub=rows.reshape(-1, states),
        b_ub=-reward.reshape(-1),
        bounds=(None, None),
        options={"dual_feasibility_tolerance": 1e-10, "primal_feasibility_tolerance": 1e-10},
    )
    return result.x


@EACH
def test_by_hand(name, x64):
    mdp = TabularMDP(
        transition=jnp.array([[[1.0, 0], [0, 1]], [[0, 1], [0, 1]]]),
        reward=jnp.array([[1.0, 0.0], [3.0, 2.0]]),
        discount=0.5,
    )
    solution = OPTIMAL[name](mdp)
    np.testing.assert_allclose(solution.value, [3, 6], rtol=1e-9)
    assert solution.status == Status.CONVERGED


@EACH
def test_equals_the_linear_program(name, random_mdp, x64):
    for seed in range(3):
        mdp = random_mdp(seed)
        np.testing.assert_allclose(OPTIMAL[name](mdp).value, linear_program(mdp), rtol=1e-8)


UNROLLED = functools.partial(
    value_iteration, solver=Picard(tol=1e-14, max_steps=250), adjoint=Unroll()
)
FIELDS = ("reward", "transition", "discount")


@functools.cache
def loss_and_gradients(solve, random_mdp):
    """A weighted sum of values as a function of all fields, and its gradient."""
    mdp = random_mdp(5, discount=0.8)
    weights = jnp.asarray(np.random.default_rng(5).normal(size=6))
    fields = {field: jnp.asarray(getattr(mdp, field)) for field in FIELDS}
    run = jax.jit(jax.value_and_grad(lambda fields: weights @ solve(mdp.replace(**fields)).value))
    return (lambda fields: run(fields)[0]), fields, run(fields)[1]


@EACH
def test_gradients_are_unrolled_and_finite_differences(name, random_mdp, central_difference, x64):
    loss, fields, implicit = loss_and_gradients(OPTIMAL[name], random_mdp)
    _, _, unrolled = loss_and_gradients(UNROLLED, random_mdp)
    for field, at in fields.items():
        np.testing.assert_allclose(implicit[field], unrolled[field], rtol=1e-8, atol=1e-9)
        if name == "value":
            along = lambda x, field=field: loss(fields | {field: x})
            difference = central_difference(along, at, 1e-5)
            np.testing.assert_allclose(implicit[field], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("solve", "backup"),
    [(soft_value_iteration, soft_backup), (sparse_value_iteration, sparse_backup)],
)
def test_smooth_solvers(solve, backup, random_mdp, central_difference, x64):
    mdp = random_mdp(2, discount=0.8)
    run = jax.jit(
        lambda reward, temperature: (
            solve(
                mdp.replace(reward=reward), temperature=temperature, solver=EXACT, adjoint=IMPLICIT
            ).value
        )
    )
    slope = jax.jit(jax.grad(lambda reward, t: run(reward, t)[0], argnums=(0, 1)))
    value = run(mdp.reward, 0.5)
    np.testing.assert_allclose(backup(mdp, value, temperature=0.5), value, rtol=1e-11)
    cold = run(mdp.reward, 1e-4)
    np.testing.assert_allclose(cold, OPTIMAL["value"](mdp).value, atol=1e-2)
    assert (value > cold).all()
    gradient, by_temperature = slope(mdp.reward, 0.5)
    difference = central_difference(lambda r: run(r, 0.5)[0], mdp.reward)
    np.testing.assert_allclose(gradient, difference, atol=1e-7)
    step = (run(mdp.reward, 0.5 + 1e-6) - run(mdp.reward, 0.5 - 1e-6))[0] / 2e-6
    np.testing.assert_allclose(by_temperature, step, rtol=1e-6)


def test_soft_hessian_by_reverse_over_reverse(random_mdp, x64):
    mdp = random_mdp(2, states=3, actions=2, discount=0.6)
    run = lambda r: soft_value_iteration(
        mdp.replace(reward=r), temperature=0.5, solver=EXACT, adjoint=IMPLICIT
    ).value[0]
    hessian = jax.jit(jax.jacrev(jax.grad(run)))(mdp.reward)
    step, slope = 1e-5, jax.jit(jax.grad(run))
    for index in np.ndindex(3, 2):
        shift = jnp.zeros((3, 2)).at[index].set(step)
        column = (slope(mdp.reward + shift) - slope(mdp.reward - shift)) / (2 * step)
        np.testing.assert_allclose(hessian[(slice(None), slice(None), *index)], column, atol=1e-7)


def test_evaluation_is_the_dense_linear_solve(random_mdp, x64):
    mdp = random_mdp(4, terminal=jnp.arange(6) == 5)
    policy = np.random.default_rng(4).dirichlet(np.ones(3), size=6)
    going = np.arange(6) < 5
    transition = np.einsum("sa,san->sn", policy, mdp.transition) * going[:, None] * going
    reward = np.einsum("sa,sa->s", policy, mdp.reward) * going
    want = np.linalg.solve(np.eye(6) - 0.9 * transition, reward)
    got = evaluate_policy(mdp, jnp.asarray(policy), solver=EXACT).value
    np.testing.assert_allclose(got, want, rtol=1e-10)
    gradient = jax.grad(lambda p: evaluate_policy(mdp, p, solver=EXACT, adjoint=IMPLICIT).value[0])(
        jnp.asarray(policy)
    )
    # Policy gradient theorem: visits times action values.
    visits = np.linalg.solve(np.eye(6) - 0.9 * transition.T, np.eye(6)[0]) * going
    q = np.asarray(mdp.reward) + 0.9 * np.asarray(mdp.transition)[..., :5] @ want[:5]
    np.testing.assert_allclose(gradient, visits[:, None] * q, atol=1e-10)


def test_greedy_policy_of_the_optimal_value_attains_it(random_mdp, x64):
    mdp = random_mdp(6)
    value = policy_iteration(mdp, solver=EXACT).value
    attained = evaluate_policy(mdp, greedy_policy(mdp, value), solver=EXACT).value
    np.testing.assert_allclose(attained, value, rtol=1e-10)


def test_policy_iteration_needs_few_policies_at_a_long_horizon(random_mdp, x64):
    mdp = random_mdp(7, states=20, discount=0.999)
    by_policies = policy_iteration(mdp)
    assert by_policies.num_steps < 15
    value = value_iteration(mdp, solver=Picard(tol=1e-13, max_steps=40_000)).value
    np.testing.assert_allclose(by_policies.value, value, rtol=1e-8)


@pytest.mark.parametrize("solve", [policy_iteration, modified_policy_iteration])
def test_masked_tables(solve):
    mdp = TabularMDP(
        transition=jnp.array([[[0, 1, 0.0]] * 2, [[0, 1, 0.0]] * 2, [[0, 0, 1], [0, 0.5, 0.5]]]),
        reward=jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 50.0]]),
        discount=0.5,
        action_mask=jnp.array([[1, 0], [0, 0], [1, 1]]) > 0,
    )
    np.testing.assert_allclose(solve(mdp).value, [-np.inf, -np.inf, 2], rtol=1e-4)


def test_policies_on_grids():
    grid = GridMDP.from_free(jnp.array([[1, 1, 1, 0, 1]]) > 0, (0, 0), moves=4)
    # W, W: arrives. E then W: a circle. A wall and a cell behind it.
    assert evaluate_policy(grid, jnp.array([[-1, 1, 1, -1, -1]])).value.tolist() == [
        [0, -1, -2, -np.inf, -np.inf]
    ]
    circle = evaluate_policy(grid, jnp.array([[-1, 3, 1, -1, 1]])).value
    assert circle.tolist() == [[0] + [-np.inf] * 4]
    # A random walk between a mirror and the goal: V1 = -1 + V2 / 2, V2 = -1 + V1.
    walk = jnp.zeros((1, 5, 4)).at[0, 1, jnp.array([1, 3])].set(0.5).at[0, 2, 1].set(1.0)
    walked = evaluate_policy(grid, walk)
    np.testing.assert_allclose(walked.value[0, :3], [0, -3, -4], rtol=1e-4)
    assert walked.status == Status.CONVERGED


def test_soft_values_on_a_grid_keep_walls_apart():
    free = jnp.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]]) > 0
    grid = GridMDP.from_free(free, (0, 0))
    solution = soft_value_iteration(grid, temperature=0.1)
    assert solution.status == Status.CONVERGED
    np.testing.assert_array_equal(jnp.isneginf(solution.value), [[0] * 3, [1] * 3, [1] * 3])
    gradient = jax.grad(
        lambda c: soft_value_iteration(grid.replace(cell_cost=c), temperature=0.1).value[0, 2]
    )(jnp.ones((3, 3)))
    assert np.isfinite(gradient).all()
    assert gradient[0, 2] < -0.9
    grid = GridMDP.from_free(jnp.ones((3, 3), bool), (0, 0))
    hot = soft_value_iteration(grid, temperature=5.0, solver=Picard(max_steps=200))
    assert hot.status != Status.CONVERGED  # no soft value exists there


def test_bad_arguments(random_mdp):
    grid = GridMDP.from_free(jnp.ones((2, 2), bool), (0, 0))
    for solve in (policy_iteration, modified_policy_iteration):
        with pytest.raises(ValueError, match="mdp: got GridMDP, expected TabularMDP"):
            solve(grid)
    with pytest.raises(ValueError, match="evaluation_steps: got -1"):
        modified_policy_iteration(random_mdp(0, dtype=np.float32), evaluation_steps=-1)
    with pytest.raises(ValueError, match="temperature: got -1"):
        soft_value_iteration(grid, temperature=-1)


def test_nan_in_the_reward_is_visible(random_mdp):
    mdp = random_mdp(0, dtype=np.float32)
    solution = value_iteration(mdp.replace(reward=mdp.reward.at[0, 0].set(jnp.nan)))
    assert solution.status == Status.DIVERGED


@pytest.mark.parametrize(
    "solve",
    [value_iteration, policy_iteration, modified_policy_iteration],
    ids=lambda f: f.__name__,
)
def test_jit_vmap_and_one_trace(solve, random_mdp, monkeypatch):
    mdps = [random_mdp(seed, states=7, dtype=np.float32) for seed in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *mdps)
    calls, inner = [], solvers.prune
    monkeypatch.setattr(solvers, "prune", lambda mdp: calls.append(1) or inner(mdp))
    loop = [solve(mdp) for mdp in mdps]
    assert len(calls) == 1
    many = jax.jit(jax.vmap(solve))(batch)
    for index, one in enumerate(loop):
        np.testing.assert_allclose(one.value, many.value[index], rtol=1e-4)
        assert one.value.dtype == jnp.float32


@pytest.mark.parametrize("num_actions", [2, 40])
@pytest.mark.parametrize(
    "solve",
    [value_iteration, policy_iteration, modified_policy_iteration],
    ids=lambda f: f.__name__,
)
def test_nan_in_one_entry_is_a_status_for_any_number_of_actions(solve, num_actions):
    """XLA's maximum over 16 or more actions drops NaN on CPU."""
    transition = np.full((3, num_actions, 3), 1 / 3, np.float32)
    reward = np.zeros((3, num_actions), np.float32)
    reward[1, 1] = np.nan
    mdp = TabularMDP(transition=jnp.asarray(transition), reward=jnp.asarray(reward), discount=0.9)
    assert solve(mdp).status == Status.DIVERGED
