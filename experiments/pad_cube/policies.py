"""What is learnt from data, as policies of the cube tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jplan.planners import extend_past, first_past


@functools.cache
def actions_fn(graphdef, replan_every, candidates, keep):
    """Actions [B, replan_every, A] of episodes, compiled once for all planners of a form."""

    @jax.jit
    def run(params, pasts, goals, keys):
        def run_one(given):
            past, goal, key = given
            planner = nnx.merge(graphdef, params)
            plan = planner.plan(past, goal, key, candidates=candidates, keep=keep)
            return planner.first_actions(plan, past, replan_every)

        return jax.lax.map(run_one, (pasts, goals, keys))

    return run


def descent_policy(planner, key, *, replan_every, candidates, keep):
    """``start_fn`` of `jplan.envs.evaluate_cube_policy`: plans, and their first few actions.

    Each episode has randomness of its own, whatever the size of the batches.
    """
    graphdef, params = nnx.split(planner)
    run = actions_fn(graphdef, replan_every, candidates, keep)
    begin = jax.vmap(lambda observation: first_past(observation, planner.max_past))
    extend = jax.vmap(extend_past)
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    started = 0

    def start(goals):
        nonlocal started
        episodes = started + jnp.arange(len(goals))
        started += len(goals)
        keys = jax.vmap(lambda episode: jax.random.fold_in(key, episode))(episodes)
        goals = jnp.asarray(goals)
        pasts, queue, step = None, [], 0

        def act(observations):
            nonlocal pasts, queue, step
            pasts = begin(observations) if pasts is None else extend(pasts, observations)
            if not queue:
                queue = list(np.swapaxes(run(params, pasts, goals, fold(keys, step)), 0, 1))
            step += 1
            return queue.pop(0)

        return act

    return start


def cloned_policy(policy):
    """``start_fn`` of `jplan.envs.evaluate_cube_policy`: one action after the other."""
    graphdef, params = nnx.split(policy)
    run = jax.jit(lambda params, states, goals: nnx.merge(graphdef, params)(states, goals))
    return lambda goals: lambda observations: np.asarray(run(params, observations, goals))
