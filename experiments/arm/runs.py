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

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
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
    "SPT": Setting(planners.SPT, {"hidden": 64, "heads": 4}, 8, 1e-3, {"train": 1000}),
    "SPT, as published": Setting(
        planners.SPT, {"hidden": 64, "heads": 4, "inject": False}, 8, 1e-3, {"train": 1000}
    ),
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


@functools.cache
def make_batch_fn(bins, count):
    """Arms and the optimal actions of all their configurations."""
    return lambda key: training.imitation_batch(draw_tasks(key, bins, count), wrap=True)


@functools.cache
def make_loss(num_steps):
    """Imitation of all optimal actions everywhere, with a budget or the planner's own."""

    def loss_fn(planner, batch, key):
        del key
        out = planner.solve(batch.maps, num_steps=num_steps)
        loss, metrics = training.imitation_loss(out.logits, batch)
        return loss, metrics | {"residual": out.solution.residual.mean()}

    return loss_fn


@functools.cache
def make_optimizer(learning_rate, count):
    """Adam that leaves out gradients that are not finite, as plain implicit ones may be."""
    adam = training.cosine_adam(learning_rate, count)
    return optax.apply_if_finite(adam, max_consecutive_errors=count)


def train(run, stages, out):
    """The trained planner and the logs of its stages; a run that was stopped goes on."""
    setting = SETTINGS[run.planner]
    settings = dataclasses.asdict(setting) | {"stages": stages}
    planner, logs = training.train_stages(
        make_planner(run),
        SCAN,
        {
            stage: training.Stage(
                num_steps=count,
                batch_fn=make_batch_fn(run.bins, setting.maps),
                loss_fn=make_loss(run.iterations if run.planner == "MaxPlusVIN" else None),
                optimizer=make_optimizer(setting.learning_rate, count),
                begin_fn=planners.MaxPlusVIN.hardened if stage == "hard" else None,
                settings={name: str(value) for name, value in settings.items()},
            )
            for stage, count in stages.items()
        },
        keys=jax.random.split(jax.random.key(run.seed), len(stages)),
        directory=out / run.name,
        checkpoint_every=100,
    )
    return planner, list(logs.values())


@functools.partial(jax.jit, static_argnames=("graphdef", "num_steps"))
def measure(state, tasks, *, graphdef, num_steps):
    """Mean measures of a planner over unseen arms; without a budget until convergence."""
    planner = nnx.merge(graphdef, state)
    solver = num_steps and jp.Picard(max_steps=num_steps)
    plan = lambda maps: planner.solve(maps, solver=solver).logits
    measures = training.evaluate(plan, tasks, jax.random.key(0), batch_size=20, wrap=True)
    return {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES}


def evaluate(planner, bins, count, num_steps):
    """`measure` on arms that no planner was trained on, as numbers."""
    tasks = jax.jit(draw_tasks, static_argnums=(1, 2))(jax.random.key(2027), bins, count)
    graphdef, state = nnx.split(planner)
    shares = measure(state, tasks, graphdef=graphdef, num_steps=num_steps)
    return {name: round(float(shares[name]), 5) for name in MEASURES}


def train_and_evaluate(run, stages, out, count):
    """The planner, and its rows of the table: as trained, and on twice the bins with twice K.

    ``gradient_not_finite`` is the share of the log's rows, 20 steps each, with such a gradient, and
    ``residual`` how far the last batch of the training was from its fixed point.
    """
    planner, logs = train(run, stages, out)
    lost = [not math.isfinite(entry["gradient_norm"]) for log in logs for entry in log]
    training_row = {"gradient_not_finite": round(sum(lost) / len(lost), 3)}
    training_row |= {"residual": round(logs[-1][-1]["residual"], 5)}
    training_row |= {"train_seconds": round(sum(log[-1]["seconds"] for log in logs), 1)}
    rows = []
    for times in (1, 2):
        bins, arms = times * run.bins, count if times == 1 else max(1, count // 5)
        budget = None if run.planner == "MaxPlusVIN" else times * run.iterations
        row = dataclasses.asdict(run) | {"plan_bins": bins, "arms": arms}
        rows.append(row | evaluate(planner, bins, arms, budget) | training_row)
    return planner, rows
