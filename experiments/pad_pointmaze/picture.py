"""Figure: candidates after each step of the descent, energies, and the path that is taken."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from episodes import NUM_STEPS
from matplotlib.colors import Normalize
from stages import maze

from jplan import envs, viz
from jplan.planners import first_past, pursue


def draw_plans(planner, size, key, out):
    """Plans of one episode's beginning, and the episode."""
    free = maze(size)
    world = envs.point_maze(free, max_steps=NUM_STEPS)
    reset_key, plan_key = jax.random.split(key)
    # The farthest of some goals.
    states = jax.vmap(world.reset_fn)(jax.random.split(reset_key, 50))
    far = jnp.abs(states.position - states.goal).sum(-1).argmax()
    state = jax.tree.map(lambda leaf: leaf[far], states)
    past = first_past(world.observe_fn(state), planner.max_past)
    goal = jnp.append(state.goal, jnp.zeros(2))
    steps = range(planner.num_steps + 1)
    plan_fn = jax.jit(
        lambda count: planner.plan(past, goal, plan_key, num_steps=count, candidates=64, keep=8),
        static_argnums=0,
    )
    plans = [plan_fn(step) for step in steps]
    figure, panels = plt.subplots(1, len(plans) + 2, figsize=(4 * len(plans) + 8, 4.2))
    for step, (axes, plan) in enumerate(zip(panels, plans, strict=False)):
        draw_maze(axes, free, state)
        energies = np.asarray(plan.energies[:, -1])
        shades = plt.get_cmap("viridis")(Normalize(*np.quantile(energies, [0, 0.9]))(energies))
        for places, shade in zip(planner.decoder(plan.candidates)[..., :2], shades, strict=True):
            axes.plot(places[:, 1], places[:, 0], color=shade, linewidth=0.6, alpha=0.7)
        axes.set_title(f"step {step}")
    chosen = planner.decoder(plans[-1].latents)[:, :2]
    panels[len(plans) - 1].plot(chosen[:, 1], chosen[:, 0], color="C3", linewidth=2)
    axes = panels[-2]
    axes.scatter(plans[-1].progresses, plans[-1].energies[:, -1], s=10)
    axes.plot(plans[-1].progress, plans[-1].energy, "o", color="C3")
    axes.set(xlabel="progress: when to arrive", ylabel="energy", title="candidates")
    options = {"num_steps": NUM_STEPS, "replan_every": 2, "candidates": 64, "keep": 8}
    episode = jax.jit(lambda: pursue(planner, world, state, goal, plan_key, **options))()
    draw_maze(panels[-1], free, state)
    y, x = episode.states.position[: episode.length + 1].T
    panels[-1].plot(x, y, color="C0")
    panels[-1].set_title(f"{int(episode.length)} steps")
    figure.tight_layout()
    viz.save_figure(figure, out / "plans.png")


def draw_maze(axes, free, state):
    axes.imshow(free, cmap="gray", vmin=-1, vmax=1.2)
    axes.plot(*state.position[::-1], "o", color="k")
    axes.plot(*state.goal[::-1], "*", color="k", markersize=12)
    side = len(free)
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
