"""What a planner sees and does: the arm's way through its workspace and its configuration space."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jplan import envs, mdp, viz

KEY = 6  # of an arm that has to go around


def draw_arm(planner, bins, path):
    """The workspace with the arm on its way, and the same way on the configuration map."""
    world, task = envs.arm_task(jax.random.key(KEY), bins)
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4, wrap=True)
    value = mdp.value_iteration(grid).value
    distance = jnp.where(jnp.isfinite(value), -value, -1)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    out = planner.solve(envs.as_map(task))
    plan = mdp.extract_path(grid, out.logits.argmax(-1), start, max_length=4 * bins)
    reached = f"{int(plan.num_steps)} steps" if plan.reached else "goal not reached"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    cells = np.asarray(plan.positions)
    cells = cells[(cells >= 0).all(-1)]
    left.imshow(envs.arm_image(world, size=400)[..., 0], cmap="Greys", extent=(0, 10, 10, 0))
    colours = plt.get_cmap("viridis")(np.linspace(0, 1, len(cells)))
    for cell, colour in zip(cells, colours, strict=True):
        joints = envs.arm_links(world, jnp.asarray(cell) * 2 * jnp.pi / bins)
        left.plot(joints[:, 1], joints[:, 0], "-o", color=colour, linewidth=2, markersize=3)
    left.set(title="the arm from start (dark) to goal (light)", xticks=[], yticks=[])
    title = f"{type(planner).__name__}: {reached}, shortest {distance.max():.0f}"
    viz.plot_map(
        *(task.free,),
        goal=task.goal,
        start=start,
        value=out.value,
        path=plan.positions,
        title=title,
        ax=right,
    )
    viz.save_figure(figure, path)


def draw_success(rows, path):
    """Success against the budget K in training, a panel for each number of bins planned on."""
    bins = sorted({row["plan_bins"] for row in rows})
    figure, panels = plt.subplots(
        1, len(bins), figsize=(5.5 * len(bins), 4), squeeze=False, layout="constrained"
    )
    for axes, size in zip(panels[0], bins, strict=True):
        chosen = [row for row in rows if row["plan_bins"] == size]
        kinds = dict.fromkeys((row["planner"], row["adjoint"]) for row in chosen)
        for index, kind in enumerate(kinds):
            points = [row for row in chosen if (row["planner"], row["adjoint"]) == kind]
            budgets = [row["iterations"] for row in points]
            shares = [100 * row["success"] for row in points]
            axes.plot(budgets, shares, "o", color=f"C{index}", label=", ".join(kind))
        axes.set(title=f"arm, {size} x {size}", xlabel="iterations K", ylabel="success, %")
        axes.legend(fontsize=8)
    viz.save_figure(figure, path)
