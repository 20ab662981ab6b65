"""Model and policy together: a policy through imagined episodes, a model through its planner."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from stages import ACTIONS, LEARNING, LENGTH, PLANNING, SCAN, make_model

import jplan as jp
from jplan import envs, training
from jplan.nn import ConvPolicy

SPACE = jp.Simplex(ACTIONS)
EXPERTS = 300  # episodes
DESCENT = 5  # gradient steps that the model is trained through
REACH = 8  # steps of an expert's window
METHODS = [
    ("model fits experts", True, False),
    ("model through its planner", False, True),
    ("model by both", True, True),
]


@functools.cache
def draw_experts(size, seed, count):
    """Episodes of the shortest paths, with pictures as states."""
    world = envs.crash_gridworld(size)

    def shortest(state, key):
        solved = training.imitation_batch(jax.tree.map(lambda leaf: leaf[None], state.task))
        optimal = solved.optimal[0, state.agent[0], state.agent[1]]
        return jax.nn.one_hot(jax.random.categorical(key, jnp.log(optimal)), ACTIONS)

    def draw(key):
        episodes = training.collect(world, key, count, policy_fn=shortest)
        pictures = jax.vmap(jax.vmap(world.observe_fn))(episodes.states)
        return dataclasses.replace(episodes, states=pictures)

    return jax.jit(draw)(jax.random.key(6000 + seed))


def expert_batch(key, experts):
    """Windows of the experts."""
    return training.draw_windows(experts, key, batch_size=LEARNING["motion"].windows, length=REACH)


@functools.cache
def make_loss(fits, plans):
    """The sum of what the model fits and of what is planned through it, or one of them."""

    def loss_fn(model, windows, key):
        total, metrics = jnp.zeros(()), {}
        fit_key, plan_key = jax.random.split(key)
        if fits:
            short = jax.tree.map(lambda leaf: leaf[:, :LENGTH], windows)
            short = dataclasses.replace(short, states=windows.states[:, : LENGTH + 1])
            total += training.model_loss(model, short, fit_key)[0]
        if plans:
            loss, metrics = training.planner_loss(
                *(model, windows, plan_key), action_space=SPACE, num_steps=DESCENT
            )
            total += loss
        return total, metrics

    return loss_fn


def from_experts(size, seed, smoke, out):
    """Structured models that have seen nothing but experts, and how each was learnt."""
    steps, count = (20, 8) if smoke else (600, EXPERTS)
    learning = LEARNING["motion"]
    for method, fits, plans in METHODS[-1:] if smoke else METHODS:
        model, _ = training.train(
            make_model("motion", size, seed),
            SCAN,
            draw_experts(size, seed, count),
            batch_fn=expert_batch,
            loss_fn=make_loss(fits, plans),
            optimizer=training.cosine_adam(learning.rate, steps),
            key=jax.random.key(seed),
            num_steps=steps,
            directory=out / f"experts_{fits}_{plans}_{size}_{seed}",
            settings={"steps": steps, "experts": count, "reach": REACH, "descent": DESCENT},
            label=f"{method}, seed {seed}",
        )
        yield method, model


def imagine_policy(model, noise, size, seed, episodes, smoke, out):
    """A reactive policy that was trained by its own return in a model."""
    steps, horizon = 20 if smoke else 2000, PLANNING["motion", size].horizon
    graphdef, params = nnx.split(model)
    look = jax.vmap(envs.crash_gridworld(size).observe_fn)

    def batch_fn(key, episodes, params):
        windows = training.draw_windows(episodes, key, batch_size=64, length=1)
        return look(jax.tree.map(lambda leaf: leaf[:, 0], windows.states)), params

    def loss_fn(policy, batch, key):
        pictures, params = batch
        model = nnx.merge(graphdef, params)
        return training.imagined_loss(
            *(policy, model, pictures, key), action_space=SPACE, horizon=horizon
        )

    network = {"layers": 3, "features": 32, "hidden": 64}
    policy, _ = training.train(
        ConvPolicy((size, size), 3, SPACE, **network, rngs=nnx.Rngs(seed)),
        SCAN,
        episodes[0],
        params,
        batch_fn=batch_fn,
        loss_fn=loss_fn,
        optimizer=training.cosine_adam(1e-3, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"imagined_{size}_{seed}",
        settings={"steps": steps, "horizon": horizon, "noise": noise, **network},
        label=f"imagined {size}x{size}, seed {seed}",
    )
    return policy
