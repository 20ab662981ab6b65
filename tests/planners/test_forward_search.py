"""Forward search: value iteration of as many steps, and gradients to learn from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jplan.mdp import TabularMDP
from jplan.planners import forward_search

STATES, ACTIONS, DEPTH, DISCOUNT = 5, 3, 3, 0.8


def believe(params, belief, action):
    """Tables of logits and rewards; the state is a distribution over states."""
    logits, reward = params
    following = jnp.einsum("s,a,sat->t", belief, action, jax.nn.softmax(logits))
    return following, belief @ reward @ action, DISCOUNT


def tables(key):
    logit_key, reward_key = jax.random.split(key)
    logits = 3 * jax.random.normal(logit_key, (STATES, ACTIONS, STATES))
    return logits, jax.random.normal(reward_key, (STATES, ACTIONS))


search = functools.partial(forward_search, believe, num_actions=ACTIONS, depth=DEPTH)


@pytest.mark.parametrize("backup", ["max", "softmax", "logsumexp"])
def test_what_is_certain_equals_value_iteration(backup, key, x64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tables(key))
    params = 1e3 * params[0], params[1]  # deterministic transitions
    terminal = jnp.linspace(-1, 1, STATES)
    q = jax.jit(
        jax.vmap(
            lambda belief, temperature: (
                search(
                    *(params, belief),
                    backup=backup,
                    temperature=temperature,
                    value_fn=lambda _, belief: belief @ terminal,
                ).action_values
            ),
            (0, None),
        )
    )
    backups = {
        "max": lambda q, _: q.max(-1),
        "softmax": lambda q, t: np.sum(np.exp(q / t) * q, -1) / np.sum(np.exp(q / t), -1),
        "logsumexp": lambda q, t: t * np.log(np.sum(np.exp(q / t), -1)),
    }
    mdp = TabularMDP(transition=jax.nn.softmax(params[0]), reward=params[1], discount=DISCOUNT)

    def expected(backup, temperature):
        value = terminal
        for _ in range(DEPTH):
            values = np.asarray(mdp.action_values(jnp.asarray(value)))
            value = backups[backup](values, temperature)
        return values

    got = q(jnp.eye(STATES), 0.5)
    np.testing.assert_allclose(got, expected(backup, 0.5), rtol=1e-6)
    # In the limit all are the maximum.
    np.testing.assert_allclose(q(jnp.eye(STATES), 1e-3), expected("max", 1), atol=5e-3)


@pytest.mark.parametrize("backup", ["max", "softmax", "logsumexp"])
def test_gradients_are_those_of_finite_differences(backup, key, x64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tables(key))
    belief = jnp.full(STATES, 1 / STATES)
    run = jax.jit(lambda params: search(params, belief, backup=backup, temperature=0.5).value)
    check_grads(run, (params,), order=1, modes=("fwd", "rev"), eps=1e-6)


def test_equal_actions_share_the_gradient_of_the_maximum():
    worth = lambda rewards: (
        forward_search(
            lambda rewards, state, action: (state, rewards @ action, 1.0),
            *(rewards, jnp.float32(0.0)),
            num_actions=3,
            depth=2,
        ).value
    )
    gradient = jax.grad(worth)(jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(gradient, [1, 1, 0], rtol=1e-6)  # two steps, two equal actions


def test_what_follows_an_end_need_not_be_finite():
    fall = lambda _, height, action: (
        *(height - action[1], jnp.log(height)),
        jnp.where(height - action[1] > 0, 1.0, 0.0),
    )
    found = forward_search(fall, None, jnp.float32(1.0), num_actions=2, depth=2)
    assert found.action_values.tolist() == [0.0, 0.0]


def test_tables_are_learnt_from_optimal_actions(key):
    truth_key, start_key = jax.random.split(key)
    choose = lambda params, backup: jax.vmap(
        lambda belief: search(params, belief, backup=backup, temperature=0.1).action_values
    )(jnp.eye(STATES))
    labels = choose(tables(truth_key), "max").argmax(-1)
    optimizer = optax.adam(0.05)

    def loss(params):
        q = choose(params, "softmax")
        return optax.softmax_cross_entropy_with_integer_labels(q, labels).mean()

    def step(carry, _):
        params, state = carry
        value, slope = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(slope, state)
        return (optax.apply_updates(params, updates), state), value

    start = tables(start_key)
    (params, _), losses = jax.jit(
        lambda start: jax.lax.scan(step, (start, optimizer.init(start)), None, length=100)
    )(start)
    assert (choose(start, "max").argmax(-1) != labels).any()
    assert losses[-1] < losses[0] / 5
    np.testing.assert_array_equal(choose(params, "max").argmax(-1), labels)


def test_mistakes_get_advice(key):
    params, belief = tables(key), jnp.ones(STATES)
    with pytest.raises(ValueError, match="depth is 0"):
        search(params, belief, depth=0)
    with pytest.raises(ValueError, match="backup is 'mean'"):
        search(params, belief, backup="mean")
    with pytest.raises(ValueError, match="temperature is 0, expected a positive"):
        search(params, belief, temperature=0)
    with pytest.raises(ValueError, match="the action space decides"):
        search(params, belief, num_actions=2)
