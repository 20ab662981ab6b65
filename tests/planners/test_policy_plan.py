"""The plan of a policy: step by step the same, and a start for descent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import Box, Product, Simplex
from jplan.planners import PlanStatus, gradient_plan, policy_plan

SPACE = Product({"gear": Simplex(3), "push": Box(-jnp.ones(1), jnp.ones(1))})


def drive(params, place, action):
    """Gears go 0, 1 and 2 pushes far; the goal is at 3, and what is beyond it is unknown."""
    far = action["gear"] @ jnp.arange(3.0) * action["push"][0]
    following = jnp.where(place >= 3, jnp.nan, place + far)
    return following, -params["cost"] * far**2 + (following >= 3), jnp.where(following >= 3, 0, 0.9)


def ahead(params, place):
    """In second gear towards the goal, too hard by far at first."""
    return {"gear": jnp.array([0.0, 2.0, 1.0]), "push": params["gain"] * (3 - place)[None]}


PARAMS = {"cost": jnp.float32(0.1), "gain": jnp.float32(0.8)}
OPTIONS = {"policy_fn": ahead, "horizon": 6, "action_space": SPACE}


def test_a_policy_is_followed_step_by_step():
    plan = jax.jit(functools.partial(policy_plan, drive, **OPTIONS))(PARAMS, jnp.float32(0.0))
    place, total, weight = 0.0, 0.0, 1.0
    for t in range(4):
        push = min(0.8 * (3 - place), 1.0)
        np.testing.assert_allclose(plan.latent["push"][t], 0.8 * (3 - place), rtol=1e-6)
        np.testing.assert_allclose(plan.actions["push"][t], push, rtol=1e-6)
        place += push
        total += weight * (-0.1 * push**2 + (place >= 3))
        weight *= 0.9
    np.testing.assert_array_equal(plan.actions["gear"].argmax(-1), 1)
    np.testing.assert_allclose(plan.rollout.states[4], place, rtol=1e-6)
    assert plan.returns.shape == (1, 1)
    assert plan.status == PlanStatus.FINE
    assert plan.hard_return == plan.soft_return == plan.returns[0, 0] < 0


def test_descent_begins_from_it_and_is_no_worse(key):
    @jax.jit
    def both(gain):
        params = PARAMS | {"gain": gain}
        by_policy = policy_plan(drive, params, jnp.float32(0.0), **OPTIONS)
        initial = jax.tree.map(lambda leaf: leaf[None], by_policy.latent)
        options = {"candidates": 1, "num_steps": 10, "initial": initial}
        setting = {"horizon": 6, "action_space": SPACE}
        plan = gradient_plan(drive, params, jnp.float32(0.0), key, **setting, **options)
        return by_policy.hard_return, plan.hard_return

    start, found = both(jnp.float32(0.8))
    assert found > start + 0.01


def test_what_comes_after_an_end_is_not_asked_for():
    params = PARAMS | {"gain": jnp.float32(2.0)}
    plan = jax.jit(functools.partial(policy_plan, drive, **OPTIONS))(params, jnp.float32(0.0))
    np.testing.assert_array_equal(plan.actions["push"][:3, 0], 1)
    assert plan.hard_return > 0
    assert np.isfinite(plan.latent["push"]).all()


def test_mistakes_get_advice():
    plan = functools.partial(policy_plan, drive, PARAMS, jnp.float32(0.0))
    with pytest.raises(ValueError, match="horizon is 0"):
        plan(**OPTIONS | {"horizon": 0})
    with pytest.raises(ValueError, match=r"expected .* as the action space has them"):
        plan(**OPTIONS | {"policy_fn": lambda params, place: {"gear": jnp.ones(3)}})
    with pytest.raises(ValueError, match=r"expected .* as the action space has them"):
        plan(**OPTIONS | {"action_space": Simplex(3)})
