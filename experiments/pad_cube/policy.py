"""A planner by descent as a policy of the cube tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jplan.planners import first_past


@functools.cache
def plan_actions(graphdef, replan_every, candidates, keep, at_once):
    """Actions [B, replan_every, A] of episodes, compiled once for all planners of a form."""

    @jax.jit
    def run(params, pasts, goals, keys):
        def run_one(given):
            past, goal, key = given
            planner = nnx.merge(graphdef, params)
            plan = planner.plan(past, goal, key, candidates=candidates, keep=keep)
            return planner.first_actions(plan, past, replan_every)

        return jax.lax.map(run_one, (pasts, goals, keys), batch_size=at_once)

    return run


def descent_policy(planner, key, *, replan_every=4, candidates=64, keep=8, at_once=1):
    """``start_fn`` of `jplan.envs.evaluate_cube_policy`."""
    graphdef, params = nnx.split(planner)
    run = plan_actions(graphdef, replan_every, candidates, keep, at_once)

    def start(goals):
        goals = jnp.asarray(goals)
        pasts, queue, step = None, [], 0

        def act(observations):
            nonlocal pasts, queue, step
            observations = np.asarray(observations, np.float32)
            if pasts is None:
                pasts = np.stack([first_past(o, planner.max_past) for o in observations])
            else:
                pasts = np.concatenate([pasts[:, 1:], observations[:, None]], axis=1)
            if not queue:
                keys = jax.random.split(jax.random.fold_in(key, step), len(goals))
                actions = np.asarray(run(params, jnp.asarray(pasts), goals, keys))
                queue = list(actions.swapaxes(0, 1))
            step += 1
            return queue.pop(0)

        return act

    return start
