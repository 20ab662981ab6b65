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
from jplan.nn import MLPModel, as_model_fn
from jplan.planners import receding_horizon

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
WORLD = envs.spaceship()
SPACE = WORLD.action_space
WIDTH, MOVING = 17, 4  # of an observation, and what of it changes
ERROR_STEPS = 1, 5, 20
CAUTION = {"limit": 2.0, "penalty": 0.5}


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
    candidates: int = 10
    num_steps: int = 10
    thrust_rate: float = 0.05
    signal_rate: float = 0.3
    replan_every: int = 4

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
