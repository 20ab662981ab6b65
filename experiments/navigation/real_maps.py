"""Real maps as tasks, and pictures of plans."""

import jax
import jax.numpy as jnp

from jplan import envs, mdp, viz


def load_real_map(path):
    """The largest connected part of a real map."""
    if path == "elevation":
        elevation, cell_size = envs.load_jacksboro_elevation()
        free = envs.free_from_elevation(elevation, cell_size=cell_size, max_slope=20.0)
    else:
        free = envs.load_map(path)
    free = envs.largest_component(jnp.asarray(free))
    if int(free.sum()) < 2:
        raise SystemExit(f"{path}: no two connected free cells, so there is nothing to plan.")
    return free


def tasks_on(free, goals, key):
    """The same map with random goals."""
    goal = jax.vmap(lambda key: envs.random_free_cell(key, free))(jax.random.split(key, goals))
    return envs.GridTask(free=jnp.broadcast_to(free, (goals, *free.shape)), goal=goal)


def draw(planner, tasks, index, inverse, path):
    """The plan from the farthest cell, with the planner's values and the greedy policy."""
    task = jax.tree.map(lambda leaf: leaf[index], tasks)
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
    distance = jnp.where(grid.free, -mdp.value_iteration(grid).value, -jnp.inf)
    distance = jnp.where(jnp.isfinite(distance), distance, -1)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    out = planner.solve(envs.as_map(task))
    actions = out.logits[..., inverse].argmax(-1)
    length = int(distance.max()) + 1
    plan = mdp.extract_path(grid, actions, start, max_length=2 * length)
    steps = f"{plan.num_straight} steps" if plan.reached else "goal not reached"
    value = jnp.where(distance >= 0, out.value, -jnp.inf)
    axes = viz.plot_map(
        task.free,
        goal=task.goal,
        start=start,
        value=value,
        actions=actions,
        path=plan.positions,
        title=f"{steps}, shortest {length - 1}",
    )
    figure = axes.get_figure(root=True)
    assert figure is not None
    viz.save_figure(figure, path)
