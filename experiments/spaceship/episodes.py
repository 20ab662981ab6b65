"""Episodes in the true world, steered by a planner, by a policy or at random."""

import functools
import time

import jax
from flax import nnx
from stages import SPACE, WORLD, fly

from jplan import training


def make_run(model_fn, planning, count, observe_fn):
    """``run(params, key) -> Episode`` of many flights in the true world."""

    def run(params, key):
        reset_key, fly_key = jax.random.split(key)
        states = jax.vmap(WORLD.reset_fn)(jax.random.split(reset_key, count))
        return fly(
            *(model_fn, params, WORLD.step_fn, None, states, fly_key, planning),
            observe_fn=observe_fn,
        )

    return run


def plan_episodes(model_fn, params, planning, count, key, *, observe_fn=None):
    """Flights planned in a model; its state is the world's unless ``observe_fn`` tells it."""
    run = make_run(model_fn, planning, count, observe_fn)
    return timed(lambda params, key: run(params, key).rollout.total, params, key)


def draw_flights(model_fn, params, planning, count, key, *, observe_fn=None):
    """Some flights, to be drawn."""
    run = jax.jit(make_run(model_fn, planning, count, observe_fn))
    flights = jax.device_get(run(params, key))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], flights) for i in range(count)]


def policy_episodes(policy, count, key):
    """Episodes of a policy, whose likeliest action is taken; as `plan_episodes`."""
    graphdef, params = nnx.split(policy)

    def act(params, state, key):
        del key
        return SPACE.quantise(nnx.merge(graphdef, params)(WORLD.observe_fn(state)))

    def run(params, key):
        flights = training.collect(WORLD, key, count, policy_fn=functools.partial(act, params))
        return flights.rewards.sum(1)

    return timed(run, params, key)


def random_episodes(count, key):
    """Episodes of random actions; as `plan_episodes`."""
    return timed(lambda _, key: training.collect(WORLD, key, count).rewards.sum(1), None, key)


def timed(run, params, key):
    """A row: mean return, its standard error, and the time of an action, compilation left out."""
    compiled = jax.jit(run).lower(params, key).compile()
    begin = time.perf_counter()
    returns = jax.block_until_ready(compiled(params, key))
    seconds = time.perf_counter() - begin
    return {
        "mean_return": float(returns.mean()),
        "standard_error": float(returns.std() / len(returns) ** 0.5),
        "ms": 1000 * seconds / (len(returns) * WORLD.max_steps),
    }
