"""One run: the planner on true maps first, then mapper and planner as one on rendered views."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training
from jplan.nn import PanoramaMapper

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
STEPS = {"planner": 1000, "joint": 400, "hard": 100}
MAZES = {"planner": 16, "joint": 4, "hard": 4}  # of a training step
RATES = {"planner": 5e-3, "joint": 1e-3, "hard": 1e-3}
PLANNERS = {
    "MaxPlusVIN": (planners.MaxPlusVIN, {}),
    "SymVIN": (planners.SymVIN, {"q_channels": 80, "hidden": 80}),
    "ConvGPPN": (planners.ConvGPPN, {"hidden": 32}),
    "VIN": (planners.VIN, {"q_channels": 80}),
}
ADJOINTS = {
    "default": None,
    "unrolled": jp.Unroll(),
    "implicit": jp.Implicit(backward=jp.Anderson(max_steps=15)),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run; budget K and adjoint do not concern MaxPlusVIN, which plans until convergence."""

    planner: str
    adjoint: str
    size: int
    iterations: int
    map_loss: float
    seed: int


def draw_tasks(key, size, count):
    """Mazes by the law of `envs.maze`."""
    return jax.vmap(lambda key: envs.maze(key, size))(jax.random.split(key, count))


@functools.cache
def make_optimizer(rate, count):
    """Adam that leaves out gradients that are not finite, as plain implicit ones may be."""
    return optax.apply_if_finite(training.cosine_adam(rate, count), max_consecutive_errors=count)


@functools.cache
def make_batch_fn(stage, size):
    """Mazes and optimal actions, and beside the planner's stage the views, rendered on the fly."""

    def batch_fn(key):
        tasks = draw_tasks(key, size, MAZES[stage])
        targets = training.imitation_batch(tasks)
        views = jax.vmap(envs.panorama)(tasks.free) if stage != "planner" else None
        return views, tasks, targets

    return batch_fn


def planner_loss(planner, batch, key):
    """The planner alone, on true maps."""
    del key
    targets = batch[2]
    return training.imitation_loss(planner(targets.maps), targets)


@functools.cache
def make_joint_loss(weight):
    """Imitation on the mapper's map, and binary cross-entropy of that map."""

    def joint_loss(model, batch, key):
        del key
        return training.mapped_imitation_loss(model, *batch, map_weight=weight)

    return joint_loss


def train(run, steps, out):
    """The trained model and the seconds that it took."""
    make, sizes = PLANNERS[run.planner]
    if run.planner != "MaxPlusVIN":
        sizes = sizes | {"adjoint": ADJOINTS[run.adjoint], "max_steps": run.iterations}
    planner = make(4, 2, **sizes, rngs=nnx.Rngs(run.seed))

    def stage(name, loss_fn, begin_fn=None):
        return training.Stage(
            num_steps=steps[name],
            batch_fn=make_batch_fn(name, run.size),
            loss_fn=loss_fn,
            optimizer=make_optimizer(RATES[name], max(1, steps[name])),
            begin_fn=begin_fn,
            settings={
                "steps": steps[name],
                "mazes": MAZES[name],
                "rate": RATES[name],
                "gradients": "finite ones",
            },
        )

    def see(planner):
        return planners.MappedPlanner(PanoramaMapper(rngs=nnx.Rngs(100 + run.seed)), planner)

    own = f"{run.planner}_{run.adjoint}_{run.size}_{run.iterations}_{run.seed}"
    joint_loss = make_joint_loss(run.map_loss)
    stages = {
        f"planner_{own}": stage("planner", planner_loss),
        f"joint_{own}_{run.map_loss}": stage("joint", joint_loss, see),
    }
    if run.planner == "MaxPlusVIN":
        harden = planners.MappedPlanner.hardened
        stages[f"hard_{own}_{run.map_loss}"] = stage("hard", joint_loss, harden)
    keys = jax.random.split(jax.random.key(run.seed), len(stages))
    model, logs = training.train_stages(planner, SCAN, stages, keys=keys, directory=out)
    return model, sum(log[-1]["seconds"] for log in logs.values() if log)


@functools.partial(jax.jit, static_argnames="graphdef")
def measure(state, tasks, *, graphdef):
    """Mean measures of the plans, and how right the mapper's maps are; views are not kept."""
    model = nnx.merge(graphdef, state)
    look = lambda free: model.map(jax.vmap(envs.panorama)(free))
    measures = training.evaluate(
        lambda inputs: model.plan(look(inputs[0]), inputs[1]).logits,
        *(tasks, jax.random.key(0)),
        inputs=(tasks.free, tasks.goal),
        batch_size=4,
    )
    maps = jax.lax.map(lambda free: look(free[None])[0], tasks.free)
    shares = {name: jnp.nanmean(getattr(measures, name)) for name in ("success", "optimality")}
    return shares | {"map_accuracy": jnp.mean((maps > 0) == tasks.free)}


def train_and_evaluate(run, steps, out, count):
    """The model, and its row of the table."""
    model, seconds = train(run, steps, out)
    tasks = jax.jit(draw_tasks, static_argnums=(1, 2))(jax.random.key(2027), run.size, count)
    graphdef, state = nnx.split(model)
    shares = measure(state, tasks, graphdef=graphdef)
    row = dataclasses.asdict(run)
    row |= {name: round(float(share), 5) for name, share in shares.items()}
    return model, row | {"train_seconds": round(seconds, 1)}
