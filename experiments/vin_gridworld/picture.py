"""What a trained VIN sees in a map: its reward, its value, and the path it takes."""

import jax.numpy as jnp
from stages import WORLD

from jplan import envs, mdp, viz


def draw(planner, task, path):
    """Reward, value and path from the cell that is farthest from the goal."""
    from matplotlib import pyplot

    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, **WORLD)
    value = mdp.value_iteration(grid).value
    distance = jnp.where(jnp.isfinite(value), -value, -1.0)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    seen = envs.as_map(task)
    out = planner.solve(seen)
    plan = mdp.extract_path(grid, out.logits.argmax(-1), start, max_length=distance.size)
    length = f"path of {plan.length:.1f}" if plan.reached else "goal not reached"
    pictures = {
        "reward": {"value": planner.mapper(seen)},
        "value": {"value": out.value},
        f"{length}, shortest {distance.max():.1f}": {"path": plan.positions},
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 5.4), layout="constrained")
    for ax, (title, what) in zip(axes, pictures.items(), strict=True):
        viz.plot_map(task.free, goal=task.goal, start=start, **what, title=title, ax=ax)
    viz.save_figure(figure, path)
