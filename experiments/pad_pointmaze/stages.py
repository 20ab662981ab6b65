"""Data of a wanderer, and the planners that are learnt from them."""

import dataclasses
import functools

import jax
import numpy as np
from flax import nnx

from jplan import envs, training
from jplan.planners import DescentPlanner
from jplan.training import SCAN_STATIC, scan_steps

SCAN = jax.jit(scan_steps, static_argnames=SCAN_STATIC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """What a planner is, and how it is trained."""

    steps: int = 3000
    batch: int = 64
    rate: float = 3e-3
    horizon: int = 44
    max_past: int = 4
    refinements: int = 2
    projected: bool = True
    timed: bool = True
    from_noise: float = 0.5
    reconstruction: float = 1.0
    anchored: bool = True
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


def learn_planner(learning, data, seed, directory):
    """A planner without its inverse dynamics, read if it has been trained; and the last row."""
    mean, scale = data.standard_numbers()
    losses = {"from_noise": learning.from_noise, "reconstruction_weight": learning.reconstruction}
    planner = DescentPlanner(
        *(data.states.shape[1], data.actions.shape[1]),
        horizon=learning.horizon,
        max_past=learning.max_past,
        width=16,
        network_hidden=128,
        hidden=learning.hidden,
        heads=4,
        kernel_size=9,
        stride=8,
        num_steps=learning.refinements,
        projected=learning.projected,
        timed=learning.timed,
        anchored=learning.anchored,
        mean=mean,
        scale=scale,
        rngs=nnx.Rngs(seed),
    )
    planner, rows = training.train_descent_planner(
        *(planner, SCAN, data),
        key=jax.random.key(seed),
        num_steps=learning.steps,
        batch_size=learning.batch,
        learning_rate=learning.rate,
        loss_fn=denoise(**losses),
        steps_per_call=min(100, learning.steps),
        directory=directory,
    )
    return planner, rows[-1]


def learn_heads(planner, data, num_steps, seed, directory):
    """The planner with inverse dynamics and decoder, learnt from these steps, or read."""
    planner, _ = training.train_descent_heads(
        *(planner, SCAN, data),
        key=jax.random.key(2000 + seed),
        num_steps=num_steps,
        steps_per_call=min(100, num_steps),
        directory=directory,
    )
    return planner


@functools.cache
def denoise(**options):
    """The same function each time, so that it is compiled once."""
    return functools.partial(training.denoising_loss, **options)
