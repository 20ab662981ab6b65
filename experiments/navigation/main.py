"""Train a planner on small mazes, then plan on mazes and real maps it has never seen."""

import argparse
import csv
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
from flax import nnx
from real_maps import draw, load_real_map, tasks_on
from stages import ADJOINTS, CALL, SETTINGS, SOLVERS, build, check_solve_options, make_stages, train

from jplan import envs, training

MEASURES = ["success", "optimality", "spl", "single_start_success"]
COLUMNS = ["planner", "adjoint", "seed", "task", "size", "maps", *MEASURES, "seconds"]
EVALUATIONS = {15: (1000, 100), 27: (1000, 50), 49: (200, 10), 101: (100, 4)}  # maps, batch


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/navigation"))
    parser.add_argument("--planner", choices=SETTINGS, default="max-plus-vin")
    parser.add_argument("--adjoint", choices=["default", *ADJOINTS], default="default")
    parser.add_argument("--solver", choices=SOLVERS, default="picard", help="not of max-plus-vin")
    parser.add_argument(
        "--data", type=pathlib.Path, help="DiffPlan maze set (.npz) to train and validate on"
    )
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, one after another")
    parser.add_argument(
        "--map",
        nargs="*",
        help="MovingAI .map files or images; elevation is the real one that matplotlib ships, and "
        "what max-plus-vin takes if none is given",
    )
    parser.add_argument("--goals", type=int, default=1, help="random goals on each real map")
    parser.add_argument("--size", type=int, default=15, help="of the mazes to train on")
    parser.add_argument("--sizes", type=int, nargs="*", help="of the mazes to evaluate on")
    parser.add_argument("--steps", type=int, nargs="*", help="training steps, one for each stage")
    parser.add_argument("--iterations", type=int, help="budget K of the planner's iteration")
    parser.add_argument("--hidden", type=int, help="channels of gppn and conv-gppn")
    parser.add_argument("--batch", type=int, help="mazes a step")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument(
        "--shuffle-actions",
        action="store_true",
        help="control: permute what the actions mean, in training and evaluation",
    )
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    check_solve_options(parser, options)
    settings, grows = SETTINGS[options.planner], options.planner == "max-plus-vin"
    names = list(settings["stages"])
    steps = options.steps or list(settings["stages"].values())
    steps = [20, 10][: len(names)] if options.smoke else steps
    if len(steps) != len(names) or any(count % CALL or count < 1 for count in steps):
        parser.error(f"--steps wants a multiple of {CALL} for each of the stages {names}")
    options.stages = dict(zip(names, steps, strict=True))
    for name in ("batch", "learning_rate", "iterations", "hidden"):
        given = getattr(options, name)
        if given is not None and settings[name] is None:
            parser.error(f"{options.planner} has no --{name}")
        if given is not None and given <= 0:
            parser.error(f"--{name.replace('_', '-')} is {given}, expected more than 0")
        setattr(options, name, settings[name] if given is None else given)
    options.sizes = options.sizes or (list(EVALUATIONS) if grows else [options.size])
    options.sizes = [options.size] if options.smoke else options.sizes
    options.map = (["elevation"] if grows else []) if options.map is None else options.map
    return options


@functools.partial(jax.jit, static_argnames=("graphdef", "batch_size"))
def measure(state, tasks, inverse, key, *, graphdef, batch_size):
    """Mean measures of a planner whose logit ``inverse[a]`` is that of the world's action a."""
    plan = lambda maps: nnx.merge(graphdef, state)(maps)[..., inverse]
    measures = training.evaluate(plan, tasks, key, batch_size=batch_size)
    return {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES}


def evaluations(options, key):
    """Names, sizes, tasks and batch sizes of what a planner is measured on."""
    if options.data:
        tasks = envs.load_diffplan_mazes(options.data, split="valid")
        tasks = jax.tree.map(lambda leaf: leaf[:20], tasks) if options.smoke else tasks
        yield options.data.stem, tasks.free.shape[1], tasks, 20
    for size in options.sizes:
        count, batch_size = (20, 20) if options.smoke else EVALUATIONS.get(size, (200, 10))
        keys = jax.random.split(jax.random.fold_in(key, size), count)
        draw_maze = functools.partial(envs.maze, size=size)
        yield "maze", size, jax.jit(jax.vmap(draw_maze))(keys), batch_size


def main():
    options = parse_arguments()
    rows, begin = [], time.perf_counter()
    real_maps = {pathlib.Path(path).stem: load_real_map(path) for path in options.map}
    inverse, key = jnp.arange(4), jax.random.key(options.seed)
    while options.shuffle_actions and (inverse == jnp.arange(4)).any():
        key, draw_key = jax.random.split(key)
        inverse = jax.random.permutation(draw_key, 4)
    names = ["planner", "adjoint", "solver", "stages", "iterations", "hidden", "batch", "size"]
    settings = {name: getattr(options, name) for name in [*names, "learning_rate"]}
    settings |= {"actions": inverse.tolist(), "data": str(options.data)}
    tasks = envs.load_diffplan_mazes(options.data, split="train") if options.data else None
    stages = make_stages(options, tasks, inverse)
    for seed in range(options.seed, options.seed + options.seeds):
        out = options.out / f"seed_{seed}"
        train_key, maze_key, map_key = jax.random.split(jax.random.key(seed), 3)
        untrained = build(options, seed)
        planner = train(untrained, stages, seed, out, train_key, settings)
        training.save(out / "planner", planner)
        name = type(planner).__name__ + (", actions shuffled" if options.shuffle_actions else "")

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
            adjoint = type(planner.adjoint).__name__ if hasattr(planner, "adjoint") else "-"
            row = [name, adjoint, seed, task, size, len(tasks.goal)]
            rows.append(dict(zip(COLUMNS, [*row, *shares.values(), seconds], strict=True)))
            text = "  ".join(f"{key} {100 * value:6.2f}" for key, value in shares.items())
            print(f"{name:28} {task:>16} {size:>7}  {text}", flush=True)

        for index, (task, size, mazes, batch) in enumerate(evaluations(options, maze_key)):
            if index == 0:
                report(untrained, "untrained", task, size, mazes, batch)
            report(planner, name, task, size, mazes, batch)
            if seed == options.seed and task == "maze" and size <= 27:
                narrow = mazes.free.sum((1, 2)).argmin()
                draw(planner, mazes, narrow, inverse, options.out / f"maze_{size}.png")
        for label, free in real_maps.items():
            mazes = tasks_on(free, options.goals, map_key)
            report(planner, name, label, "x".join(map(str, free.shape)), mazes, 1)
            if seed == options.seed:
                draw(planner, mazes, 0, inverse, options.out / f"{label}.png")
    with open(options.out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{options.out}: planner, metrics.csv and pictures, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
