"""The table of the VIN paper: four planners on its own grids, by its own protocol."""

import argparse
import dataclasses
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
from flax import nnx
from picture import draw
from stages import KINDS, WORLD, compile_stage, make_planner, make_stages

from jplan import envs, training

SIZES = [8, 16, 28]
MEASURES = ["prediction_error", "single_start_success", "success", "optimality", "spl"]
COLUMNS = ["planner", "size", "seed", "parameters", "steps", "train_seconds", *MEASURES, "maps"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/vin_gridworld"))
    parser.add_argument("--planner", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, choices=SIZES)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, one after another")
    parser.add_argument("--maps", type=int, default=1000, help="unseen maps of each size")
    parser.add_argument("--cnn-maps", type=int, default=250, help="the same for the CNN at 28x28")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def train(planner, stages, seed, out):
    """Run the stages one after the other, each resuming its own folder."""
    keys, seconds = jax.random.split(jax.random.key(seed), len(stages)), 0.0
    for stage, key in zip(stages, keys, strict=True):
        planner = stage.begin(planner)
        advance, optimizer = compile_stage(stage, nnx.graphdef(planner))
        graphdef, state = training.init_state(planner, optimizer, key)
        fields = ("size", "steps", "maps", "learning_rate")
        settings = {name: getattr(stage, name) for name in fields} | {"seed": seed}
        settings |= planner.configuration()
        state, rows = training.fit(
            advance,
            state,
            num_steps=stage.steps,
            directory=out / stage.name,
            settings={name: repr(value) for name, value in settings.items()},
            checkpoint_every=500,
            label=f"{out.name}, {stage.name}",
        )
        planner = nnx.merge(graphdef, state.params)
        seconds += rows[-1]["seconds"]
    return planner, seconds


@functools.partial(jax.jit, static_argnames="graphdef")
def plan(state, maps, *, graphdef):
    """Logits on many maps, ten at a time."""
    return jax.lax.map(nnx.merge(graphdef, state), maps, batch_size=10)


@jax.jit
def measure(logits, tasks, key):
    """Means over the maps; a map where no cell can reach the goal does not count."""

    def on_map(arguments):
        task, logits, key = arguments
        one = jax.tree.map(lambda leaf: leaf[None], task)
        measures = training.evaluate(lambda _: logits[None], one, key, **WORLD)
        targets = training.imitation_batch(one, **WORLD)
        correct = jnp.take_along_axis(targets.optimal[0], logits.argmax(-1, keepdims=True), -1)
        wrong = jnp.sum(targets.mask[0] & ~correct[..., 0]) / jnp.sum(targets.mask)
        shares = {name: getattr(measures, name)[0] for name in MEASURES[1:]}
        return {"prediction_error": wrong} | shares

    keys = jax.random.split(key, len(logits))
    shares = jax.lax.map(on_map, (tasks, logits, keys), batch_size=50)
    return jax.tree.map(jnp.nanmean, shares)


def compare(options):
    """A row for each planner, size and seed."""
    for size in options.sizes:
        draw_task = lambda key, size=size: envs.vin_grid(key, size)
        seeds = jax.random.split(jax.random.fold_in(jax.random.key(2026), size), options.maps)
        tasks = jax.jit(jax.vmap(draw_task))(seeds)
        for kind in options.planner:
            stages = make_stages(kind, size)
            if options.smoke:
                stages = [dataclasses.replace(stage, size=8, maps=8, steps=2) for stage in stages]
            few = kind == "cnn" and size == 28
            unseen = jax.tree.map(lambda leaf, n=options.cnn_maps if few else None: leaf[:n], tasks)
            for seed in range(options.seed, options.seed + options.seeds):
                out = options.out / f"{kind}_{stages[-1].size}_{seed}"
                planner, seconds = train(make_planner(kind, size, seed), stages, seed, out)
                training.save(out / "planner", planner)
                graphdef, state = nnx.split(planner)
                logits = plan(state, envs.as_map(unseen), graphdef=graphdef)
                shares = measure(logits, unseen, jax.random.key(99))
                parameters = sum(leaf.size for leaf in jax.tree.leaves(state))
                steps = sum(stage.steps for stage in stages)
                row = [kind, size, seed, parameters, steps, round(seconds, 1)]
                row += [round(float(shares[name]), 5) for name in MEASURES]
                yield dict(zip(COLUMNS, [*row, len(unseen.goal)], strict=True))
                if kind == "vin" and seed == options.seed:
                    first = jax.tree.map(lambda leaf: leaf[0], tasks)
                    draw(planner, first, options.out / f"vin_{size}.png")


def main():
    options = parse_arguments()
    begin = time.perf_counter()
    if options.smoke:
        # Without the CNN, which is trained as the FCN is.
        options.sizes, options.maps, options.planner = [8], 20, ["vin", "max-plus-vin", "fcn"]
    training.write_table(compare(options), options.out / "metrics.csv")
    print(f"{options.out}: planners, metrics.csv, pictures, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
