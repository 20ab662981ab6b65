"""OGBench's cube tasks by their protocol: references, behaviour cloning, planning as descent."""

import argparse
import pathlib
import time

from published import published_rows
from stages import SIZES, VARIANTS, learn

from jplan import envs, training

PARTS = "references", "table"

SCRIPTS = {
    "random": envs.random_cube_policy,
    "script of noisy": lambda: envs.scripted_cube_policy("markov"),
    "script of play": lambda: envs.scripted_cube_policy("plan"),
}


def measure(start_fn, tasks, num_recorded=0):
    """Rows of a policy, and what it did."""
    begin = time.perf_counter()
    # One at a time: whoever is in a batch plans until its last episode is over.
    results = envs.evaluate_cube_policy(start_fn, tasks, batch_size=1, num_recorded=num_recorded)
    seconds = time.perf_counter() - begin
    return [row | {"run_seconds": seconds} for row in results.summary()], results


def references(options, tasks):
    """What chance and the scripts that made the data reach."""
    for method in options.scripts:
        rows, _ = measure(SCRIPTS[method](), tasks)
        yield from ({"method": method} | row for row in rows)


def table(options, tasks):
    """What is learnt from data; published rates are printed after it."""
    data = training.load_offline_data(options.data)
    for method in options.method:
        for seed in range(options.seed, options.seed + options.seeds):
            start_fn, about = learn(method, data, options, seed)
            rows, results = measure(start_fn, tasks, options.films)
            about = {"data": options.kind, "method": method, "seed": seed} | about
            yield from (about | row for row in rows)
            for index, frames in results.frames.items():
                name = f"{options.kind}_{method}_{seed}_task{results.task[index]}_{index}.gif"
                envs.save_gif(options.out / name, frames)
    for row in published_rows(f"cube-single-{options.kind}"):
        print(f"published: {row['method']} {row['success']} ± {row['deviation']} %")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=["table"])
    add("--out", type=pathlib.Path, default=pathlib.Path(".runs/pad_cube"))
    add("--kind", choices=["play", "noisy"], default="noisy", help="of the data")
    add("--data", type=pathlib.Path, help=".npz file (default: what data.py writes)")
    add("--method", nargs="+", choices=["cloning", *VARIANTS], default=["cloning", "PaD"])
    add("--size", choices=SIZES, default="small", help="small is for two cores, full for a GPU")
    add("--steps", type=int, help="of the training of a planner (default: of the size)")
    add("--batch", type=int, help="windows in a step (default: of the size)")
    add("--cloning-steps", type=int, default=20_000)
    add("--head-steps", type=int, default=10_000, help="of inverse dynamics and decoder")
    add("--seed", type=int, default=0, help="first seed")
    add("--seeds", type=int, default=1, help="number of seeds")
    add("--episodes", type=int, default=50, help="of each of the five tasks")
    add("--candidates", type=int, default=64)
    add("--keep", type=int, default=8, help="candidates that one is drawn from")
    add("--replan-every", type=int, default=4, help="steps that are taken of each plan")
    add("--films", type=int, default=0, help="episodes of each task that are filmed")
    add("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    options.scripts = list(SCRIPTS)
    if options.smoke:
        options.out /= "smoke"
        options.parts, options.scripts = PARTS, ["script of noisy"]
        options.episodes = 1
        options.steps, options.batch, options.cloning_steps, options.head_steps = 2, 2, 2, 2
        options.candidates, options.keep, options.replan_every = 2, 1, 48
        options.data = options.out / f"{options.kind}.npz"
    if options.data is None:
        options.data = pathlib.Path(f".runs/pad_cube/cube-single-{options.kind}-v0.npz")
    return options


def main():
    options = parse_arguments()
    if options.smoke and not options.data.exists():
        envs.generate_cube_data(options.data, kind=options.kind, num_episodes=1, num_validation=1)
    if options.films:  # the first environment of a program settles whether there are pictures
        envs.make_cube_environment("cube-single", render=True).close()
    path = options.out / f"tasks_{options.episodes}.npz"
    if not path.exists():
        tasks = envs.draw_cube_tasks("cube-single", episodes_per_task=options.episodes)
        envs.save_cube_tasks(path, tasks)
    tasks = envs.load_cube_tasks(path)
    if "references" in options.parts:
        training.write_table(references(options, tasks), options.out / "references.csv")
    if "table" in options.parts:
        training.write_table(table(options, tasks), options.out / f"{options.kind}.csv")


if __name__ == "__main__":
    main()
