"""Lifted planning: the Riccati optimum, and a horizon over which shooting fails."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jplan.descent import Box, Simplex, rollout
from jplan.planners import PlanStatus, gradient_plan, lifted_plan

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.5]])
WIDE = Box(-9 * jnp.ones(1), 9 * jnp.ones(1))


def cart(params, state, action):
    """A point mass; the state in two parts."""
    del params
    both = jnp.asarray(A, jnp.float32) @ jnp.stack(state) + jnp.asarray(B, jnp.float32) @ action
    return tuple(both), -(both @ both + 0.1 * action @ action), 1.0


def test_a_growing_penalty_leads_to_the_riccati_optimum(key):
    p, start = np.zeros((2, 2)), (jnp.float32(1.0), jnp.float32(0.0))
    for _ in range(6):
        m = np.eye(2) + p
        p = A.T @ m @ (A - B @ np.linalg.solve(0.1 * np.eye(1) + B.T @ m @ B, B.T @ m @ A))
    run = lambda key: lifted_plan(
        *(cart, None, start, key),
        horizon=6,
        action_space=WIDE,
        candidates=2,
        num_steps=300,
        penalties=(1.0, 10.0, 100.0, 1000.0),
    )
    plans = jax.jit(jax.vmap(run))(jax.random.split(key))
    np.testing.assert_allclose(plans.hard_return, -p[0, 0], rtol=1e-3)
    one = jax.tree.map(lambda leaf: leaf[1], plans)
    out = rollout(cart, None, start, one.actions)
    np.testing.assert_allclose(one.rollout.states, out.states, atol=1e-5)
    np.testing.assert_allclose(one.hard_return, out.total, rtol=1e-5)
    assert one.returns.shape == (2, 4 * 301)
    assert one.status == PlanStatus.FINE


def test_an_unstable_world_is_held_where_shooting_cannot(key):
    grow = lambda params, x, u: (1.5 * x + u, -jnp.sum((1.5 * x + u) ** 2), 1.0)
    box = Box(-2 * jnp.ones(1), 2 * jnp.ones(1))
    options = {"horizon": 20, "action_space": box, "candidates": 4}

    def both(key):
        problem = grow, None, jnp.ones(1), key
        lifted = lifted_plan(*problem, num_steps=100, **options)
        return lifted.hard_return, gradient_plan(*problem, num_steps=300, **options).hard_return

    lifted, shot = jax.jit(both)(key)
    assert lifted > -1
    assert shot < -5


@pytest.mark.parametrize(("stop", "expected"), [(False, -1.04), (True, -1.36)])
def test_one_step_computed_by_hand(stop, expected, key):
    """Defects s1 - 2 - u1 and s2 - 2 s1 - u2, both -1 at first; the slope of s1 is 2 or -2."""
    double = lambda params, x, u: (2 * x + u[0], 0.0 * x, 1.0)
    plan = lifted_plan(
        *(double, None, jnp.float32(1.0), key),
        horizon=2,
        action_space=WIDE,
        candidates=1,
        num_steps=1,
        penalties=(1.0,),
        optimizer=optax.sgd(0.1),
        initial=jnp.zeros((1, 2, 1)),
        stop_state_gradients=stop,
    )
    np.testing.assert_allclose(plan.returns, [[-2, expected]], rtol=1e-5)
    np.testing.assert_allclose(plan.latent, -0.2 * np.ones((2, 1)), rtol=1e-5)


def test_discrete_actions(key):
    climb = lambda gain, x, a: (x + gain * (a[1] - a[0]), -((x - 2) ** 2), 1.0)
    run = functools.partial(lifted_plan, horizon=4, action_space=Simplex(2), candidates=4)
    plan = jax.jit(functools.partial(run, climb))(1.0, jnp.float32(0.0), key)
    np.testing.assert_array_equal(plan.actions.argmax(-1)[:2], 1)
    assert plan.hard_return == -4 - 1 - 0 - 1


def test_what_comes_after_an_end_does_not_count(key):
    def reach(after, x, u):
        has_ended, reached = x >= 0.5, x + u[0]
        reward = jnp.where(has_ended, after, -((reached - 1) ** 2))
        return jnp.where(has_ended, after, reached), reward, jnp.where(reached < 0.5, 1.0, 0.0)

    run = lambda after: lifted_plan(
        *(reach, after, jnp.float32(0.0), key), horizon=4, action_space=WIDE, candidates=3
    )
    run = jax.jit(run)
    finite, lost = run(0.0), run(jnp.nan)
    np.testing.assert_allclose(lost.returns, finite.returns, rtol=1e-6)
    np.testing.assert_allclose(lost.actions[0], 1.0, atol=0.05)  # there at once
    assert np.isfinite(lost.actions).all()
    assert lost.status == PlanStatus.FINE


def test_a_world_where_nothing_moves_or_pays_is_told(key):
    still = lambda gain, x, u: (x, jnp.where(x > 1, 1.0, 0.0) + gain * jnp.sum(u), 1.0)
    run = functools.partial(lifted_plan, still, horizon=2, action_space=WIDE, num_steps=2)
    status = lambda gain: run(gain, jnp.float32(0.0), key).status
    assert status(0.0) == PlanStatus.FLAT_START
    assert status(1.0) == PlanStatus.FINE
    late = run(1.0, jnp.float32(0.0), key, penalties=(0.0, 1.0))
    assert late.status == PlanStatus.FINE


def test_mistakes_get_advice(key):
    run = functools.partial(lifted_plan, cart, None)
    start = jnp.float32(1.0), jnp.float32(0.0)
    with pytest.raises(ValueError, match="horizon is 0"):
        run(start, key, horizon=0, action_space=WIDE)
    with pytest.raises(ValueError, match="the action space decides"):
        run(start, key, horizon=2, action_space=Simplex(3))
    with pytest.raises(ValueError, match="with M up to 20"):
        run(start, key, horizon=2, action_space=WIDE, initial=jnp.zeros((21, 2, 1)))
    with pytest.raises(ValueError, match="a number for each round"):
        run(start, key, horizon=2, action_space=WIDE, penalties=())
    count = lambda params, x, u: (x + 1, jnp.sum(u), 1.0)
    with pytest.raises(ValueError, match="expected floats"):
        lifted_plan(count, None, jnp.int32(0), key, horizon=2, action_space=WIDE)
