"""The four planners of the table, and the stages in which each is trained."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jplan import envs, planners, training

WORLD: dict[str, Any] = {"moves": 8, "costs": "octile", "corner_cutting": True}
CALL = 50  # training steps a call
DEPTH = {8: 20, 16: 40, 28: 70}  # VIN's K: longer ways than these are very rare
STEPS = {
    "vin": {8: 6000, 16: 6000, 28: 2000},
    "fcn": {8: 4000, 16: 8000, 28: 12000},
    "cnn": {8: 4000, 16: 4000, 28: 4000},
}
MAX_PLUS_STEPS = {"soft": 500, "hard": 300}
KINDS = ["max-plus-vin", *STEPS]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a training: what it makes of the planner so far, and how it trains that."""

    name: str
    size: int
    steps: int
    maps: int
    learning_rate: float
    loss_fn: training.LossFn
    begin: Callable[[Any], Any] = lambda planner: planner


def make_planner(kind, size, seed):
    rngs = nnx.Rngs(seed)
    if kind == "vin":
        return planners.VIN(8, 2, max_steps=DEPTH[size], rngs=rngs)
    if kind == "max-plus-vin":
        return planners.MaxPlusVIN(8, 2, rngs=rngs)
    return {"cnn": planners.CNN, "fcn": planners.FCN}[kind](8, 2, size=size, rngs=rngs)


def loss_on_maps(planner, batch, key, num_steps=None):
    """All cells that can reach the goal."""
    del key
    return training.imitation_loss(planner.solve(batch.maps, num_steps=num_steps).logits, batch)


def loss_at_positions(planner, batch, key):
    """Some cells of each map that can reach the goal."""
    return training.sampled_imitation_loss(planner.policy, batch, key)


def make_stages(kind, size):
    """The stages of a planner, in order."""
    if kind == "max-plus-vin":  # what it learns is local: one training serves all sizes
        loss_fn = functools.partial(loss_on_maps, num_steps=40)
        options = {"maps": 32, "learning_rate": 1e-2, "loss_fn": loss_fn}
        soft, hard = (Stage(name, 16, n, **options) for name, n in MAX_PLUS_STEPS.items())
        return [soft, dataclasses.replace(hard, begin=planners.MaxPlusVIN.hardened)]
    if kind == "vin":
        return [Stage("train", size, STEPS[kind][size], 12, 1e-2, loss_on_maps)]
    return [Stage("train", size, STEPS[kind][size], 32, 1e-3, loss_at_positions)]


@functools.partial(jax.jit, static_argnames=("size", "count"))
def make_batch(key, *, size, count):
    """Fresh maps from VIN's law with all their optimal actions."""
    tasks = jax.vmap(lambda key: envs.vin_grid(key, size))(jax.random.split(key, count))
    return training.imitation_batch(tasks, **WORLD)


@functools.cache
def compile_stage(stage, graphdef):
    """The training function of a stage and its optimiser, compiled once for all seeds."""
    schedule = optax.cosine_decay_schedule(stage.learning_rate, stage.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    step = functools.partial(
        training.train_step, graphdef=graphdef, optimizer=optimizer, loss_fn=stage.loss_fn
    )
    step = jax.jit(step)

    def advance(state):
        # No scan with the data inside, or the generator would be compiled anew for each planner.
        metrics = []
        for _ in range(min(CALL, stage.steps)):
            key, _ = training.step_keys(state)
            state, measured = step(state, make_batch(key, size=stage.size, count=stage.maps))
            metrics.append(measured)
        return state, jax.tree.map(lambda *values: jnp.stack(values).mean(), *metrics)

    return advance, optimizer
