"""The controller that plans anew: against open loop, and against what it could have known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan import planners
from jplan.descent import Box, rollout
from jplan.planners import PlanStatus, receding_horizon

BOX = Box(-2 * jnp.ones(1), 2 * jnp.ones(1))
HORIZON = 6
START = jnp.array([1.0, 0.0])
A, B = jnp.array([[1.0, 0.5], [0.0, 1.0]]), jnp.array([[0.0], [0.5]])


def cart(params, state, action):
    """A point mass: position and speed, quadratic costs."""
    del params
    following = A @ state + B @ action
    return following, -(following @ following + 0.1 * action @ action), 0.9


def windy(gust, state, action):
    """The cart with a clock, hit by a gust at the second step."""
    place, clock = state
    following, reward, discount = cart(None, place, action)
    return (following + jnp.where(clock == 1, gust, 0), clock + 1), reward, discount


def plan(params, state, key, latent, num_steps=50):
    """Descent from the given latent only."""
    return planners.gradient_plan(
        *(cart, params, state, key),
        horizon=len(latent),
        action_space=BOX,
        candidates=1,
        initial=latent[None],
        num_steps=num_steps,
    )


def episode(world, world_params, state, key, **options):
    options = {"initial": jnp.zeros((HORIZON, 1)), "num_steps": HORIZON} | options
    return receding_horizon(plan, None, world, world_params, state, key, **options)


def test_one_plan_for_the_whole_episode_is_open_loop(key):
    got = episode(cart, None, START, key, replan_every=HORIZON)
    open_loop = jax.jit(plan)(None, START, key, jnp.zeros((HORIZON, 1)))
    np.testing.assert_allclose(got.actions, open_loop.actions, atol=1e-6)
    np.testing.assert_allclose(got.rollout.states, open_loop.rollout.states, atol=1e-6)
    np.testing.assert_allclose(got.rollout.total, open_loop.hard_return, rtol=1e-6)
    assert got.status.tolist() == [PlanStatus.FINE]


def test_what_follows_an_end_need_not_be_finite(key):
    def crash(_, state, action):
        following, reward, discount = cart(None, state, action)
        is_over = following[0] < 0.9
        discount = jnp.where(is_over, 0.0, discount + 0 * following[0])
        return jnp.where(is_over, jnp.nan, following), reward, discount

    got = episode(crash, None, START, key)
    end = int(np.argmax(got.rollout.discounts == 0))
    assert not np.isfinite(got.rollout.discounts[end + 1])
    assert not np.isfinite(got.rollout.rewards[end + 1]), "the world should be lost behind the end"
    weights = 0.9 ** np.arange(end + 1)
    np.testing.assert_allclose(
        got.rollout.total, weights @ got.rollout.rewards[: end + 1], rtol=1e-5
    )


def test_planning_anew_recovers_from_what_no_plan_foresaw(key):
    run = functools.partial(
        *(episode, windy, jnp.array([1.0, 0.0]), (START, 0), key),
        num_steps=12,
        initial=jnp.zeros((12, 1)),
        observe_fn=lambda state: state[0],
    )
    closed, open_loop = run(replan_every=1), run(replan_every=12)
    np.testing.assert_allclose(
        closed.rollout.states[0][:2], open_loop.rollout.states[0][:2], atol=1e-4
    )
    ends = [jnp.linalg.norm(out.rollout.states[0][-1]) for out in (closed, open_loop)]
    assert ends[0] < 0.1
    assert ends[1] > 0.8
    assert closed.rollout.total > open_loop.rollout.total + 1
    assert closed.status.shape == (12,)
    # The world's own account of the actions agrees.
    again = rollout(windy, jnp.array([1.0, 0.0]), (START, 0), closed.actions)
    np.testing.assert_allclose(closed.rollout.total, again.total, rtol=1e-6)
    np.testing.assert_array_equal(closed.rollout.states[1], again.states[1])


def test_the_planner_is_warm_and_its_keys_are_fresh(key):
    blank = plan(None, START, key, jnp.zeros((3, 1)), num_steps=0)

    def run(act, **options):
        told = lambda _, state, key, latent: blank.replace(
            latent=latent + 10, actions=act(key, latent)
        )
        start = {"initial": jnp.arange(3.0)[:, None], "num_steps": 4}
        return receding_horizon(told, None, cart, None, START, key, **start, **options).actions

    warm = run(lambda _, latent: latent, replan_every=2)
    np.testing.assert_array_equal(warm[:, 0], [0, 1, 12, 12])
    assert len(jnp.unique(run(lambda key, _: jax.random.uniform(key, (3, 1))))) == 4


def test_vmap_equals_loop(key):
    starts, keys = jnp.stack([START, -2 * START]), jax.random.split(key, 2)
    run = lambda start, key: episode(cart, None, start, key, replan_every=3)
    many = jax.vmap(run)(starts, keys)
    one = run(starts[1], keys[1])
    np.testing.assert_allclose(many.rollout.total[1], one.rollout.total, rtol=1e-5)
    np.testing.assert_allclose(many.actions[1], one.actions, atol=1e-5)


def test_mistakes_get_advice(key):
    with pytest.raises(ValueError, match="at most 6"):
        episode(cart, None, START, key, num_steps=7, replan_every=7)
    with pytest.raises(ValueError, match="a divisor of num_steps, which is 6"):
        episode(cart, None, START, key, replan_every=4)
    with pytest.raises(ValueError, match="num_steps is 0"):
        episode(cart, None, START, key, num_steps=0)
