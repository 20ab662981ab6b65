"""Episodes in the true world: closed loop, open loop, or by a policy."""

import math
import time

import jax
import numpy as np
from flax import nnx

from jplan import envs

CHUNK = 64  # episodes that plan at once


def take(tree, index):
    """Entries of the leading axis."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def put(tree, index, entries):
    """The tree with other entries there."""
    return jax.tree.map(lambda leaf, entry: leaf.at[index].set(entry), tree, entries)


def run_closed(act, params, size, count, key):
    """Episodes of ``act(params, picture, key) -> action``; only those that go on are planned.

    Returns a row: shares of goals and crashes, and the time of an action after the first call.
    """
    world = envs.crash_gridworld(size)
    reset_key, key = jax.random.split(key)
    states = jax.jit(jax.vmap(world.reset_fn))(jax.random.split(reset_key, count))

    @jax.jit
    def advance(params, states, keys):
        def one(state, key):
            return world.step_fn(None, state, act(params, world.observe_fn(state), key))

        return jax.vmap(one)(states, keys)

    width = min(count, CHUNK)
    is_alive = np.ones(count, bool)
    reached, crashed = np.zeros(count, bool), np.zeros(count, bool)
    calls, begin = 0, math.inf
    for _ in range(world.max_steps):
        alive = np.flatnonzero(is_alive)
        key, step_key = jax.random.split(key)
        keys = jax.random.split(step_key, count)
        for first in range(0, len(alive), width):
            chosen = np.resize(alive[first : first + width], width)  # the last are repeated
            following, rewards, discounts = advance(params, take(states, chosen), keys[chosen])
            states = put(states, chosen, following)
            reached[chosen] = np.asarray(rewards) == 1
            crashed[chosen] = np.asarray(rewards) == -1
            is_alive[chosen] = np.asarray(discounts) > 0
            if math.isinf(begin):  # what follows is compiled
                begin = time.perf_counter()
            else:
                calls += width
    seconds = (time.perf_counter() - begin) / max(calls, 1)
    return {"success": reached.mean(), "crashed": crashed.mean(), "ms": 1000 * seconds}


def run_open(plan, params, size, count, key):
    """Episodes in which the first plan is carried out to its end."""
    world = envs.crash_gridworld(size)
    reset_key, plan_key = jax.random.split(key)
    states = jax.jit(jax.vmap(world.reset_fn))(jax.random.split(reset_key, count))
    keys = jax.random.split(plan_key, count)

    @jax.jit
    def episode(params, states, keys):
        def one(state, key):
            actions = plan(params, world.observe_fn(state), key).actions
            step = lambda state, action: (lambda s, r, d: (s, (r, d)))(
                *world.step_fn(None, state, action)
            )
            return jax.lax.scan(step, state, actions)[1][0]

        return jax.vmap(one)(states, keys)

    rewards = [
        np.asarray(
            episode(
                params,
                take(states, slice(first, first + CHUNK)),
                keys[first : first + CHUNK],
            )
        )
        for first in range(0, count, CHUNK)
    ]
    rewards = np.concatenate(rewards)
    return {"success": (rewards == 1).any(1).mean(), "crashed": (rewards == -1).any(1).mean()}


def policy_action(policy):
    """``act`` and params of a policy, whose likeliest action is taken."""
    graphdef, params = nnx.split(policy)

    def act(params, picture, key):
        del key
        return jax.nn.one_hot(nnx.merge(graphdef, params)(picture).argmax(), 4)

    return act, params
