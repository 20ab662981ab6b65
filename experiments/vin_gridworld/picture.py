"""What a trained VIN sees in a map: its reward, its value, and the path it takes."""

import jax
import jax.numpy as jnp
from stages import WORLD

from jplan import envs, mdp, viz


def draw(planner, tasks, path):
    """Reward, value and path on the map with the longest shortest path."""
    from matplotlib import pyplot

    def solve(task):
        grid = mdp.GridMDP.from_free(task.free, goal=task.goal, **WORLD)
        distance = -mdp.value_iteration(grid).value
        return jnp.where(jnp.isfinite(distance), distance, -1.0)

    distances = jax.jit(jax.vmap(solve))(tasks)
    index = distances.max((1, 2)).argmax()
    task, distance = jax.tree.map(lambda leaf: leaf[index], (tasks, distances))
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    seen = envs.as_map(task)
    out = planner.solve(seen)
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, **WORLD)
    plan = mdp.extract_path(grid, out.logits.argmax(-1), start, max_length=distance.size)
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 5.4), layout="constrained")
    pictures = {
        "reward": {"value": planner.mapper(seen)},
        "value": {"value": out.value},
        f"path of {plan.length:.1f}, shortest {distance.max():.1f}": {"path": plan.positions},
    }
    for ax, (title, what) in zip(axes, pictures.items(), strict=True):
        viz.plot_map(task.free, goal=task.goal, start=start, **what, title=title, ax=ax)
    viz.save_figure(figure, path)
