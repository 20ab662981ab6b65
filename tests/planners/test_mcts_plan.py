"""MCTS: against all sequences, and with a prior that knows or misleads."""

import functools
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import Box, Simplex, rollout
from jplan.planners import PlanStatus, mcts_plan

HORIZON, STATES, ACTIONS = 4, 5, 2


def table(params, state, action):
    """A deterministic world given by a table: an episode ends in state 0."""
    following, reward = params
    index = action.argmax()
    following = following[state, index]
    return following, reward[state, index], jnp.where(following == 0, 0.0, 0.9)


def draw(key):
    next_key, reward_key = jax.random.split(key)
    shape = (STATES, ACTIONS)
    return jax.random.randint(next_key, shape, 0, STATES), jax.random.normal(reward_key, shape)


TABLES = jax.vmap(draw)(jax.random.split(jax.random.key(1), 8))
PLANS = jnp.asarray(list(itertools.product(range(ACTIONS), repeat=HORIZON)))
OPTIONS = {"horizon": HORIZON, "action_space": Simplex(ACTIONS)}


@pytest.fixture(scope="module")
def best():
    """The largest return of all sequences, by trying them."""
    follow = lambda params, plan: rollout(table, params, 1, jax.nn.one_hot(plan, ACTIONS)).total
    return jax.jit(jax.vmap(jax.vmap(follow, (None, 0)), (0, None)))(TABLES, PLANS).max(1)


def run(params, key, **options):
    return mcts_plan(table, params, 1, key, **(OPTIONS | options))


@pytest.mark.parametrize(("policy", "share"), [("muzero", 1.0), ("gumbel", 0.5)])
def test_with_simulations_enough_the_best_sequence_is_found(policy, share, best):
    keys = jax.random.split(jax.random.key(0), 8)
    plans = jax.jit(jax.vmap(functools.partial(run, num_simulations=40, policy=policy)))(
        TABLES, keys
    )
    assert (plans.hard_return <= best + 1e-5).all()
    assert jnp.mean(plans.hard_return > best - 1e-5) >= share
    np.testing.assert_allclose(plans.returns.max((1, 2)), plans.hard_return, rtol=1e-5)
    np.testing.assert_array_equal(plans.status, PlanStatus.FINE)
    assert plans.actions.shape == (8, HORIZON, ACTIONS)
    np.testing.assert_array_equal(plans.actions.max(-1), 1)


def test_returns_of_nodes_that_were_not_reached(key):
    plan = jax.jit(functools.partial(run, num_simulations=40))(
        jax.tree.map(lambda x: x[0], TABLES), key
    )
    # Sequences of four steps of two actions have 30 nodes below the root, fewer than simulations.
    is_node = jnp.isfinite(plan.returns)
    assert 1 < is_node.sum() <= 31 < plan.returns.size
    assert (plan.returns[~is_node] == -jnp.inf).all()


@pytest.mark.parametrize("policy", ["muzero", "gumbel"])
def test_what_follows_an_end_need_not_be_finite(policy):
    """A walk to 6 and not one step further."""

    def walk(lost, place, step):
        place = place + step[1] - step[0]
        after = jnp.where(jnp.abs(place) > 6, lost, place)
        return after, after - place + place, jnp.where(jnp.abs(place) == 6, 0.0, 1.0 + 0 * after)

    def plans(lost):
        options = OPTIONS | {"horizon": 8, "num_simulations": 40, "policy": policy}
        plan = lambda key: mcts_plan(walk, lost, jnp.float32(4.0), key, **options)
        return jax.vmap(plan)(jax.random.split(jax.random.key(0), 8))

    finite, lost = jax.jit(jax.vmap(plans))(jnp.array([7.0, jnp.nan])).hard_return
    np.testing.assert_array_equal(lost, finite)


def test_a_prior_that_knows_needs_few_simulations(key):
    def values(params):
        following, reward = params
        back_up = lambda _, q: reward + jnp.where(following == 0, 0, 0.9) * q.max(1)[following]
        return jax.lax.fori_loop(0, 200, back_up, reward)

    def told(params, place, action):
        return table(params[0], place, action)

    def prior(params, place):
        return params[1][place], params[1][place].max()

    def greedy(params):
        place, weight, total = 1, 1.0, 0.0
        for _ in range(HORIZON):
            action = jax.nn.one_hot(params[1][place].argmax(), ACTIONS)
            place, reward, discount = told(params, place, action)
            total, weight = total + weight * reward, weight * discount
        return total

    def both(params):
        params = params, values(params)
        options = OPTIONS | {"num_simulations": 2, "prior_fn": prior}
        return mcts_plan(told, params, 1, key, **options).hard_return, greedy(params)

    np.testing.assert_allclose(*jax.jit(jax.vmap(both))(TABLES), rtol=1e-4)


def test_mistakes_get_advice(key, monkeypatch):
    params = jax.tree.map(lambda leaf: leaf[0], TABLES)
    with pytest.raises(ValueError, match="horizon is 0"):
        run(params, key, horizon=0)
    with pytest.raises(ValueError, match="expected a Simplex"):
        run(params, key, action_space=Box(-jnp.ones(1), jnp.ones(1)))
    with pytest.raises(ValueError, match="policy is 'uct'"):
        run(params, key, policy="uct")
    wrong = lambda params, place, action: (place + action @ jnp.ones(2), 0.0, 1.0)
    with pytest.raises(ValueError, match="the action space decides"):
        mcts_plan(wrong, None, 0.0, key, **(OPTIONS | {"action_space": Simplex(3)}))
    with pytest.raises(ValueError, match=r"expected logits \[2\] and a value"):
        run(params, key, prior_fn=lambda params, place: (jnp.zeros(3), 0.0))
    monkeypatch.setitem(sys.modules, "mctx", None)
    with pytest.raises(ImportError, match=r"jplan\[search\]"):
        run(params, key)
