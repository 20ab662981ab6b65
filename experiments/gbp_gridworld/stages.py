"""From random episodes to a model, and from the model's plans to a policy."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training
from jplan.nn import ConvModel, ConvPolicy, MotionModel, as_model_fn

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
EPISODES = 10_000
LENGTH = 4  # of a window, in steps
GOAL_WEIGHT = 4.0  # of windows from episodes that reach the goal
ACTIONS = 4


@dataclasses.dataclass(frozen=True)
class Learning:
    """Steps, windows of each, and learning rate."""

    steps: int
    windows: int
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
    score: Literal["hard", "soft"]
    correlation: float = 0.0  # of the first logits of two successive steps

    @property
    def action_space(self):
        """Four moves, and the law of the first logits."""
        return jp.Simplex(ACTIONS, scale=self.scale, correlation=self.correlation)


LEARNING = {"motion": Learning(1500, 32, 3e-3), "conv": Learning(4000, 256, 3e-3)}
# By model and size. The first of each follows the paper where that gives a number.
PLANNING = {
    ("motion", 8): Planning(16, 32, 20, 0.3, 0.3, 0.97, "hard"),
    ("motion", 16): Planning(32, 64, 10, 0.3, 1.0, 0.97, "hard", correlation=0.8),
    ("conv", 8): Planning(10, 20, 10, 0.3, 1.0, 1.0, "hard"),
    ("conv", 16): Planning(24, 20, 15, 0.3, 0.3, 0.97, "hard"),
}
SMOKE = Planning(4, 2, 2, 0.3, 0.3, 1.0, "hard")
POLICIES = {8: (2, 16, 16), 16: (3, 64, 64)}  # layers, maps and units, as in the paper
PLANS = {8: 8_000, 16: 5_000}  # fewer than its 24,000 and 75,000
DISTILLING = {"motion": Learning(2000, 64, 1e-2), "conv": Learning(6000, 256, 1e-3)}


@functools.cache
def draw_episodes(size, seed, count=EPISODES):
    """Episodes of the random policy, and how often a window should begin in each step."""
    world = envs.crash_gridworld(size)
    draw = jax.jit(lambda key: training.collect(world, key, count))
    episodes = draw(jax.random.key(1000 + seed))
    return episodes, weigh_windows(episodes)


def weigh_windows(episodes):
    """How often a window should begin in each step: more often in episodes that reach the goal."""
    reaches = jnp.any((episodes.rewards == 1) & episodes.is_alive, axis=1)
    weights = jnp.where(reaches, GOAL_WEIGHT, 1.0)[:, None]
    return jnp.broadcast_to(weights, episodes.rewards.shape)


def make_model(name, size, seed):
    """An untrained model."""
    rngs = nnx.Rngs(seed)
    if name == "motion":
        return MotionModel(3, ACTIONS, rewards=(1.0, -1.0, -0.01), rngs=rngs)
    return ConvModel((size, size), 3, ACTIONS, rngs=rngs)


@functools.cache
def make_batch_fn(size, count):
    """Windows of episodes, as pictures."""
    look = jax.vmap(jax.vmap(envs.crash_gridworld(size).observe_fn))

    def batch_fn(key, episodes, weights):
        windows = training.draw_windows(
            episodes, key, batch_size=count, length=LENGTH, weights=weights
        )
        return dataclasses.replace(windows, states=look(windows.states))

    return batch_fn


@functools.cache
def make_model_loss(noise):
    """The loss of the model, with noise on the actions."""
    return lambda model, windows, key: training.model_loss(model, windows, key, action_noise=noise)


def learn_model(name, size, noise, seed, steps, episodes, out):
    """A trained model, and the row of its last metrics."""
    learning = LEARNING[name]
    model, rows = training.train(
        make_model(name, size, seed),
        SCAN,
        *episodes,
        batch_fn=make_batch_fn(size, learning.windows),
        loss_fn=make_model_loss(noise),
        optimizer=training.cosine_adam(learning.rate, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"{name}_{size}_{noise}_{seed}",
        settings={
            "steps": steps,
            "rate": learning.rate,
            "windows": [learning.windows, LENGTH, GOAL_WEIGHT],
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


@dataclasses.dataclass(frozen=True)
class GradientPlanner:
    """GBP on a model; equal for equal budgets and models of one form, so nothing recompiles."""

    graphdef: nnx.GraphDef
    planning: Planning

    def __call__(self, params, picture, key, initial=None):
        """The `jplan.Plan` of one picture, some candidates of which may be given."""
        model = nnx.merge(self.graphdef, params)
        return jp.gradient_plan(
            Discounted(as_model_fn(model)[0], self.planning.discount),
            params,
            model.encode(picture),
            key,
            horizon=self.planning.horizon,
            action_space=self.planning.action_space,
            candidates=self.planning.candidates,
            num_steps=self.planning.num_steps,
            optimizer=optax.adam(self.planning.rate, eps_root=1e-8),
            initial=initial,
            score=self.planning.score,
        )


def make_planner(model, planning):
    """``plan(params, picture, key) -> Plan`` and the params of a model."""
    graphdef, params = nnx.split(model)
    return GradientPlanner(graphdef, planning), params


@functools.partial(jax.jit, static_argnames="plan")
def plan_some(plan, params, pictures, keys):
    """Plans as episodes of pictures."""
    found = training.plan_trajectories(jax.vmap(plan, in_axes=(None, 0, 0))(params, pictures, keys))
    picture = jax.vmap(jax.vmap(nnx.merge(plan.graphdef, params).decode))
    return dataclasses.replace(found, states=picture(found.states).astype(jnp.float16))


def draw_plans(model, planning, size, seed, episodes, count, chunk):
    """Plans of the model from states of the random episodes, as episodes of pictures."""
    plan, params = make_planner(model, planning)
    begin_key, plan_key = jax.random.split(jax.random.key(2000 + seed))
    starts = training.draw_windows(episodes, begin_key, batch_size=count, length=1)
    pictures = jax.vmap(envs.crash_gridworld(size).observe_fn)(
        jax.tree.map(lambda leaf: leaf[:, 0], starts.states)
    )
    keys = jax.random.split(plan_key, count)
    parts = [
        plan_some(plan, params, pictures[first : first + chunk], keys[first : first + chunk])
        for first in range(0, count, chunk)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def weigh_plans(plans):
    """How often each step should be drawn: not in plans that miss the goal, if others do not."""
    reaches = jnp.where(plans.is_alive, plans.rewards, -1).max(1, keepdims=True) > 0.5
    weights = jnp.where(reaches | ~reaches.any(), 1.0, 0.0)
    return jnp.broadcast_to(weights, plans.rewards.shape)


@functools.cache
def make_policy_batch_fn(count):
    """Steps of plans."""

    def batch_fn(key, plans, weights):
        windows = training.draw_windows(plans, key, batch_size=count, length=1, weights=weights)
        return dataclasses.replace(windows, states=windows.states.astype(jnp.float32))

    return batch_fn


def policy_loss(policy, windows, key):
    """Imitation of the plans."""
    del key
    return training.distill_loss(policy, windows, action_space=jp.Simplex(ACTIONS))


class PlannerPolicy(nnx.Module):
    """A planner on the map of a picture as the policy: its logits where the agent is."""

    def __init__(self, planner):
        self.planner = planner

    def __call__(self, picture):
        return jnp.einsum("hw,hwa->a", picture[..., 2], self.planner(picture[..., :2]))

    def hardened(self):
        """In the planner's hard stage, see `jplan.planners.MaxPlusVIN`."""
        return PlannerPolicy(self.planner.hardened())


def make_policy(name, size, seed):
    """An untrained policy: the paper's network for its kind of model."""
    rngs = nnx.Rngs(seed)
    if name == "motion":
        return PlannerPolicy(planners.MaxPlusVIN(ACTIONS, 2, rngs=rngs))
    layers, features, hidden = POLICIES[size]
    network = {"layers": layers, "features": features, "hidden": hidden}
    return ConvPolicy((size, size), 3, jp.Simplex(ACTIONS), **network, rngs=rngs)


def learn_policy(plans, name, size, noise, seed, planning, steps, out):
    """DistGBP."""
    distilling = DISTILLING[name]
    policy, _ = training.train(
        make_policy(name, size, seed),
        SCAN,
        plans,
        weigh_plans(plans),
        batch_fn=make_policy_batch_fn(distilling.windows),
        loss_fn=policy_loss,
        optimizer=training.cosine_adam(distilling.rate, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"policy_{name}_{size}_{noise}_{seed}",
        settings={
            "steps": steps,
            "rate": distilling.rate,
            "windows": distilling.windows,
            "plans": len(plans.rewards),
            **dataclasses.asdict(planning),
        },
        checkpoint_every=1000,
        label=f"policy {name} {size}x{size}, seed {seed}",
    )
    return policy.hardened() if isinstance(policy, PlannerPolicy) else policy
