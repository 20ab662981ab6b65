"""One run: the mapper and the planner apart, then both as one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training
from jplan.nn import PolarMapper, WorkspaceMapper

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
BINS = 18
STEPS = {"mapper": 2000, "planner": 1000, "joint": 600, "hard": 200}
ARMS = {"mapper": 32, "planner": 16, "joint": 16, "hard": 16}  # of a training step
RATES = {"mapper": 3e-3, "planner": 5e-3, "joint": 1e-3, "hard": 1e-3}
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


MAPPERS = {"polar": PolarMapper, "u-net": WorkspaceMapper}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run; budget K and adjoint do not concern MaxPlusVIN, which plans until convergence."""

    mapper: str
    planner: str
    adjoint: str
    iterations: int
    map_loss: float
    seed: int


def draw_arms(key, count):
    """Pictures of workspaces, and the tasks on their configuration maps."""
    worlds, tasks = jax.vmap(lambda key: envs.arm_task(key, BINS))(jax.random.split(key, count))
    return jax.vmap(envs.arm_image)(worlds), tasks


@functools.cache
def make_optimizer(rate, count):
    """Adam that leaves out gradients that are not finite, as plain implicit ones may be."""
    return optax.apply_if_finite(training.cosine_adam(rate, count), max_consecutive_errors=count)


@functools.cache
def make_batch_fn(stage):
    """Pictures, tasks, optimal actions; one function a stage, so that runs share compilations."""

    def batch_fn(key):
        pictures, tasks = draw_arms(key, ARMS[stage])
        return pictures, tasks, training.imitation_batch(tasks, wrap=True)

    return batch_fn


def mapper_loss(mapper, batch, key):
    """The mapper alone."""
    del key
    pictures, tasks, _ = batch
    graphdef, state = nnx.split(mapper)
    map_logits = jax.vmap(lambda picture: nnx.merge(graphdef, state)(picture))(pictures)
    right = jnp.mean((map_logits > 0) == tasks.free)
    loss = optax.sigmoid_binary_cross_entropy(map_logits, tasks.free).mean()
    return loss, {"map_accuracy": right}


def planner_loss(planner, batch, key):
    """The planner alone, on true maps."""
    del key
    targets = batch[2]
    return training.imitation_loss(planner(targets.maps), targets)


@functools.cache
def make_joint_loss(weight):
    """Both: imitation on the mapper's map, and the loss of that."""

    def joint_loss(model, batch, key):
        del key
        return training.mapped_imitation_loss(model, *batch, map_weight=weight)

    return joint_loss


def train(run, steps, out):
    """The trained model and the seconds that it took."""
    make, sizes = PLANNERS[run.planner]
    if run.planner != "MaxPlusVIN":
        sizes = sizes | {"adjoint": ADJOINTS[run.adjoint], "max_steps": run.iterations}
    planner = make(4, 2, **sizes, padding="wrap", rngs=nnx.Rngs(run.seed))
    mapper = MAPPERS[run.mapper](bins=BINS, rngs=nnx.Rngs(100 + run.seed))

    def stage(name, loss_fn, begin_fn=None):
        return training.Stage(
            num_steps=steps[name],
            batch_fn=make_batch_fn(name),
            loss_fn=loss_fn,
            optimizer=make_optimizer(RATES[name], max(1, steps[name])),
            begin_fn=begin_fn,
            settings={
                "steps": steps[name],
                "arms": ARMS[name],
                "rate": RATES[name],
                "gradients": "finite ones",
            },
        )

    own = f"{run.planner}_{run.adjoint}_{run.iterations}_{run.seed}"
    kind = f"{run.mapper}_{own}_{run.map_loss}_{steps['mapper']}"
    joint_loss = make_joint_loss(run.map_loss)
    of_mapper = {f"{run.mapper}_{run.seed}": stage("mapper", mapper_loss)}
    of_planner = {f"planner_{own}": stage("planner", planner_loss)}
    of_both = {f"joint_{kind}": stage("joint", joint_loss)}
    if run.planner == "MaxPlusVIN":
        harden = planners.MappedPlanner.hardened
        of_both[f"hard_{kind}"] = stage("hard", joint_loss, harden)
    keys = jax.random.split(jax.random.key(run.seed), 2 + len(of_both))
    fit = functools.partial(training.train_stages, scan_fn=SCAN, directory=out)
    mapper, mapper_log = fit(mapper, stages=of_mapper, keys=keys[:1])
    planner, planner_log = fit(planner, stages=of_planner, keys=keys[1:2])
    model = planners.MappedPlanner(mapper, planner)
    model, model_logs = fit(model, stages=of_both, keys=keys[2:])
    logs = (mapper_log | planner_log | model_logs).values()
    return model, sum(log[-1]["seconds"] for log in logs if log)


@functools.partial(jax.jit, static_argnames="graphdef")
def measure(state, pictures, tasks, *, graphdef):
    """Mean measures of the plans on the true maps, and how right the mapper's maps are."""
    model = nnx.merge(graphdef, state)
    inputs = pictures, tasks.goal
    measures = training.evaluate(
        lambda inputs: model(*inputs), tasks, jax.random.key(0), inputs=inputs, wrap=True
    )
    maps = jax.lax.map(lambda picture: model.map(picture[None])[0], pictures)
    shares = {name: jnp.nanmean(getattr(measures, name)) for name in ("success", "optimality")}
    return shares | {"map_accuracy": jnp.mean((maps > 0) == tasks.free)}


def train_and_evaluate(run, steps, out, count):
    """The model, and its row of the table."""
    model, seconds = train(run, steps, out)
    pictures, tasks = jax.jit(draw_arms, static_argnums=1)(jax.random.key(2027), count)
    graphdef, state = nnx.split(model)
    shares = measure(state, pictures, tasks, graphdef=graphdef)
    row = dataclasses.asdict(run) | {"mapper_steps": steps["mapper"]}
    row |= {name: round(float(share), 5) for name, share in shares.items()}
    return model, row | {"train_seconds": round(seconds, 1)}
