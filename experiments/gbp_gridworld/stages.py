"""From random episodes to a model, and from the model's plans to a policy."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, training
from jplan.nn import ConvModel, ConvPolicy, MotionModel, as_model_fn

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
EPISODES = 10_000
WINDOWS, LENGTH = 32, 4  # of a training step of the model
GOAL_WEIGHT = 4.0  # of windows from episodes that reach the goal
ACTIONS = 4


@dataclasses.dataclass(frozen=True)
class Learning:
    """Steps and learning rate of a model."""

    steps: int
    rate: float


@dataclasses.dataclass(frozen=True)
class Planning:
    """Budget of the planner, and what it descends on."""

    horizon: int
    candidates: int
    num_steps: int
    rate: float
    scale: float  # of the first logits
    discount: float
    score: str


LEARNING = {"motion": Learning(1500, 3e-3), "conv": Learning(6000, 3e-3)}
# By model and size. The first of each follows the paper where that gives a number.
PLANNING = {
    ("motion", 8): Planning(16, 32, 20, 0.3, 0.3, 0.97, "hard"),
    ("motion", 16): Planning(32, 64, 20, 0.3, 0.3, 0.97, "hard"),
    ("conv", 8): Planning(10, 20, 10, 0.3, 1.0, 1.0, "soft"),
    ("conv", 16): Planning(15, 20, 10, 0.3, 1.0, 1.0, "soft"),
}
SMOKE = Planning(4, 2, 2, 0.3, 0.3, 1.0, "hard")
# Layers, maps and units of the policy as in the paper; fewer plans than its 24,000 and 75,000.
POLICIES = {8: (2, 16, 16), 16: (3, 64, 64)}
PLANS = {8: 8_000, 16: 5_000}
POLICY_STEPS, POLICY_BATCH, POLICY_RATE = 6000, 256, 3e-3


@functools.cache
def draw_episodes(size, seed, count=EPISODES):
    """Episodes of the random policy, and how often a window should begin in each step."""
    world = envs.crash_gridworld(size)
    draw = jax.jit(lambda key: training.collect(world, key, count))
    episodes = draw(jax.random.key(1000 + seed))
    reaches = jnp.any((episodes.rewards == 1) & episodes.is_alive, axis=1)
    weights = jnp.where(reaches, GOAL_WEIGHT, 1.0)[:, None]
    return episodes, jnp.broadcast_to(weights, episodes.rewards.shape)


def make_model(name, size, seed):
    """An untrained model."""
    rngs = nnx.Rngs(seed)
    if name == "motion":
        return MotionModel(3, ACTIONS, rewards=(1.0, -1.0, -0.01), rngs=rngs)
    return ConvModel((size, size), 3, ACTIONS, rngs=rngs)


@functools.cache
def make_batch_fn(size):
    """Windows of episodes, as pictures."""
    look = jax.vmap(jax.vmap(envs.crash_gridworld(size).observe_fn))

    def batch_fn(key, episodes, weights):
        windows = training.draw_windows(
            episodes, key, batch_size=WINDOWS, length=LENGTH, weights=weights
        )
        return dataclasses.replace(windows, states=look(windows.states))

    return batch_fn


@functools.cache
def make_model_loss(noise):
    """The loss of the model, with noise on the actions."""
    return lambda model, windows, key: training.model_loss(model, windows, key, action_noise=noise)


def learn_model(name, size, noise, seed, steps, episodes, out):
    """A trained model, and the row of its last metrics."""
    model, rows = training.train(
        make_model(name, size, seed),
        SCAN,
        *episodes,
        batch_fn=make_batch_fn(size),
        loss_fn=make_model_loss(noise),
        optimizer=training.cosine_adam(LEARNING[name].rate, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"{name}_{size}_{noise}_{seed}",
        settings={
            "steps": steps,
            "rate": LEARNING[name].rate,
            "windows": [WINDOWS, LENGTH, GOAL_WEIGHT],
            "episodes": len(episodes[0].rewards),
        },
        checkpoint_every=1000,
        label=f"{name} {size}x{size}, noise {noise}, seed {seed}",
    )
    return model, rows[-1]


@dataclasses.dataclass(frozen=True)
class Discounted:
    """A model whose rewards fade, so that earlier ones are dearer."""

    model_fn: Callable
    discount: float

    def __call__(self, params, state, action):
        state, reward, discount = self.model_fn(params, state, action)
        return state, reward, self.discount * discount


def make_planner(model, planning):
    """``plan(params, picture, key) -> Plan`` and the params of a model."""
    model_fn, params = as_model_fn(model)
    graphdef = nnx.graphdef(model)

    def plan(params, picture, key):
        return jp.gradient_plan(
            Discounted(model_fn, planning.discount),
            params,
            nnx.merge(graphdef, params).encode(picture),
            key,
            horizon=planning.horizon,
            action_space=jp.Simplex(ACTIONS, scale=planning.scale),
            candidates=planning.candidates,
            num_steps=planning.num_steps,
            optimizer=optax.adam(planning.rate, eps_root=1e-8),
            score=planning.score,
        )

    return plan, params


def draw_plans(model, planning, size, seed, episodes, count, chunk=100):
    """Plans of the model from states of the random episodes, as episodes of pictures."""
    plan, params = make_planner(model, planning)
    graphdef = nnx.graphdef(model)

    @jax.jit
    def some(params, pictures, keys):
        plans = jax.vmap(plan, in_axes=(None, 0, 0))(params, pictures, keys)
        found = training.plan_trajectories(plans)
        picture = jax.vmap(jax.vmap(nnx.merge(graphdef, params).decode))
        return dataclasses.replace(found, states=picture(found.states).astype(jnp.float16))

    begin_key, plan_key = jax.random.split(jax.random.key(2000 + seed))
    starts = training.draw_windows(episodes, begin_key, batch_size=count, length=1)
    pictures = jax.vmap(envs.crash_gridworld(size).observe_fn)(
        jax.tree.map(lambda leaf: leaf[:, 0], starts.states)
    )
    keys = jax.random.split(plan_key, count)
    parts = [
        some(params, pictures[first : first + chunk], keys[first : first + chunk])
        for first in range(0, count, chunk)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def policy_batch(key, plans):
    """Steps of plans."""
    windows = training.draw_windows(plans, key, batch_size=POLICY_BATCH, length=1)
    return dataclasses.replace(windows, states=windows.states.astype(jnp.float32))


def policy_loss(policy, windows, key):
    """Imitation of the plans."""
    del key
    return training.distill_loss(policy, windows, action_space=jp.Simplex(ACTIONS))


def learn_policy(plans, name, size, noise, seed, planning, steps, out):
    """DistGBP."""
    layers, features, hidden = POLICIES[size]
    policy = ConvPolicy(
        *((size, size), 3, jp.Simplex(ACTIONS)),
        layers=layers,
        features=features,
        hidden=hidden,
        rngs=nnx.Rngs(seed),
    )
    policy, _ = training.train(
        policy,
        SCAN,
        plans,
        batch_fn=policy_batch,
        loss_fn=policy_loss,
        optimizer=training.cosine_adam(POLICY_RATE, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"policy_{name}_{size}_{noise}_{seed}",
        settings={"steps": steps, "plans": len(plans.rewards)} | dataclasses.asdict(planning),
        checkpoint_every=1000,
        label=f"policy {name} {size}x{size}, seed {seed}",
    )
    return policy
