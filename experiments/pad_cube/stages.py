"""Planners that are learnt from the data of one task."""

import dataclasses
import functools
import math

import jax
import numpy as np
from cloning import learn_policy
from flax import nnx
from policies import cloned_policy, descent_policy

from jplan import training
from jplan.planners import DescentPlanner

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """What a planner is, and how it is trained."""

    steps: int
    batch: int
    rate: float = 1e-3
    horizon: int = 96
    max_past: int = 8
    width: int
    network_hidden: int
    hidden: int
    heads: int
    kernel_size: int
    stride: int
    projected: bool = True
    anchored: bool = True
    reconstruction: float = 1.0
    # The near future weighs more: a grasp takes millimetres, and where to put the cube does not.
    half_weight: float = 8.0


SIZES = {
    "small": Learning(
        steps=40_000,
        batch=16,
        width=32,
        network_hidden=256,
        hidden=128,
        heads=4,
        kernel_size=9,
        stride=8,
    ),
    "full": Learning(
        steps=100_000,
        batch=256,
        rate=3e-4,
        width=128,
        network_hidden=512,
        hidden=384,
        heads=6,
        kernel_size=5,
        stride=4,
    ),
}

VARIANTS = {
    "PaD": {},
    "without projector": {"projected": False},
    "without anchor": {"anchored": False},
    "without reconstruction": {"reconstruction": 0.0},
    "all futures alike": {"half_weight": math.inf},
}


def learn(method, data, options, seed):
    """``start_fn`` of a policy, and a row that describes it; read if it has been trained."""
    runs = options.out / "runs"
    if method == "cloning":
        folder = runs / f"{options.kind}_cloning_{seed}"
        policy, seconds = learn_policy(SCAN, data, options.cloning_steps, seed, folder)
        return cloned_policy(policy), {"seconds": seconds}
    learning = dataclasses.replace(SIZES[options.size], **VARIANTS[method])
    if options.steps:
        learning = dataclasses.replace(learning, steps=options.steps)
    if options.batch:
        learning = dataclasses.replace(learning, batch=options.batch)
    directory = runs / f"{options.kind}_{options.size}_{method}_{seed}"
    planner, row = learn_planner(learning, data, options.head_steps, seed, directory)
    chosen = {name: getattr(options, name) for name in ("replan_every", "candidates", "keep")}
    about = {name: row[name] for name in ("seconds", "effective_rank")}
    about["probe"] = probe_cube(planner, data)
    return descent_policy(planner, jax.random.key(4000 + seed), **chosen), about


def learn_planner(learning, data, head_steps, seed, directory):
    """The planner, and the last row of its training."""
    mean, scale = data.standard_numbers()
    fields = dataclasses.asdict(learning)
    steps, batch, rate = (fields.pop(name) for name in ("steps", "batch", "rate"))
    reconstruction, half_weight = (fields.pop(name) for name in ("reconstruction", "half_weight"))
    planner = DescentPlanner(
        *(data.states.shape[1], data.actions.shape[1]),
        **fields,
        mean=mean,
        scale=scale,
        rngs=nnx.Rngs(seed),
    )
    planner, rows = training.train_descent_planner(
        *(planner, SCAN, data),
        key=jax.random.key(seed),
        num_steps=steps,
        batch_size=batch,
        learning_rate=rate,
        loss_fn=denoise(reconstruction, half_weight),
        average_decay=0.999,
        steps_per_call=min(100, steps),
        directory=directory / "energy",
    )
    planner, _ = training.train_descent_heads(
        *(planner, SCAN, data),
        key=jax.random.key(2000 + seed),
        num_steps=head_steps,
        steps_per_call=min(500, head_steps),
        directory=directory,
        checkpoint_every=head_steps,
    )
    return planner, rows[-1]


@functools.cache
def denoise(reconstruction, half_weight):
    """The same function each time, so that it is compiled once."""
    options = {"reconstruction_weight": reconstruction, "half_weight": half_weight}
    return functools.partial(training.denoising_loss, **options)


def probe_cube(planner, data, count=20_000):
    """R^2 of the cube's place, read linearly from latents of states that were not fitted."""
    count = min(count, len(data.states) // 2)
    rows = jax.random.permutation(jax.random.key(5000), len(data.states))[: 2 * count]
    latents = np.asarray(planner.encoder(data.states[rows]))
    places = np.asarray(data.states[rows, 19:22])  # after 19 numbers of the arm
    inputs = np.column_stack([latents, np.ones(2 * count)])
    weights, *_ = np.linalg.lstsq(inputs[:count], places[:count])
    missed = np.sum((inputs[count:] @ weights - places[count:]) ** 2)
    return 1 - missed / np.sum((places[count:] - places[count:].mean(0)) ** 2)
