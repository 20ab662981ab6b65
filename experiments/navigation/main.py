"""Train a planner on small random mazes, then plan on mazes and real maps it has never seen."""

import argparse
import csv
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jplan import envs, mdp, planners, training, viz

COLUMNS = [
    *("planner", "adjoint", "seed", "task", "size", "maps"),
    *("success", "optimality", "spl", "single_start_success", "seconds"),
]
EVALUATIONS = {15: (1000, 100), 27: (1000, 50), 49: (200, 10), 101: (100, 4)}  # maps, batch


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/navigation"))
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, one after another")
    parser.add_argument(
        "--map", nargs="*", default=[], help="MovingAI .map files or images; none: real elevation"
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
    return parser.parse_args()


def train(planner, options, seed, inverse, out, key):
    """Two stages: soft costs and kernels, then closed moves and single targets."""

    def batch_fn(key):
        tasks = jax.vmap(lambda key: envs.maze(key, 15))(jax.random.split(key, options.batch))
        return training.imitation_batch(tasks)

    def loss_fn(planner, batch, key):
        del key
        logits = planner.solve(batch.maps, num_steps=40).logits[..., inverse]
        return training.imitation_loss(logits, batch)

    stages = {"soft": options.soft_steps, "hard": options.hard_steps}
    for (stage, steps), key in zip(stages.items(), jax.random.split(key), strict=True):
        planner = planner.hardened() if stage == "hard" else planner
        planner, _ = training.fit(
            planner,
            batch_fn,
            loss_fn,
            optimizer=optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps)),
            num_steps=steps,
            steps_per_call=10,
            checkpoint_every=100,
            key=key,
            directory=out / stage,
            label=f"seed {seed}, {stage}",
        )
    return planner


def measure(planner, tasks, inverse, key, batch_size):
    """Mean measures of a planner whose logit ``inverse[a]`` is that of the world's action a."""
    graphdef, state = nnx.split(planner)

    @jax.jit
    def run(state, tasks, key):
        plan = lambda maps: nnx.merge(graphdef, state)(maps)[..., inverse]
        return training.evaluate(plan, tasks, key, batch_size=batch_size)

    measures = run(state, tasks, key)
    names = ("success", "optimality", "spl", "single_start_success")
    return {name: float(jnp.nanmean(getattr(measures, name))) for name in names}


def real_map_tasks(path, goals, key):
    """The largest connected part of a real map, with random goals."""
    if path is None:
        elevation, cell_size = envs.load_jacksboro_elevation()
        free = envs.free_from_elevation(elevation, cell_size=cell_size, max_slope=20.0)
    else:
        free = envs.load_map(path)
    free = envs.largest_component(jnp.asarray(free))
    goal = jax.vmap(lambda key: envs.random_free_cell(key, free))(jax.random.split(key, goals))
    return envs.GridTask(free=jnp.broadcast_to(free, (goals, *free.shape)), goal=goal)


def draw(planner, task, inverse, path):
    """The plan from the farthest cell, with the planner's values and the greedy policy."""
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
    distance = jnp.where(grid.free, -mdp.value_iteration(grid).value, -jnp.inf)
    distance = jnp.where(jnp.isfinite(distance), distance, -1)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    out = planner.solve(envs.as_map(task))
    actions = out.logits[..., inverse].argmax(-1)
    length = int(distance.max()) + 1
    plan = mdp.extract_path(grid, actions, start, max_length=2 * length)
    value = jnp.where(distance >= 0, out.value, -jnp.inf)
    axes = viz.plot_map(
        task.free, goal=task.goal, start=start, value=value, actions=actions, path=plan.positions,
        title=f"{plan.num_straight} steps, shortest {length - 1}",
    )
    viz.save_figure(axes.figure, path)


def main():
    options = parse_arguments()
    evaluations = {15: (20, 20)} if options.smoke else EVALUATIONS
    if options.smoke:
        options.soft_steps, options.hard_steps = 20, 10
    rows, begin = [], time.perf_counter()
    for seed in range(options.seed, options.seed + options.seeds):
        out = options.out / f"seed_{seed}"
        keys = list(jax.random.split(jax.random.key(seed), 4))
        inverse = jnp.arange(4)
        while options.shuffle_actions and (inverse == jnp.arange(4)).any():
            keys[0], key = jax.random.split(keys[0])
            inverse = jax.random.permutation(key, 4)
        untrained = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(seed))
        planner = train(untrained, options, seed, inverse, out, keys[1])
        training.save(out / "planner", planner)
        name = "MaxPlusVIN, actions shuffled" if options.shuffle_actions else "MaxPlusVIN"

        def report(planner, name, task, size, tasks, batch_size, seed=seed, inverse=inverse):
            clock = time.perf_counter()
            result = measure(planner, tasks, inverse, jax.random.key(99), batch_size)
            row = [name, type(planner.adjoint).__name__, seed, task, size, len(tasks.goal)]
            rows.append(dict(zip(COLUMNS, [*row, *result.values()], strict=False)))
            rows[-1]["seconds"] = round(time.perf_counter() - clock, 2)
            shares = "  ".join(f"{key} {100 * value:6.2f} %" for key, value in result.items())
            print(f"{name:28} {task:>18} {size:>9} {shares}", flush=True)

        for size, (count, batch_size) in evaluations.items():
            seeds = jax.random.split(jax.random.fold_in(keys[2], size), count)
            tasks = jax.jit(jax.vmap(lambda key, size=size: envs.maze(key, size)))(seeds)
            if size == 15:
                report(untrained, "untrained", "maze", size, tasks, batch_size)
                draw(planner, jax.tree.map(lambda x: x[0], tasks), inverse, out / "maze.png")
            report(planner, name, "maze", size, tasks, batch_size)
        for path in options.map or [None]:
            tasks = real_map_tasks(path, options.goals, keys[3])
            label = pathlib.Path(path).stem if path else "jacksboro"
            size = "x".join(map(str, tasks.free.shape[1:]))
            report(planner, name, label, size, tasks, 1)
            draw(planner, jax.tree.map(lambda x: x[0], tasks), inverse, out / f"{label}.png")
    with open(options.out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{options.out}: planner, metrics.csv and pictures, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
