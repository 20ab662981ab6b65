"""Episodes between unseen places."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from stages import maze

from jplan import envs
from jplan.planners import pursue

NUM_STEPS = 160


@functools.cache
def runner(size, graphdef, options):
    """Episodes of a planner, compiled once for all planners of a form."""
    world = envs.point_maze(maze(size), max_steps=NUM_STEPS)

    @jax.jit
    def run(params, keys):
        def run_one(key):
            reset_key, plan_key = jax.random.split(key)
            state = world.reset_fn(reset_key)
            goal = jnp.append(state.goal, jnp.zeros(2))  # at rest
            planner = nnx.merge(graphdef, params)
            return pursue(
                *(planner, world, state, goal, plan_key), num_steps=NUM_STEPS, **dict(options)
            )

        return jax.lax.map(run_one, keys)

    return run


def run_episodes(planner, size, count, seed, **options):
    """`Pursuit` of so many episodes; the starts and goals depend on the seed alone.

    One at a time: 64 candidates keep a CPU busy, and more of them do not fit its cache.
    """
    graphdef, params = nnx.split(planner)
    keys = jax.random.split(jax.random.key(3000 + seed), count)
    run = runner(size, graphdef, tuple(options.items()))
    return jax.device_get(run(params, keys))


def measure(episodes):
    """Share of episodes that arrive, and how long these take."""
    arrived = episodes.rewards.sum(1) > 0
    lengths = jax.vmap(lambda episode: episode.length)(episodes)
    return {
        "success": float(arrived.mean()),
        "length": float(np.mean(lengths[arrived])) if arrived.any() else float("nan"),
    }
