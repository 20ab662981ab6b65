"""One training run on the arm: what is trained, through which gradient, and what comes out."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training

CALL = 20  # training steps a call
MEASURES = ["success", "optimality", "spl"]
ADJOINTS = {
    "default": None,
    "unrolled": jp.Unroll(),
    "implicit": jp.Implicit(backward=jp.Anderson(max_steps=15)),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a planner is built and trained: maps a step, learning rate, steps of each stage."""

    make: Callable
    options: dict
    maps: int
    learning_rate: float
    stages: dict


SETTINGS = {
    "VIN": Setting(planners.VIN, {"q_channels": 80}, 16, 1e-2, {"train": 1000}),
    "SymVIN": Setting(planners.SymVIN, {"q_channels": 80, "hidden": 80}, 16, 1e-2, {"train": 1200}),
    "ConvGPPN": Setting(planners.ConvGPPN, {"hidden": 32}, 8, 3e-3, {"train": 2000}),
    "SymGPPN": Setting(planners.SymGPPN, {"hidden": 40}, 8, 3e-3, {"train": 1000}),
    "MaxPlusVIN": Setting(planners.MaxPlusVIN, {}, 32, 1e-2, {"soft": 500, "hard": 200}),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run. MaxPlusVIN takes 40 iterations in training and plans until convergence."""

    planner: str
    adjoint: str
    iterations: int
    bins: int
    seed: int

    @property
    def name(self):
        return "_".join(str(value) for value in dataclasses.astuple(self))


def make_planner(run):
    """An untrained planner for maps that are tori."""
    setting = SETTINGS[run.planner]
    options = setting.options | {"padding": "wrap", "rngs": nnx.Rngs(run.seed)}
    if run.planner != "MaxPlusVIN":
        options |= {"adjoint": ADJOINTS[run.adjoint], "max_steps": run.iterations}
    return setting.make(4, 2, **options)


def draw_tasks(key, bins, count):
    """Configuration maps of arms among polygons, and goals."""
    return jax.vmap(lambda key: envs.arm_task(key, bins)[1])(jax.random.split(key, count))


def loss_fn(run, planner, batch, key):
    """Imitation of all optimal actions in all configurations."""
    del key
    num_steps = run.iterations if run.planner == "MaxPlusVIN" else None
    out = planner.solve(batch.maps, num_steps=num_steps)
    loss, metrics = training.imitation_loss(out.logits, batch)
    return loss, metrics | {"residual": out.solution.residual.mean()}


@functools.cache
def compile_stage(run, count, is_hard):
    """The training function of a stage and its optimiser; one for all seeds."""
    setting = SETTINGS[run.planner]
    planner = make_planner(run)
    schedule = optax.cosine_decay_schedule(setting.learning_rate, count)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    # Left out where it is not finite, as plain implicit gradients may be.
    optimizer = optax.apply_if_finite(optimizer, max_consecutive_errors=count)

    def batch_fn(key):
        return training.imitation_batch(draw_tasks(key, run.bins, setting.maps), wrap=True)

    advance = functools.partial(
        training.scan_steps,
        graphdef=nnx.graphdef(planner.hardened() if is_hard else planner),
        optimizer=optimizer,
        batch_fn=batch_fn,
        loss_fn=functools.partial(loss_fn, run),
        num_steps=CALL,
    )
    return jax.jit(advance), optimizer


def train(run, stages, out):
    """The trained planner and its log; a run that was stopped goes on."""
    planner, log = make_planner(run), []
    keys = jax.random.split(jax.random.key(run.seed), len(stages))
    for (stage, count), key in zip(stages.items(), keys, strict=True):
        planner = planner.hardened() if stage == "hard" else planner
        advance, optimizer = compile_stage(dataclasses.replace(run, seed=0), count, stage == "hard")
        graphdef, state = training.init_state(planner, optimizer, key)
        setting = dataclasses.asdict(SETTINGS[run.planner]) | {"stages": stages}
        state, rows = training.fit(
            advance,
            state,
            num_steps=count,
            directory=out / run.name / stage,
            settings={name: str(value) for name, value in setting.items()},
            checkpoint_every=100,
            label=f"{run.name}, {stage}",
        )
        planner = nnx.merge(graphdef, state.params)
        log += rows
    return planner, log


@functools.partial(jax.jit, static_argnames="graphdef")
def measure(state, tasks, *, graphdef):
    """Mean measures of a planner over unseen arms."""
    planner = nnx.merge(graphdef, state)
    measures = training.evaluate(planner, tasks, jax.random.key(0), wrap=True)
    return {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES}


def evaluate(planner, bins, count):
    """`measure` on arms that no planner was trained on, as numbers."""
    tasks = jax.jit(draw_tasks, static_argnums=(1, 2))(jax.random.key(2027), bins, count)
    graphdef, state = nnx.split(planner)
    shares = measure(state, tasks, graphdef=graphdef)
    return {name: round(float(shares[name]), 5) for name in MEASURES}


def train_and_evaluate(run, stages, out, count):
    """A row of the table: the run, its measures, how its gradients were, and its time.

    ``gradient_not_finite`` is the share of the log's rows, 20 steps each, with such a gradient.
    """
    planner, log = train(run, stages, out)
    lost = [not math.isfinite(entry["gradient_norm"]) for entry in log]
    row = dataclasses.asdict(run) | evaluate(planner, run.bins, count)
    row |= {"gradient_not_finite": round(sum(lost) / len(lost), 3)}
    return planner, row | {"train_seconds": round(sum(stage_seconds(log)), 1)}


def stage_seconds(log):
    """Seconds of each stage: the log counts them from the stage's begin."""
    following = [*log[1:], {"step": 0}]
    return [a["seconds"] for a, b in zip(log, following, strict=True) if b["step"] <= a["step"]]
