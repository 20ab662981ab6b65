"""Learn the model online: from episodes that its own plans led to, or from random ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from episodes import Replanning, run_closed
from flax import nnx
from stages import (
    LEARNING,
    SCAN,
    make_batch_fn,
    make_model,
    make_model_loss,
    make_planner,
    weigh_windows,
)

from jplan import envs, training

ROUNDS, EPISODES, STEPS = 6, 40, 300  # episodes and training steps of a round
EVALUATED = 128  # maps


@functools.partial(jax.jit, static_argnames=("plan", "size", "count"))
def draw_proposed(plan, params, key, *, size, count):
    """Episodes in which each action is the first of a plan."""
    world = envs.crash_gridworld(size)
    act = lambda state, key: plan(params, world.observe_fn(state), key).actions[0]
    return training.collect(world, key, count, policy_fn=act)


@functools.partial(jax.jit, static_argnames=("size", "count"))
def draw_random(key, *, size, count):
    """Episodes of random actions."""
    return training.collect(envs.crash_gridworld(size), key, count)


def learn_online(size, planning, noise, seed, smoke):
    """Rows: success of the plans after each round, by where the episodes come from."""
    rounds, count, steps, maps = (2, 4, 20, 4) if smoke else (ROUNDS, EPISODES, STEPS, EVALUATED)
    optimizer = training.cosine_adam(LEARNING["motion"].rate, rounds * steps)
    for source in ("random", "proposed"):
        model = make_model("motion", size, seed)
        graphdef, state = training.init_state(model, optimizer, jax.random.key(seed))
        plan, _ = make_planner(model, planning)
        kept = None
        for index, key in enumerate(jax.random.split(jax.random.key(7000 + seed), rounds)):
            if source == "random" or index == 0:
                new = draw_random(key, size=size, count=count)
            else:
                new = draw_proposed(plan, state.params, key, size=size, count=count)
            if kept is None:  # room for all rounds, so that nothing recompiles
                kept = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * rounds), new)
            rows = slice(index * count, (index + 1) * count)
            kept = jax.tree.map(lambda old, leaf, rows=rows: old.at[rows].set(leaf), kept, new)
            is_there = jnp.arange(rounds * count) < rows.stop
            state, _ = SCAN(
                *(state, kept, weigh_windows(kept) * is_there[:, None]),
                batch_fn=make_batch_fn(size, LEARNING["motion"].windows),
                graphdef=graphdef,
                optimizer=optimizer,
                loss_fn=make_model_loss(noise),
                num_steps=steps,
            )
            params = nnx.state(nnx.merge(graphdef, state.params))
            world_steps = int(np.asarray(kept.is_alive)[: rows.stop].sum())
            row = {"source": source, "episodes": rows.stop, "world_steps": world_steps}
            yield row | run_closed(Replanning(plan), params, size, maps, jax.random.key(8000))
