"""Voxel mazes: trained on small cubes, measured on large ones."""

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

from jplan import envs, mdp, planners, testing, training, viz

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
SIZE, STEPS = 7, 24  # of the mazes in training, and of the iteration
STAGES = {"soft": 400, "hard": 200}
UNSEEN = {16: 200, 32: 50}  # mazes of each size
MEASURES = ["success", "optimality", "spl"]


def draw_tasks(key, size, count):
    """Voxel mazes by the law of `envs.voxel_maze`."""
    return jax.vmap(lambda key: envs.voxel_maze(key, size))(jax.random.split(key, count))


@functools.cache
def make_batch_fn(count):
    """Mazes with all their optimal actions; one function for all seeds."""
    return lambda key: training.imitation_batch(draw_tasks(key, SIZE, count), moves=6)


def loss_fn(planner, batch, key):
    """Imitation in all cells that can reach the goal."""
    del key
    return training.imitation_loss(planner.solve(batch.maps, num_steps=STEPS).logits, batch)


@functools.partial(jax.jit, static_argnames=("graphdef", "size", "count"))
def measure(state, key, *, graphdef, size, count):
    """Mean measures, and the longest shortest path among the mazes."""
    task_key, start_key = jax.random.split(key)
    tasks = draw_tasks(task_key, size, count)
    planner = nnx.merge(graphdef, state)
    measures = training.evaluate(planner, tasks, start_key, moves=6, batch_size=1)
    lengths = lambda task: (
        -mdp.value_iteration(mdp.GridMDP.from_free(task.free, task.goal, moves=6)).value
    )
    longest = jax.lax.map(lambda task: _largest(lengths(task)), tasks).max()
    return {name: jnp.nanmean(getattr(measures, name)) for name in MEASURES}, longest


def _largest(lengths):
    return jnp.where(jnp.isfinite(lengths), lengths, 0).max()


def run_mazes(seed, out, smoke):
    """Rows of the table, one a size."""
    stages, count = ({"soft": 2}, 2) if smoke else (STAGES, 16)
    planner, logs = training.train_stages(
        planners.VoxelVIN(2, rngs=nnx.Rngs(seed)),
        SCAN,
        {
            f"mazes_{seed}_{stage}": training.Stage(
                num_steps=steps,
                batch_fn=make_batch_fn(count),
                loss_fn=loss_fn,
                optimizer=training.cosine_adam(1e-2, steps),
                begin_fn=harden if stage == "hard" else None,
                settings={"steps": steps},
            )
            for stage, steps in stages.items()
        },
        keys=jax.random.split(jax.random.key(seed), len(stages)),
        directory=out / "runs",
        steps_per_call=2 if smoke else 20,
    )
    seconds = sum(log[-1]["seconds"] for log in logs.values())
    if not smoke:
        check_symmetry(planner)
    training.save(out / "runs" / f"mazes_{seed}" / "planner", planner)
    graphdef, state = nnx.split(planner)
    for size, count in ({8: 4} if smoke else UNSEEN).items():
        key = jax.random.key(2027 + size)
        shares, longest = measure(state, key, graphdef=graphdef, size=size, count=count)
        row = {"seed": seed, "size": size, "mazes": count, "longest_path": int(longest)}
        row |= {name: round(float(value), 5) for name, value in shares.items()}
        yield row | {"train_seconds": round(seconds, 1)}
    draw(planner, 8 if smoke else 16, out / "maze.png")


def harden(planner):
    """The hard stage's planner, once the soft stage's is known to be symmetric."""
    check_symmetry(planner)
    return planner.hardened()


def check_symmetry(planner):
    """AssertionError unless the 48 turned and reflected copies of a maze have the same logits."""
    maps = envs.as_map(draw_tasks(jax.random.key(3), 9, 1))
    plan = nnx.jit(lambda maps: planner(maps))
    testing.assert_grid_equivariant(plan, maps, moves=6, atol=1e-4)


def draw(planner, size, path):
    """The way through one perfect maze, from the farthest cell, among its passages."""
    draw_maze = functools.partial(envs.voxel_maze, size=size, decimation=0.0)
    task = jax.jit(draw_maze)(jax.random.key(8))
    grid = mdp.GridMDP.from_free(task.free, task.goal, moves=6)
    distance = -np.asarray(mdp.value_iteration(grid).value)
    distance[~np.isfinite(distance)] = -1
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    actions = nnx.jit(lambda maps: planner(maps))(envs.as_map(task)).argmax(-1)
    plan = mdp.extract_path(grid, actions, start, max_length=int(2 * distance.max()))
    cells = np.asarray(plan.positions)
    cells = cells[(cells >= 0).all(-1)]
    figure = plt.figure(figsize=(7, 7), layout="constrained")
    axes = figure.add_subplot(projection="3d")
    free = np.argwhere(task.free)
    axes.scatter(*free.T[::-1], s=4, color="0.75", depthshade=False)
    axes.plot(*cells.T[::-1], color="C0", linewidth=2)
    axes.scatter(*cells[0][::-1], s=70, color="C2", label="start")
    axes.scatter(*np.asarray(task.goal)[::-1], s=70, color="C3", marker="s", label="goal")
    reached = f"{int(plan.num_steps)} steps" if plan.reached else "goal not reached"
    axes.set(xlabel="x", ylabel="y", zlabel="z")
    axes.set_title(f"maze of {size}³ voxels: {reached}, shortest {distance.max():.0f}")
    axes.legend()
    viz.save_figure(figure, path)
