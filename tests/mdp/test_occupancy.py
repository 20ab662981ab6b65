import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.fixed_points import Implicit, Picard
from jplan.mdp import (
    GridMDP,
    evaluate_policy,
    greedy_policy,
    maxent_irl_loss,
    occupancy_measure,
    soft_policy,
    soft_value_iteration,
    value_iteration,
)

EXACT = Picard(tol=1e-13, max_steps=1000)
HOW = {"solver": EXACT, "adjoint": Implicit(backward=EXACT)}
INITIAL = jnp.array([0.5, 0.0, 0.25, 0.25, 0.0, 0.0])


def some_policy(seed=0):
    return jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(3), size=6))


def test_by_hand():
    # A corridor walked west: each cell once, weighted by the discount.
    grid = GridMDP.from_free(jnp.ones((1, 4), bool), (0, 0), moves=4, discount=0.5)
    start = jnp.array([[0.0, 0.0, 0.0, 1.0]])
    visits = occupancy_measure(grid, jnp.array([[-1, 1, 1, 1]]), start).value
    np.testing.assert_allclose(visits[..., 1], [[0, 0.25, 0.5, 1]])
    np.testing.assert_allclose(visits.sum(), 1.75)


def test_is_the_dense_linear_solve(random_mdp, x64):
    for terminal in (None, jnp.arange(6) == 0):
        mdp, policy = random_mdp(1, terminal=terminal), some_policy()
        going = np.ones(6) if terminal is None else 1.0 - np.asarray(terminal)
        rows = np.einsum("sa,san->sn", policy, mdp.transition) * going[:, None] * going
        states = np.linalg.solve(np.eye(6) - 0.9 * rows.T, INITIAL)
        got = occupancy_measure(mdp, policy, INITIAL, **HOW).value
        np.testing.assert_allclose(got, (states * going)[:, None] * policy, atol=1e-11)
        if terminal is None:
            np.testing.assert_allclose(got.sum(), 10, rtol=1e-10)


def test_return_is_occupancy_times_reward(random_mdp, x64):
    mdp, policy = random_mdp(2), some_policy(2)
    value = evaluate_policy(mdp, policy, **HOW).value
    visits = occupancy_measure(mdp, policy, INITIAL, **HOW).value
    np.testing.assert_allclose(INITIAL @ value, jnp.sum(visits * mdp.reward), rtol=1e-10)
    # ... and so it is the gradient of the return with respect to the reward.
    gradient = jax.grad(
        lambda r: INITIAL @ evaluate_policy(mdp.replace(reward=r), policy, **HOW).value
    )(mdp.reward)
    np.testing.assert_allclose(gradient, visits, atol=1e-10)


def test_gradient_of_the_occupancy(random_mdp, central_difference, x64):
    mdp, weights = random_mdp(3, discount=0.7), some_policy(4)
    loss = lambda p: jnp.sum(weights * occupancy_measure(mdp, p, INITIAL, **HOW).value)
    policy = some_policy(3)
    np.testing.assert_allclose(
        jax.grad(loss)(policy), central_difference(jax.jit(loss), policy), atol=1e-7
    )


def test_irl_gradient_is_model_minus_expert(random_mdp, central_difference, x64):
    mdp = random_mdp(4, terminal=jnp.arange(6) == 5)
    expert = occupancy_measure(mdp, some_policy(5), INITIAL, **HOW).value
    for temperature in (0.5, 1.0):
        how = {"temperature": temperature, **HOW}
        loss = lambda r, how=how: maxent_irl_loss(mdp.replace(reward=r), expert, INITIAL, **how)
        value = soft_value_iteration(mdp, **how).value
        policy = soft_policy(mdp, value, temperature=temperature)
        model = occupancy_measure(mdp, policy, INITIAL, **HOW).value
        gradient = jax.grad(loss)(mdp.reward)
        np.testing.assert_allclose(gradient, model - expert, atol=1e-10)
        difference = central_difference(jax.jit(loss), mdp.reward)
        np.testing.assert_allclose(gradient, difference, atol=1e-7)


def test_irl_loss_is_the_negative_log_likelihood(random_mdp, x64):
    mdp, temperature = random_mdp(6), 0.7
    expert = occupancy_measure(mdp, some_policy(6), INITIAL, **HOW).value
    loss = maxent_irl_loss(mdp, expert, INITIAL, temperature=temperature, **HOW)
    value = soft_value_iteration(mdp, temperature=temperature, **HOW).value
    policy = soft_policy(mdp, value, temperature=temperature)
    np.testing.assert_allclose(loss, -temperature * jnp.sum(expert * jnp.log(policy)), rtol=1e-9)


def test_irl_recovers_the_experts_behaviour(random_mdp, x64):
    mdp = random_mdp(8, discount=0.8)
    behave = lambda reward: soft_policy(
        (m := mdp.replace(reward=reward)),
        soft_value_iteration(m, temperature=1.0, **HOW).value,
        temperature=1.0,
    )
    expert = occupancy_measure(mdp, behave(mdp.reward), INITIAL + 0.1, **HOW).value
    step = jax.jit(
        jax.grad(lambda r: maxent_irl_loss(mdp.replace(reward=r), expert, INITIAL + 0.1, **HOW))
    )
    reward = jnp.zeros_like(mdp.reward)
    for _ in range(300):
        reward = reward - 0.5 * step(reward)
    np.testing.assert_allclose(behave(reward), behave(mdp.reward), atol=2e-2)


def test_irl_on_a_grid(central_difference, x64):
    free = jnp.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) > 0
    grid = GridMDP.from_free(free, (0, 0), discount=0.9, cell_cost=jnp.ones((3, 3)))
    start = jnp.zeros((3, 3)).at[2, 2].set(1.0)
    actions = greedy_policy(grid, value_iteration(grid).value)
    expert = occupancy_measure(grid, actions, start).value
    loss = lambda c: maxent_irl_loss(
        grid.replace(cell_cost=c), expert, start, temperature=0.3, **HOW
    )
    cost = grid.cell_cost + 0.1 * jnp.arange(9.0).reshape(3, 3)
    gradient = jax.grad(loss)(cost)
    np.testing.assert_allclose(gradient, central_difference(jax.jit(loss), cost), atol=1e-7)


def test_failures_are_visible(random_mdp):
    mdp = random_mdp(0, dtype=np.float32)
    expert = jnp.zeros((6, 3)).at[0, 1].set(1.0)
    unfinished = maxent_irl_loss(mdp, expert, INITIAL, solver=Picard(max_steps=2))
    assert np.isnan(unfinished)
    forbidden = mdp.replace(action_mask=jnp.ones((6, 3), bool).at[0, 1].set(False))
    assert np.isposinf(maxent_irl_loss(forbidden, expert, INITIAL))
    with pytest.raises(ValueError, match=r"demonstrations: got shape \(6,\)"):
        maxent_irl_loss(mdp, jnp.zeros(6), INITIAL)
    with pytest.raises(ValueError, match="value: got shape"):
        occupancy_measure(mdp, jnp.zeros(6, int), jnp.zeros(5))


def test_jit_vmap_and_dtype(random_mdp):
    mdp = random_mdp(0, dtype=np.float32)
    starts = jnp.eye(6)[:3]
    run = lambda start: occupancy_measure(mdp, jnp.zeros(6, int), start).value
    many = jax.jit(jax.vmap(run))(starts)
    assert many.dtype == jnp.float32
    for start, got in zip(starts, many, strict=True):
        np.testing.assert_allclose(run(start), got, rtol=1e-4, atol=1e-5)
