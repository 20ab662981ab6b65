"""Data of a wanderer, and the planners that are learnt from them."""

import dataclasses
import functools

import jax
import numpy as np
import optax
from flax import nnx

from jplan import envs, training
from jplan.planners import DescentPlanner
from jplan.training import SCAN_STATIC, cosine_adam, keep_average, scan_steps

SCAN = jax.jit(scan_steps, static_argnames=SCAN_STATIC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """What a planner is, and how it is trained."""

    steps: int = 2000
    batch: int = 64
    rate: float = 3e-3
    horizon: int = 44
    max_past: int = 4
    refinements: int = 2
    projected: bool = True
    timed: bool = True
    from_noise: float = 0.5
    ranking: float = 0.0
    hidden: int = 64


@functools.cache
def maze(size):
    """The one maze that everything happens in."""
    return np.asarray(envs.maze(jax.random.key(7), size, decimation=0.2).free)


@functools.cache
def draw_data(size, episodes, seed, num_steps=500):
    """What a wanderer did."""
    draw = jax.random.key(1000 + seed)
    return training.from_episodes(*envs.wander(maze(size), draw, episodes, num_steps))


def learn_planner(learning, data, seed, out, name):
    """A planner without its inverse dynamics, read if it has been trained; and the last row."""
    mean, scale = data.standard_numbers()
    planner = DescentPlanner(
        *(data.states.shape[1], data.actions.shape[1]),
        horizon=learning.horizon,
        max_past=learning.max_past,
        width=16,
        network_hidden=128,
        hidden=learning.hidden,
        heads=4,
        num_steps=learning.refinements,
        projected=learning.projected,
        timed=learning.timed,
        mean=mean,
        scale=scale,
        rngs=nnx.Rngs(seed),
    )
    return fit(
        *(planner, data),
        batch_fn=hindsight(learning.batch, learning.horizon, learning.max_past),
        loss_fn=denoise(learning.from_noise, learning.ranking),
        optimizer=keep_average(warm_adam(learning.rate, learning.steps), decay=0.995),
        seed=seed,
        num_steps=learning.steps,
        directory=out / f"{name}_{seed}",
        settings=dataclasses.asdict(learning) | {"rows": len(data.states), "seed": seed},
        label=f"{name}, seed {seed}",
    )


def learn_heads(planner, data, num_steps, seed):
    """The planner with inverse dynamics and decoder, learnt from these steps; it is changed."""
    for name, loss_fn in HEADS.items():
        head, _ = fit(
            *(getattr(planner, name), data, planner.encoder),
            batch_fn=transitions,
            loss_fn=loss_fn,
            optimizer=cosine_adam(3e-3, num_steps),
            seed=seed,
            num_steps=num_steps,
            label=name,
        )
        setattr(planner, name, head)
    return planner


def fit(module, *data, seed, num_steps, **options):
    module, rows = training.train(
        *(module, SCAN, *data),
        key=jax.random.key(seed),
        num_steps=num_steps,
        steps_per_call=min(100, num_steps),
        checkpoint_every=500,
        **options,
    )
    return module, rows[-1]


@functools.cache
def hindsight(batch_size, horizon, max_past):
    sizes = {"batch_size": batch_size, "horizon": horizon, "max_past": max_past}
    return lambda key, data: training.hindsight_batch(data, key, **sizes)


def transitions(key, data, encoder):
    return encoder, training.transition_batch(data, key, batch_size=256)


@functools.cache
def denoise(from_noise, ranking):
    return functools.partial(training.denoising_loss, from_noise=from_noise, ranking=ranking)


@functools.cache
def warm_adam(rate, steps):
    """AdamW whose rate rises over a tenth of the training, or 200 steps, and then decays."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, min(200, steps // 10), steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))


HEADS = {"inverse": training.inverse_loss, "decoder": training.decoder_loss}
