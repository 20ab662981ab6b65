"""The plan of a policy: step by step the same, and a start for descent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import Box, Product, Simplex
from jplan.planners import PlanStatus, gradient_plan, policy_plan

SPACE = Product({"gear": Simplex(3), "push": Box(-jnp.ones(1), jnp.ones(1))})


def drive(cost, place, action):
    """Gears go 0, 1 and 2 pushes far; the goal is at 3, and what is beyond it is unknown."""
    far = action["gear"] @ jnp.arange(3.0) * action["push"][0]
    following = jnp.where(place >= 3, jnp.nan, place + far)
    return following, -cost * far**2 + (following >= 3), jnp.where(following >= 3, 0, 0.9)


def ahead(gain, place):
    """In the middle gear towards the goal, too hard by far at first."""
    return {"gear": jnp.array([0.0, 2.0, 1.0]), "push": gain * (3 - place)[None]}


COST, GAIN, START = jnp.float32(0.1), jnp.float32(0.8), jnp.float32(0.0)
OPTIONS = {"horizon": 6, "action_space": SPACE}
FOLLOW = jax.jit(lambda gain, place: policy_plan(drive, COST, ahead, gain, place, **OPTIONS))


def test_a_policy_is_followed_step_by_step():
    plan, place, total = FOLLOW(GAIN, START), 0.0, 0.0
    for t in range(6):
        push = min(0.8 * (3 - place), 1.0)
        np.testing.assert_allclose(plan.latent["push"][t], 0.8 * (3 - place), rtol=1e-4)
        np.testing.assert_allclose(plan.actions["push"][t], push, rtol=1e-4)
        place += push
        total -= 0.9**t * 0.1 * push**2
    np.testing.assert_array_equal(plan.actions["gear"].argmax(-1), 1)
    np.testing.assert_allclose(plan.rollout.states[-1], place, rtol=1e-6)
    np.testing.assert_allclose(plan.hard_return, total, rtol=1e-5)
    assert plan.hard_return == plan.soft_return == plan.returns
    assert plan.returns.shape == (1, 1)
    assert plan.status == PlanStatus.FINE


def test_what_comes_after_an_end_is_not_asked_for():
    plan = FOLLOW(jnp.float32(2.0), START)
    np.testing.assert_array_equal(plan.actions["push"][:3, 0], 1)
    np.testing.assert_allclose(plan.hard_return, 0.81 - 0.1 * (1 + 0.9 + 0.81), rtol=1e-5)
    assert np.isfinite(plan.latent["push"]).all()


@pytest.mark.parametrize("gain", [0.5, 0.8, 2.0])
def test_descent_from_it_is_no_worse(gain, key):
    start = FOLLOW(jnp.float32(gain), START)
    initial = jax.tree.map(lambda leaf: leaf[None], start.latent)
    descend = functools.partial(gradient_plan, drive, COST, START, key, candidates=1, **OPTIONS)
    plan = jax.jit(lambda initial: descend(initial=initial))(initial)
    assert plan.hard_return >= start.hard_return - 1e-6
    # With a gain of 2 the policy is at the goal at once, and descent alone would go astray.
    assert (plan.hard_return > start.hard_return + 0.01) == (gain < 1)


def test_vmap_equals_loop():
    places = jnp.array([0.0, 1.0, 2.5])
    many = jax.vmap(FOLLOW, (None, 0))(GAIN, places)
    for i, place in enumerate(places):
        one = FOLLOW(GAIN, place)
        np.testing.assert_allclose(many.hard_return[i], one.hard_return, rtol=1e-6)
        np.testing.assert_allclose(many.latent["push"][i], one.latent["push"], rtol=1e-6)


def test_double_precision(x64):
    walk = lambda _, place, step: (place + step[1] - step[0], -(place**2), 0.9)
    home = lambda gain, place: gain * jnp.stack([place, -place])
    plan = policy_plan(
        *(walk, None, home, 0.5, jnp.float64(2.0)), horizon=3, action_space=Simplex(2)
    )
    np.testing.assert_allclose(plan.hard_return, -4 - 0.9, rtol=1e-15)
    assert plan.latent.dtype == jnp.float64


def test_mistakes_get_advice():
    plan = functools.partial(policy_plan, drive, COST, ahead, GAIN, START)
    with pytest.raises(ValueError, match="horizon is 0"):
        plan(horizon=0, action_space=SPACE)
    with pytest.raises(ValueError, match="the action space decides"):
        plan(horizon=2, action_space=Simplex(3))
    part = lambda gain, place: {"gear": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"expected .* as the action space has them"):
        policy_plan(drive, COST, part, GAIN, START, **OPTIONS)
    count = lambda cost, place, action: (1.0 * place, 0.0, 1.0)
    with pytest.raises(ValueError, match="cast the first state"):
        policy_plan(count, COST, ahead, GAIN, jnp.int32(0), **OPTIONS)
