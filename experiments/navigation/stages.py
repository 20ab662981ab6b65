"""How each planner is built and trained."""

import dataclasses
import functools

import jax
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
CALL = 10  # training steps a call

ADJOINTS = {
    "unroll": jp.Unroll(),
    "truncated": jp.Truncated(15),
    "safeguarded": jp.Safeguarded(steps=15),
    "implicit": jp.Implicit(backward=jp.Anderson(max_steps=15)),
    "one-step": jp.OneStep(),
}
SOLVERS = {"picard": jp.Picard, "anderson": jp.Anderson, "broyden": jp.Broyden}


def _settings(batch, learning_rate, iterations, *, hidden=None, **stages):
    """What the command line may override: mazes a step, rate, budget K, width, steps of stages."""
    return {
        "batch": batch,
        "learning_rate": learning_rate,
        "iterations": iterations,
        "hidden": hidden,
        "stages": stages,
    }


SETTINGS = {
    "max-plus-vin": _settings(32, 1e-2, 40, soft=500, hard=200),
    "vin": _settings(32, 1e-2, 40, train=2000),
    "gppn": _settings(8, 3e-3, 20, hidden=64, train=8000),
    "conv-gppn": _settings(8, 3e-3, 40, hidden=32, train=3000),
    "cnn": _settings(32, 1e-3, None, train=3000),
    "fcn": _settings(32, 1e-3, None, train=3000),
}


def check_solve_options(parser, options):
    """End with a message where a planner has nothing that an option could change."""
    reactive = options.planner in ("cnn", "fcn")
    if reactive and options.adjoint != "default":
        parser.error(f"{options.planner} solves nothing, so it has no --adjoint")
    if (reactive or options.planner == "max-plus-vin") and options.solver != "picard":
        parser.error(f"{options.planner} takes no other --solver")


def build(options, seed):
    """An untrained planner."""
    rngs = nnx.Rngs(seed)
    if options.planner == "cnn":
        return planners.CNN(4, 2, size=options.size, rngs=rngs)
    if options.planner == "fcn":
        return planners.FCN(4, 2, size=options.size, rngs=rngs)
    adjoint = None if options.adjoint == "default" else ADJOINTS[options.adjoint]
    if options.planner == "max-plus-vin":
        return planners.MaxPlusVIN(4, 2, adjoint=adjoint, rngs=rngs)
    common = {
        "adjoint": adjoint,
        "solver": SOLVERS[options.solver](max_steps=options.iterations),
        "rngs": rngs,
    }
    if options.planner == "vin":
        return planners.VIN(4, 2, **common)
    if options.planner == "gppn":
        return planners.GPPN(4, 2, hidden=options.hidden, inject=True, **common)
    return planners.ConvGPPN(4, 2, hidden=options.hidden, **common)


def maze_batch(options, key):
    """Fresh mazes by GPPN's law, with all their optimal actions."""
    keys = jax.random.split(key, options.batch)
    return training.imitation_batch(jax.vmap(lambda key: envs.maze(key, options.size))(keys))


def data_batch(options, tasks, key):
    """Mazes drawn from a data set, with all their optimal actions."""
    index = jax.random.randint(key, (options.batch,), 0, len(tasks.goal))
    return training.imitation_batch(jax.tree.map(lambda leaf: leaf[index], tasks))


def loss_fn(options, inverse, planner, batch, key):
    """Imitation in all cells, or in a few of them for a planner that sees one cell at a time."""
    if options.planner in ("cnn", "fcn"):
        policy = lambda *seen: planner.policy(*seen)[..., inverse]
        return training.sampled_imitation_loss(policy, batch, key)
    num_steps = options.iterations if options.planner == "max-plus-vin" else None
    out = planner.solve(batch.maps, num_steps=num_steps)
    loss, metrics = training.imitation_loss(out.logits[..., inverse], batch)
    return loss, metrics | {"residual": out.solution.residual.mean()}


def make_stages(options, tasks, inverse):
    """The stages; one object each for all seeds, so that each is compiled once."""
    batch = maze_batch if tasks is None else functools.partial(data_batch, tasks=tasks)

    def stage(name, steps):
        optimizer = optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps))
        if options.planner != "max-plus-vin":
            optimizer = optax.chain(optax.clip_by_global_norm(1.0), optimizer)
        return training.Stage(
            num_steps=steps,
            batch_fn=lambda key: batch(options, key=key),
            loss_fn=functools.partial(loss_fn, options, inverse),
            optimizer=optimizer,
            begin_fn=planners.MaxPlusVIN.hardened if name == "hard" else None,
        )

    return {name: stage(name, steps) for name, steps in options.stages.items()}


def train(planner, stages, seed, out, key, settings):
    """Run the stages one after the other, each resuming its own folder."""
    own = lambda name: settings | {"stage": name, "seed": seed}
    planner, _ = training.train_stages(
        planner,
        SCAN,
        {name: dataclasses.replace(s, settings=own(name)) for name, s in stages.items()},
        keys=jax.random.split(key, len(stages)),
        directory=out,
        steps_per_call=CALL,
        checkpoint_every=100,
    )
    return planner
