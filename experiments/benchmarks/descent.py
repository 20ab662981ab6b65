"""Planning as descent: a plan, plans of 50 episodes at once, and a step of its training."""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
from flax import nnx
from timing import best_of

from jplan import training
from jplan.planners import DescentPlanner

# The planners of pad_pointmaze, of pad_cube on two cores, and of pad_cube in full.
SIZES = {
    "maze": ((4, 2), (64, 44, 4, 16, 128, 64, 4, 9, 8)),
    "cube, small": ((28, 5), (16, 96, 8, 32, 256, 128, 4, 9, 8)),
    "cube, full": ((28, 5), (256, 96, 8, 128, 512, 384, 6, 5, 4)),
}
NAMES = "horizon", "max_past", "width", "network_hidden", "hidden", "heads", "kernel_size", "stride"
CANDIDATES, EPISODES = 64, 50

# The descent alone.
denoise = functools.partial(training.denoising_loss, arrival_weight=0.0, reconstruction_weight=0.0)


def plans(planner, repeats):
    """Milliseconds of a plan: alone, and an episode of many: mapped, in pairs, or vmapped."""
    graphdef, params = nnx.split(planner)

    def plan(params, past, goal, key):
        return nnx.merge(graphdef, params).plan(past, goal, key, candidates=CANDIDATES, keep=8)

    past, goal = jnp.zeros((planner.max_past, planner.inputs)), jnp.ones(planner.inputs)
    keys = jax.random.split(jax.random.key(0), EPISODES)
    given = (
        jnp.broadcast_to(past, (EPISODES, *past.shape)),
        jnp.broadcast_to(goal, (EPISODES, *goal.shape)),
        keys,
    )
    latents = lambda params, one: plan(params, *one).latents
    mapped = lambda params, given: jax.lax.map(lambda one: latents(params, one), given)
    paired = lambda params, given: jax.lax.map(
        lambda one: latents(params, one), given, batch_size=2
    )
    vmapped = jax.vmap(latents, in_axes=(None, 0))
    one = past, goal, keys[0]
    ways = {
        "one by one": (jax.jit(latents), one, 1),
        f"{EPISODES} mapped": (jax.jit(mapped), given, EPISODES),
        f"{EPISODES} mapped in pairs": (jax.jit(paired), given, EPISODES),
        f"{EPISODES} vmapped": (jax.jit(vmapped), given, EPISODES),
    }
    for way, (run, arguments, count) in ways.items():
        first, later = best_of(lambda run=run, x=arguments: run(params, x), repeats)
        yield {
            "what": f"plan, {way}",
            "milliseconds": 1000 * later / count,
            "first_seconds": first,
        }


def steps(planner, batch_size, repeats):
    """Milliseconds of a gradient of the loss, and of an ordinary one of the same networks."""
    graphdef, params = nnx.split(planner)
    shape = batch_size, planner.horizon, planner.inputs
    batch = training.HindsightBatch(
        past=jnp.zeros((batch_size, planner.max_past, planner.inputs)),
        future=jax.random.normal(jax.random.key(1), shape),
        goal=jnp.ones((batch_size, planner.inputs)),
        progress=jnp.linspace(0, 1, batch_size),
    )

    def learn(params, batch, key):
        return denoise(nnx.merge(graphdef, params), batch, key)[0]

    def ordinary(params, batch, key):
        """Energies and projections of given latents: one forward pass of each."""
        planner = nnx.merge(graphdef, params)
        energy_fn, parts = planner.energy_fn()
        latents = jax.random.normal(key, (*shape[:2], planner.width))

        def of_one(future, past, goal, progress):
            energy = energy_fn(parts, future, past, goal, progress)
            return energy + energy_fn.project(parts, future).sum()

        given = planner.encoder(batch.past), planner.encoder(batch.goal), batch.progress
        return jax.vmap(of_one)(latents, *given).mean()

    times = {}
    for name, loss in (("ordinary", ordinary), ("step", learn)):
        slope = jax.jit(jax.grad(loss))
        first, times[name] = best_of(
            lambda run=slope: run(params, batch, jax.random.key(2)), repeats
        )
        yield {
            "what": f"gradient, {name}",
            "batch": batch_size,
            "milliseconds": 1000 * times[name],
            "first_seconds": first,
        }
    ratio = times["step"] / times["ordinary"] / planner.num_steps
    yield {"what": "gradient, a step of descent to ordinary", "batch": batch_size, "ratio": ratio}


def measure(options):
    for name in options.size:
        (inputs, actions), (batch, *sizes) = SIZES[name]
        networks = dict(zip(NAMES, sizes, strict=True))
        planner = DescentPlanner(inputs, actions, **networks, rngs=nnx.Rngs(0))
        yield from ({"size": name} | row for row in plans(planner, options.repeats))
        # Neither side has the likelihood, which is no part of the descent.
        planner = DescentPlanner(inputs, actions, **networks, anchored=False, rngs=nnx.Rngs(0))
        yield from ({"size": name} | row for row in steps(planner, batch, options.repeats))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path(".runs/benchmarks"))
    add("--size", nargs="+", choices=SIZES, default=list(SIZES)[:2])
    add("--repeats", type=int, default=5, help="rounds; the best time counts")
    options = parser.parse_args()
    training.write_table(measure(options), options.out / "descent.csv")


if __name__ == "__main__":
    main()
