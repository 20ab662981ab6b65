"""Episodes in the true world: closed loop, open loop, or by a policy."""

import dataclasses
import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from stages import ACTIONS

from jplan import envs
from jplan.descent import shift_plan
from jplan.nn import as_model_fn
from jplan.planners import policy_plan


def take(tree, index):
    """Entries of the leading axis."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def put(tree, index, entries):
    """The tree with other entries there."""
    return jax.tree.map(lambda leaf, entry: leaf.at[index].set(entry), tree, entries)


@functools.partial(jax.jit, static_argnums=(0, 1))
def advance(act, size, params, states, memories, keys):
    """One step of every episode: states, memories, rewards, discounts."""
    world = envs.crash_gridworld(size)

    def step(state, memory, key):
        action, memory = act(params, world.observe_fn(state), key, memory)
        state, reward, discount = world.step_fn(None, state, action)
        return state, memory, reward, discount

    return jax.vmap(step)(states, memories, keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def follow(plan, size, params, states, keys):
    """Rewards of whole plans, [episodes, T]."""
    world = envs.crash_gridworld(size)

    def step(state, action):
        state, reward, _ = world.step_fn(None, state, action)
        return state, reward

    def episode(state, key):
        return jax.lax.scan(step, state, plan(params, world.observe_fn(state), key).actions)[1]

    return jax.vmap(episode)(states, keys)


def run_closed(act, params, size, count, key, at_once=64):
    """Episodes of ``act``, such as `Replanning`; only those that go on are planned.

    Returns a row: shares of goals and crashes, and the time of an action after the first call.
    """
    world = envs.crash_gridworld(size)
    reset_key, key = jax.random.split(key)
    states = jax.jit(jax.vmap(world.reset_fn))(jax.random.split(reset_key, count))

    width = min(count, at_once)
    memories = act.start(count)
    is_alive = np.ones(count, bool)
    reached, crashed = np.zeros(count, bool), np.zeros(count, bool)
    calls, begin = 0, math.inf
    for _ in range(world.max_steps):
        alive = np.flatnonzero(is_alive)
        key, step_key = jax.random.split(key)
        keys = jax.random.split(step_key, count)
        for first in range(0, len(alive), width):
            chosen = np.resize(alive[first : first + width], width)  # the last are repeated
            before = take(states, chosen), take(memories, chosen)
            *after, rewards, discounts = advance(act, size, params, *before, keys[chosen])
            states, memories = put(states, chosen, after[0]), put(memories, chosen, after[1])
            reached[chosen] = np.asarray(rewards) == 1
            crashed[chosen] = np.asarray(rewards) == -1
            is_alive[chosen] = np.asarray(discounts) > 0
            if math.isinf(begin):  # what follows is compiled
                begin = time.perf_counter()
            else:
                calls += width
    seconds = (time.perf_counter() - begin) / max(calls, 1)
    return {"success": reached.mean(), "crashed": crashed.mean(), "ms": 1000 * seconds}


def run_open(plan, params, size, count, key, at_once=64):
    """Episodes in which the first plan is carried out to its end."""
    world = envs.crash_gridworld(size)
    reset_key, plan_key = jax.random.split(key)
    states = jax.jit(jax.vmap(world.reset_fn))(jax.random.split(reset_key, count))
    keys = jax.random.split(plan_key, count)

    parts = [slice(first, first + at_once) for first in range(0, count, at_once)]
    rewards = [follow(plan, size, params, take(states, part), keys[part]) for part in parts]
    rewards = np.concatenate(rewards)
    return {"success": (rewards == 1).any(1).mean(), "crashed": (rewards == -1).any(1).mean()}


def run_method(method, plan, params, policy, maps):
    """What a row of the table ends with."""
    match method:
        case "GBP":
            return run_closed(Replanning(plan), params, *maps)
        case "GBP, open loop":
            return run_open(plan, params, *maps)
        case "DistGBP":
            return run_closed(*policy_action(policy), *maps)
    return run_closed(*guided(plan, params, policy), *maps)


def policy_action(policy):
    """``act`` and params of a policy, whose likeliest action is taken."""
    graphdef, params = nnx.split(policy)
    return LikeliestAction(graphdef), params


@dataclasses.dataclass(frozen=True)
class Replanning:
    """The first action of a plan; what is left of it is a candidate for the next one."""

    plan: Any  # `stages.GradientPlanner` or its like

    def start(self, count):
        return jnp.zeros((count, self.plan.planning.horizon, ACTIONS))

    def __call__(self, params, picture, key, memory):
        plan = self.plan(params, picture, key, memory[None])
        return plan.actions[0], shift_plan(plan.latent)


@dataclasses.dataclass(frozen=True)
class Guided:
    """As `Replanning`, and what a policy would do is another candidate."""

    plan: Any  # as in `Replanning`
    graphdef: nnx.GraphDef  # of the policy

    def start(self, count):
        return Replanning(self.plan).start(count)

    def __call__(self, params, picture, key, memory):
        model = nnx.merge(self.plan.graphdef, params["model"])
        act = lambda weights, state: nnx.merge(self.graphdef, weights)(model.decode(state))
        guide = policy_plan(
            *as_model_fn(model),
            *(act, params["policy"], model.encode(picture)),
            horizon=self.plan.planning.horizon,
            action_space=self.plan.planning.action_space,
        )
        plan = self.plan(params["model"], picture, key, jnp.stack([memory, guide.latent]))
        return plan.actions[0], shift_plan(plan.latent)


def guided(plan, params, policy):
    """`Guided` and its params."""
    graphdef, weights = nnx.split(policy)
    return Guided(plan, graphdef), {"model": params, "policy": weights}


@dataclasses.dataclass(frozen=True)
class FromScratch:
    """The first action of a plan that knows nothing of the last one."""

    plan: Any  # as in `Replanning`

    def start(self, count):
        return jnp.zeros((count, 0))

    def __call__(self, params, picture, key, memory):
        return self.plan(params, picture, key).actions[0], memory


@dataclasses.dataclass(frozen=True)
class LikeliestAction:
    """What a policy does next."""

    graphdef: nnx.GraphDef

    def start(self, count):
        return jnp.zeros((count, 0))

    def __call__(self, params, picture, key, memory):
        del key
        latent = nnx.merge(self.graphdef, params)(picture)
        return jax.nn.one_hot(latent.argmax(), ACTIONS), memory
