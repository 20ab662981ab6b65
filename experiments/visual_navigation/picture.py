"""What a cell sees, the map that the mapper makes of all views, and the plan on it."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jplan import envs, mdp, viz


def draw(model, size, path):
    """Four views of the start, the mapper's map, and the plan."""
    task = envs.maze(jax.random.key(4), size, decimation=0.1)
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
    value = mdp.value_iteration(grid).value
    distance = jnp.where(jnp.isfinite(value), -value, -1)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    views = envs.panorama(task.free)
    map_logits = model.map(views[None])
    out = model.plan(map_logits, task.goal[None])
    actions = out.logits[0].argmax(-1)
    plan = mdp.extract_path(grid, actions, start, max_length=size * size)
    reached = f"{int(plan.num_steps)} steps" if plan.reached else "goal not reached"
    figure, panels = plt.subplots(1, 3, figsize=(14, 4.8), layout="constrained")
    seen = views[start[0], start[1]]
    rows = jnp.concatenate([jnp.concatenate(seen[:2], 1), jnp.concatenate(seen[2:], 1)])
    panels[0].imshow(rows)
    panels[0].set(title="from the start: N, W (above), S, E (below)", xticks=[], yticks=[])
    panels[1].imshow(jax.nn.sigmoid(map_logits[0]), cmap="gray", vmin=0, vmax=1)
    panels[1].set(title="chance of being free, by the mapper", xticks=[], yticks=[])
    viz.plot_map(
        *(task.free,),
        goal=task.goal,
        start=start,
        value=out.value[0],
        path=plan.positions,
        title=f"plan: {reached}, shortest {distance.max():.0f}",
        ax=panels[2],
    )
    viz.save_figure(figure, path)
