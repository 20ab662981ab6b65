"""Train a planner on small random mazes, then plan on mazes and real maps it has never seen."""

import argparse
import csv
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
from flax import nnx
from real_maps import draw, load_real_map, tasks_on
from stages import CALL, make_stages, train

from jplan import envs, planners, training

MEASURES = ["success", "optimality", "spl", "single_start_success"]
COLUMNS = ["planner", "adjoint", "seed", "task", "size", "maps", *MEASURES, "seconds"]
EVALUATIONS = {15: (1000, 100), 27: (1000, 50), 49: (200, 10), 101: (100, 4)}  # maps, batch


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/navigation"))
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, one after another")
    parser.add_argument(
        "--map",
        nargs="+",
        default=["elevation"],
        help="MovingAI .map files or images; elevation is the real one that matplotlib ships",
    )
    parser.add_argument("--goals", type=int, default=1, help="random goals on each real map")
    parser.add_argument("--soft-steps", type=int, default=500, help="steps of the soft stage")
    parser.add_argument("--hard-steps", type=int, default=200, help="steps of the hard stage")
    parser.add_argument("--batch", type=int, default=32, help="mazes a step")
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument(
        "--shuffle-actions",
        action="store_true",
        help="control: permute what the actions mean, in training and evaluation",
    )
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.soft_steps, options.hard_steps = 20, 10
    if options.soft_steps % CALL or options.hard_steps % CALL:
        parser.error(f"--soft-steps and --hard-steps must be multiples of {CALL}")
    return options


@functools.partial(jax.jit, static_argnames=("graphdef", "batch_size"))
def measure(state, tasks, inverse, key, *, graphdef, batch_size):
    """Mean measures of a planner whose logit ``inverse[a]`` is that of the world's action a."""
    plan = lambda maps: nnx.merge(graphdef, state)(maps)[..., inverse]
    measures = training.evaluate(plan, tasks, key, batch_size=batch_size)
    return {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES}


def main():
    options = parse_arguments()
    evaluations = {15: (20, 20)} if options.smoke else EVALUATIONS
    rows, begin = [], time.perf_counter()
    real_maps = {pathlib.Path(path).stem: load_real_map(path) for path in options.map}
    inverse, key = jnp.arange(4), jax.random.key(options.seed)
    while options.shuffle_actions and (inverse == jnp.arange(4)).any():
        key, draw_key = jax.random.split(key)
        inverse = jax.random.permutation(draw_key, 4)
    names = ("soft_steps", "hard_steps", "batch", "learning_rate")
    settings = {name: getattr(options, name) for name in names} | {"actions": inverse.tolist()}
    stages = make_stages(options, inverse)
    for seed in range(options.seed, options.seed + options.seeds):
        out = options.out / f"seed_{seed}"
        train_key, maze_key, map_key = jax.random.split(jax.random.key(seed), 3)
        untrained = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(seed))
        planner = train(untrained, stages, seed, out, train_key, settings)
        training.save(out / "planner", planner)
        name = "MaxPlusVIN, actions shuffled" if options.shuffle_actions else "MaxPlusVIN"

        def report(planner, name, task, size, tasks, batch_size, seed=seed):
            clock = time.perf_counter()
            graphdef, state = nnx.split(planner)
            shares = measure(
                *(state, tasks, inverse, jax.random.key(99)),
                graphdef=graphdef,
                batch_size=batch_size,
            )
            shares = {name: float(shares[name]) for name in MEASURES}
            seconds = round(time.perf_counter() - clock, 2)
            row = [name, type(planner.adjoint).__name__, seed, task, size, len(tasks.goal)]
            rows.append(dict(zip(COLUMNS, [*row, *shares.values(), seconds], strict=True)))
            text = "  ".join(f"{key} {100 * value:6.2f}" for key, value in shares.items())
            print(f"{name:28} {task:>16} {size:>7}  {text}", flush=True)

        for size, (count, batch_size) in evaluations.items():
            seeds = jax.random.split(jax.random.fold_in(maze_key, size), count)
            tasks = jax.jit(jax.vmap(lambda key, size=size: envs.maze(key, size)))(seeds)
            if size == 15:
                report(untrained, "untrained", "maze", size, tasks, batch_size)
            report(planner, name, "maze", size, tasks, batch_size)
            if seed == options.seed and size <= 27:
                narrow = tasks.free.sum((1, 2)).argmin()
                draw(planner, tasks, narrow, inverse, options.out / f"maze_{size}.png")
        for label, free in real_maps.items():
            tasks = tasks_on(free, options.goals, map_key)
            size = "x".join(map(str, free.shape))
            report(planner, name, label, size, tasks, 1)
            if seed == options.seed:
                draw(planner, tasks, 0, inverse, options.out / f"{label}.png")
    with open(options.out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{options.out}: planner, metrics.csv and pictures, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
