"""One training run: what is trained, through which gradient, and what comes out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
CALL = 10  # training steps a call
STEPS = {"VIN": 1000, "ConvGPPN": 1200}
WIDTH = {"VIN": 40, "ConvGPPN": 16}
LEARNING_RATE = {"VIN": 1e-2, "ConvGPPN": 3e-3}
SOLVERS = {"picard": jp.Picard, "anderson": jp.Anderson, "broyden": jp.Broyden}
MEASURES = ["success", "optimality", "residual", "converged"]
REPORTED_MAPS = 20  # whose residual and status are averaged


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run.

    ``adjoint`` is "unrolled", "implicit" or "default", which is ``Truncated(15)`` for VIN and
    ``Safeguarded(15)`` for ConvGPPN; ``penalty`` weighs the squared norm of the step's Jacobian.
    """

    planner: str
    adjoint: str = "default"
    iterations: int = 30
    size: int = 15
    maps: int = 8
    solver: str = "picard"
    backward: str = "anderson"
    backward_steps: int = 15
    penalty: float = 0.0
    seed: int = 0

    @property
    def name(self):
        return "_".join(str(value) for value in dataclasses.astuple(self))


def make_planner(run, width=None):
    """An untrained planner."""
    backward = SOLVERS[run.backward](max_steps=run.backward_steps)
    options = {
        "adjoint": {
            "default": None,
            "unrolled": jp.Unroll(),
            "implicit": jp.Implicit(backward=backward),
        }[run.adjoint],
        "solver": SOLVERS[run.solver](max_steps=run.iterations),
        "rngs": nnx.Rngs(run.seed),
    }
    width = WIDTH[run.planner] if width is None else width
    if run.planner == "VIN":
        return planners.VIN(4, 2, q_channels=width, **options)
    return planners.ConvGPPN(4, 2, hidden=width, **options)


def batch_fn(run, key):
    """Fresh mazes by GPPN's law with all their optimal actions."""
    keys = jax.random.split(key, run.maps)
    return training.imitation_batch(jax.vmap(lambda key: envs.maze(key, run.size))(keys))


def loss_fn(run, planner, batch, key):
    """Imitation in all cells, and the penalty on the Jacobian at the solution."""
    out = planner.solve(batch.maps)
    loss, metrics = training.imitation_loss(out.logits, batch)
    if run.penalty:
        inputs = jax.vmap(planner.cell.prepare)(batch.maps)
        z = jax.lax.stop_gradient(out.solution.value)
        step = lambda inputs, z: planner.cell(z, inputs)
        penalty = functools.partial(jp.fixed_points.jacobian_penalty, step)
        loss += run.penalty * jax.vmap(penalty)(inputs, z, jax.random.split(key, run.maps)).mean()
    return loss, metrics | solve_report(out.solution)


def solve_report(solution):
    """Mean residual and share of the maps whose solve converged."""
    converged = solution.status == jp.Status.CONVERGED
    return {"residual": jnp.nanmean(solution.residual), "converged": converged.mean()}


def train(run, steps, out):
    """The trained planner and its log; a run that was stopped goes on."""
    rate = optax.cosine_decay_schedule(LEARNING_RATE[run.planner], steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    # A step with a gradient that is not finite is left out, as a careful user would have it.
    optimizer = optax.apply_if_finite(optimizer, max_consecutive_errors=steps)
    return training.train(
        make_planner(run),
        SCAN,
        batch_fn=functools.partial(batch_fn, run),
        loss_fn=functools.partial(loss_fn, run),
        optimizer=optimizer,
        key=jax.random.key(run.seed),
        num_steps=steps,
        steps_per_call=CALL,
        directory=out / run.name,
        settings=dataclasses.asdict(run)
        | {
            "width": WIDTH[run.planner],
            "learning_rate": LEARNING_RATE[run.planner],
            "steps": steps,
        },
        checkpoint_every=100,
        label=run.name,
    )


def train_max_plus(seed, steps, out):
    """MaxPlusVIN, trained on 15x15 mazes in its two stages; for all sizes."""
    run = Run("MaxPlusVIN", seed=seed)
    planner, _ = training.train_stages(
        planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(seed)),
        SCAN,
        {
            f"MaxPlusVIN_{seed}_{stage}": training.Stage(
                num_steps=count,
                batch_fn=functools.partial(batch_fn, run),
                loss_fn=max_plus_loss,
                optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, count)),
                begin_fn=planners.MaxPlusVIN.hardened if stage == "hard" else None,
                settings={"seed": seed} | steps,
            )
            for stage, count in steps.items()
        },
        keys=jax.random.split(jax.random.key(seed), len(steps)),
        directory=out,
        steps_per_call=CALL,
    )
    return planner


def max_plus_loss(planner, batch, key):
    """Imitation after 40 iterations."""
    del key
    return training.imitation_loss(planner.solve(batch.maps, num_steps=40).logits, batch)


@functools.partial(jax.jit, static_argnames=("graphdef", "size", "maps", "solver"))
def measure(state, *, graphdef, size, maps, solver=None):
    """Mean measures on unseen mazes, with the planner's own solver or another one."""
    planner = nnx.merge(graphdef, state)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(2023), size), maps)
    tasks = jax.vmap(lambda key: envs.maze(key, size))(keys)
    batch_size = max(1, 4500 // size**2)
    plan = lambda inputs: planner.solve(inputs, solver=solver)
    logits = lambda inputs: plan(inputs).logits
    measures = training.evaluate(logits, tasks, jax.random.key(0), batch_size=batch_size)
    shares = {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES[:2]}
    few = jax.tree.map(lambda leaf: leaf[:REPORTED_MAPS], tasks)
    report = lambda inputs: plan(inputs).solution.replace(value=None)
    return shares | solve_report(jax.lax.map(report, envs.as_map(few)))


def evaluate(planner, *, size, maps, solver=None):
    """`measure` of a planner, as numbers."""
    graphdef, state = nnx.split(planner)
    shares = measure(state, graphdef=graphdef, size=size, maps=maps, solver=solver)
    return {name: round(float(shares[name]), 5) for name in MEASURES}
