"""From random episodes to a model, and from the model to plans and policies."""

import dataclasses
import functools
from collections.abc import Hashable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jplan as jp
from jplan import envs, training
from jplan.nn import MLPModel, MLPPolicy, as_model_fn
from jplan.planners import receding_horizon

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
WORLD = envs.spaceship()
SPACE = WORLD.action_space
WIDTH, MOVING = 17, 4  # of an observation, and what of it changes
ERROR_STEPS = 1, 5, 20
CAUTION = {"limit": 2.0, "penalty": 0.5}
POLICY_BATCH, POLICY_RATE, POLICY_STEPS = 256, 1e-3, 4000
ROUNDS = 3  # of distillation
IMAGINED, IMAGINED_HORIZON, IMAGINED_STEPS = 64, 20, 3000


@dataclasses.dataclass(frozen=True)
class Learning:
    """Training of the model."""

    steps: int = 5000
    rate: float = 2e-3
    windows: int = 128
    length: int = 5
    noise: float = 0.1  # on the signal; on thrusts it would hide what they do
    contact_weight: float = 100.0  # of windows in which a waypoint is signalled


@dataclasses.dataclass(frozen=True)
class Planning:
    """Budget of the planner."""

    horizon: int = 20
    candidates: int = 20
    num_steps: int = 20
    thrust_rate: float = 0.05
    signal_rate: float = 0.3
    replan_every: int = 2

    @functools.cached_property
    def optimizer(self):
        """Adam; thrusts are smaller than logits, and so are their steps."""
        adam = functools.partial(optax.adam, eps_root=1e-8)
        rates: dict[Hashable, optax.GradientTransformation]
        rates = {"thrust": adam(self.thrust_rate), "signal": adam(self.signal_rate)}
        return optax.partition(rates, {name: name for name in rates})


@functools.cache
def draw_episodes(seed, count):
    """Observed episodes of the random policy, and how often a window should begin in each step."""

    @jax.jit
    def draw(key):
        episodes = training.collect(WORLD, key, count)
        states = jax.vmap(jax.vmap(WORLD.observe_fn))(episodes.states)
        return dataclasses.replace(episodes, states=states)

    return draw(jax.random.key(seed))


def weigh(episodes, learning):
    """How often a window should begin at each step: more often if a waypoint will be signalled."""
    comes = (episodes.rewards == 1).astype(jnp.float32)[:, ::-1]
    ahead = jnp.cumsum(comes, 1)
    ahead = ahead - jnp.pad(ahead, ((0, 0), (learning.length, 0)))[:, : ahead.shape[1]]
    return jnp.where(ahead[:, ::-1] > 0, learning.contact_weight, 1.0)


def standardise(episodes):
    """Mean and standard deviation of the observations; 1 where there is no spread."""
    states = np.asarray(episodes.states, np.float64).reshape(-1, WIDTH)
    spread = states.std(0)
    return {"mean": states.mean(0), "scale": np.where(spread > 1e-5, spread, 1.0)}


@functools.cache
def make_batch_fn(learning):
    """Windows of episodes."""
    size = {"batch_size": learning.windows, "length": learning.length}
    return lambda key, episodes, weights: training.draw_windows(
        *(episodes, key), weights=weights, **size
    )


@functools.cache
def make_model_loss(noise):
    """The loss of the model, with noise on the signal."""
    noise = {"signal": noise, "thrust": 0.0}
    return lambda model, windows, key: training.model_loss(model, windows, key, action_noise=noise)


def learn_model(learning, hidden, seed, episodes, out):
    """A trained model, and the row of its last metrics."""
    model, rows = training.train(
        MLPModel(WIDTH, SPACE, hidden=hidden, **standardise(episodes), rngs=nnx.Rngs(seed)),
        SCAN,
        episodes,
        weigh(episodes, learning),
        batch_fn=make_batch_fn(learning),
        loss_fn=make_model_loss(learning.noise),
        optimizer=training.cosine_adam(learning.rate, learning.steps),
        key=jax.random.key(seed),
        num_steps=learning.steps,
        directory=out / f"model_{seed}",
        settings=dataclasses.asdict(learning)
        | {"hidden": hidden, "episodes": len(episodes.rewards)},
        checkpoint_every=1000,
        label=f"model, seed {seed}",
    )
    return model, rows[-1]


def model_errors(model, episodes):
    """Root mean squared errors on unseen episodes after some steps of the model's own."""
    model_fn, params = as_model_fn(model)
    scale = jnp.array(model.scale)

    @jax.jit
    def errors(params, windows):
        follow = lambda window: jp.descent.rollout(
            model_fn, params, window.states[0], window.actions
        )
        out = jax.vmap(follow)(windows)
        state = ((out.states - windows.states) / scale)[:, 1:, :MOVING]
        reward = out.rewards - windows.rewards
        return jnp.sqrt((state**2).mean((0, 2))), jnp.sqrt((reward**2).mean(0))

    windows = training.draw_windows(
        episodes, jax.random.key(0), batch_size=2000, length=max(ERROR_STEPS)
    )
    return {
        f"{name}_error_{step}": float(error[step - 1])
        for name, error in zip(("state", "reward"), errors(params, windows), strict=True)
        for step in ERROR_STEPS
    }


class Cautious(nnx.Module):
    """A model whose reward falls outside of what was seen, so that no plan goes there.

    reward - penalty * sum_i max(|z_i| - limit, 0), z the standardised position and velocity
    """

    def __init__(self, model, *, limit, penalty):
        self.model, self.limit, self.penalty = model, limit, penalty

    def encode(self, observation):
        return self.model.encode(observation)

    def decode(self, state):
        return self.model.decode(state)

    def __call__(self, state, action):
        following, reward, discount = self.model(state, action)
        z = (following - jnp.array(self.model.mean)) / jnp.array(self.model.scale)
        beyond = jax.nn.relu(jnp.abs(z[:MOVING]) - self.limit).sum()
        return following, reward - self.penalty * beyond, discount


def make_plan_fn(model_fn, planning):
    """``plan(params, state, key, latent) -> Plan``."""
    return lambda params, state, key, latent=None: jp.gradient_plan(
        *(model_fn, params, state, key),
        horizon=planning.horizon,
        action_space=SPACE,
        candidates=planning.candidates,
        num_steps=planning.num_steps,
        optimizer=planning.optimizer,
        initial=None if latent is None else jax.tree.map(lambda leaf: leaf[None], latent),
    )


def fly(model_fn, params, world_fn, world_params, states, key, planning, observe_fn=None):
    """`jplan.planners.Episode` of every first state, planned in closed loop."""
    plan_fn = make_plan_fn(model_fn, planning)

    def episode(state, latent, key):
        return receding_horizon(
            *(plan_fn, params, world_fn, world_params, state, key),
            initial=latent,
            num_steps=WORLD.max_steps,
            replan_every=planning.replan_every,
            observe_fn=observe_fn,
        )

    count = len(jax.tree.leaves(states)[0])
    latent_key, plan_key = jax.random.split(key)
    latents = SPACE.sample(latent_key, (count, planning.horizon))
    return jax.vmap(episode)(states, latents, jax.random.split(plan_key, count))


def draw_plans(model, planning, states, key, chunk=256):
    """Plans of the model from given states, their first half: what comes late is of no account."""
    model_fn, params = as_model_fn(model)
    plan = make_plan_fn(model_fn, planning)
    half = max(planning.horizon // 2, 1)

    @jax.jit
    def some(params, states, keys):
        found = training.plan_trajectories(
            jax.vmap(plan, in_axes=(None, 0, 0))(params, states, keys)
        )
        cut = lambda leaf, count: leaf[:, :count]
        return training.Trajectories(
            states=cut(found.states, half + 1),
            actions=jax.tree.map(lambda leaf: cut(leaf, half), found.actions),
            rewards=cut(found.rewards, half),
            discounts=cut(found.discounts, half),
        )

    keys = jax.random.split(key, len(states))
    parts = [
        some(params, states[first : first + chunk], keys[first : first + chunk])
        for first in range(0, len(states), chunk)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def imagine_states(policy, model, firsts, key):
    """A random state of the flight on which a policy is led from each first state, in the model."""
    model_fn, params = as_model_fn(model)
    graphdef, weights = nnx.split(policy)

    @jax.jit
    def visit(params, weights, firsts, key):
        def step(states, _):
            act = lambda state: SPACE.quantise(nnx.merge(graphdef, weights)(state))
            following, _, _ = jax.vmap(model_fn, (None, 0, 0))(
                params, states, jax.vmap(act)(states)
            )
            return following, following

        visited = jax.lax.scan(step, firsts, None, length=WORLD.max_steps)[1]
        times = jax.random.randint(key, (len(firsts),), 0, WORLD.max_steps)
        return visited[times, jnp.arange(len(firsts))]

    return visit(params, weights, firsts, key)


def distill_batch(key, plans):
    """Steps of plans."""
    return training.draw_windows(plans, key, batch_size=POLICY_BATCH, length=1)


def distill_loss(policy, windows, key):
    """Imitation of the plans."""
    del key
    return training.distill_loss(policy, windows, action_space=SPACE)


def imagine_batch(key, episodes, params):
    """States of random episodes, and the model."""
    windows = training.draw_windows(episodes, key, batch_size=IMAGINED, length=1)
    return windows.states[:, 0], params


@functools.cache
def make_imagine_loss(graphdef):
    """Minus the return in the model, which is of the batch and not trained."""

    def loss(policy, batch, key):
        states, params = batch
        model = nnx.merge(graphdef, params)
        return training.imagined_loss(
            policy, model, states, key, action_space=SPACE, horizon=IMAGINED_HORIZON
        )

    return loss


def learn_policy(name, episodes, *data, batch_fn, loss_fn, hidden, seed, steps, out, **settings):
    """A policy of four layers, as in the paper."""
    policy, _ = training.train(
        MLPPolicy(WIDTH, SPACE, hidden=hidden, **standardise(episodes), rngs=nnx.Rngs(seed)),
        SCAN,
        *data,
        batch_fn=batch_fn,
        loss_fn=loss_fn,
        optimizer=training.cosine_adam(POLICY_RATE, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"{name}_{seed}",
        settings=settings | {"steps": steps, "hidden": hidden},
        checkpoint_every=1000,
        label=f"{name} policy, seed {seed}",
    )
    return policy


def distill_policy(model, planning, episodes, *, count, seed, steps=POLICY_STEPS, **options):
    """DistGBP: a policy that imitates plans, from random states, then also from those it visits."""
    keys = iter(jax.random.split(jax.random.key(5000 + seed), 3 * ROUNDS))
    draw = lambda: training.draw_windows(episodes, next(keys), batch_size=count, length=1)
    parts, policy = [], None
    for index in range(ROUNDS):
        states = draw().states[:, 0]
        if policy is not None:
            states = imagine_states(policy, model, states, next(keys))
        parts.append(draw_plans(model, planning, states, next(keys)))
        plans = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
        policy = learn_policy(
            *(f"distilled_{index}", episodes, plans),
            batch_fn=distill_batch,
            loss_fn=distill_loss,
            plans=len(plans.rewards),
            planning=dataclasses.asdict(planning),
            seed=seed,
            steps=steps,
            **options,
        )
    return policy


def imagine_policy(model, episodes, *, steps=IMAGINED_STEPS, **options):
    """A policy that was trained by its own return in the model."""
    graphdef, params = nnx.split(model)
    return learn_policy(
        *("imagined", episodes, episodes, params),
        batch_fn=imagine_batch,
        loss_fn=make_imagine_loss(graphdef),
        steps=steps,
        **options,
    )
