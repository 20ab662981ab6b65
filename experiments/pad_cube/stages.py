"""Planners that are learnt from the data of one task."""

import dataclasses

import jax
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


SIZES = {
    "small": Learning(
        steps=13_000,
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
}


def learn(method, data, options, seed):
    """``start_fn`` of a policy, and the seconds of its training; read if it has been trained."""
    directory = options.out / "runs" / f"{options.kind}_{options.size}_{method}_{seed}"
    if method == "cloning":
        steps = options.cloning_steps
        policy, seconds = learn_policy(SCAN, data, steps, seed, directory)
        return cloned_policy(policy), seconds
    learning = dataclasses.replace(SIZES[options.size], **VARIANTS[method])
    if options.steps:
        learning = dataclasses.replace(learning, steps=options.steps)
    if options.batch:
        learning = dataclasses.replace(learning, batch=options.batch)
    planner, seconds = learn_planner(learning, data, options.head_steps, seed, directory)
    training.save(directory / "planner", planner)
    chosen = {name: getattr(options, name) for name in ("replan_every", "candidates", "keep")}
    return descent_policy(planner, jax.random.key(4000 + seed), **chosen), seconds


def learn_planner(learning, data, head_steps, seed, directory):
    """The planner, and the seconds that its energy took."""
    mean, scale = data.standard_numbers()
    fields = dataclasses.asdict(learning)
    steps, batch, rate = (fields.pop(name) for name in ("steps", "batch", "rate"))
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
        decay=0.999,
        loss_fn=training.denoising_loss,
        steps_per_call=min(100, steps),
        directory=directory,
        settings=dataclasses.asdict(learning) | {"rows": len(data.states), "seed": seed},
    )
    key = jax.random.key(2000 + seed)
    calls = {"num_steps": head_steps, "steps_per_call": min(500, head_steps)}
    planner = training.train_descent_heads(planner, SCAN, data, key=key, **calls)
    return planner, rows[-1]["seconds"]
