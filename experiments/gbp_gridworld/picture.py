"""Figures: what noise on the actions does, budgets, and a plan being refined."""

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from matplotlib import animation
from stages import ACTIONS, Discounted

import jplan as jp
from jplan import envs, viz
from jplan.descent import shift_plan
from jplan.nn import as_model_fn


def draw_budget(rows, path):
    """Success against passes through the model and against milliseconds a plan."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, field in zip(panels, ("passes", "ms"), strict=True):
        for index, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
            line = sorted(
                (row[field], 100 * row["success"]) for row in rows if row["method"] == name
            )
            axes.plot(*zip(*line, strict=True), "o-", color=f"C{index}", markersize=4, label=name)
        axes.set(xscale="log")
    panels[0].set(xlabel="passes through the model, a plan", ylabel="goals reached, %")
    panels[1].set(xlabel="milliseconds a plan, 64 episodes at once")
    panels[0].legend()
    viz.save_figure(figure, path)


def refinement(model, planning, state, key):
    """Relaxed actions [N, T, A] of one candidate at all gradient steps, and the beliefs."""
    model_fn, params = as_model_fn(model)
    space = planning.action_space
    first = model.encode(envs.crash_gridworld(len(state.task.free)).observe_fn(state))
    model_fn = Discounted(model_fn, planning.discount)

    def loss(params, latents):
        return -jp.descent.rollout(model_fn, params, first, space.decode(latents)).total

    starts = space.sample(key, (planning.candidates, planning.horizon))
    out = jp.descent.refine_candidates(
        loss,
        params,
        starts,
        optimizer=optax.adam(planning.rate, eps_root=1e-8),
        num_steps=planning.num_steps,
    )
    best = jp.descent.select(out.value, out.objective).index
    latents = out.iterates[best]
    graphdef = nnx.graphdef(model)

    def beliefs(latents):
        out = jp.descent.rollout(model_fn, params, first, space.decode(latents))
        # How likely the episode has not ended, fading as the rewards do.
        going_on = jnp.cumprod(jnp.concatenate([jnp.ones(1), out.discounts]))
        return (
            jax.vmap(nnx.merge(graphdef, params).decode)(out.states)[..., -1]
            * going_on[:, None, None]
        )

    return space.decode(latents), jax.vmap(beliefs)(latents), -out.objectives[best]


def draw_actions(models, planning, states, path):
    """Action vectors found by descent, a column a map, a row a model (figure 6 of the paper)."""
    figure, panels = plt.subplots(
        *(len(models), len(states)),
        figsize=(1.2 * len(states), 2.6 * len(models)),
        squeeze=False,
        layout="constrained",
    )
    for row, (label, model) in zip(panels, models.items(), strict=True):
        run = jax.jit(
            lambda state, key, model=model: refinement(model, planning, state, key)[0][-1]
        )
        for index, (axes, state) in enumerate(zip(row, states, strict=True)):
            actions = run(state, jax.random.key(index))
            axes.imshow(actions, vmin=0, vmax=1, cmap="gray", aspect="auto")
            axes.set(xticks=range(ACTIONS), xticklabels="NWSE", yticks=[])
        row[0].set_ylabel(label)
    viz.save_figure(figure, path)


def animate_refinement(model, planning, state, path):
    """A GIF: where the relaxed plan may come to, step by step of the descent."""
    run = jax.jit(functools.partial(refinement, model, planning))
    _, beliefs, returns = jax.device_get(run(state, jax.random.key(0)))
    visits = np.asarray(beliefs).max(axis=1)  # [steps, H, W], over the time of the plan
    figure, axes = plt.subplots(figsize=(4, 4.4), layout="constrained")

    def draw(index):
        axes.clear()
        viz.plot_map(state.task.free, goal=state.task.goal, start=state.agent, ax=axes)
        axes.imshow(visits[index], cmap="Blues", vmin=0, vmax=1, alpha=0.6)
        axes.set_title(f"gradient step {index}, return {returns[index]:.2f}")

    frames = [*range(len(visits)), *[len(visits) - 1] * 8]
    film = animation.FuncAnimation(figure, draw, frames=frames)
    film.save(path, writer=animation.PillowWriter(fps=5))
    plt.close(figure)


def animate_episode(plan, params, world, state, path):
    """A GIF: an episode, and at every step the plan that it follows."""
    step = jax.jit(lambda params, state, *more: plan(params, world.observe_fn(state), *more))
    move = jax.jit(lambda state, action: world.step_fn(None, state, action))
    frames, key = [], jax.random.key(0)
    latent = jnp.zeros((plan.planning.horizon, ACTIONS))
    for _ in range(world.max_steps):
        key, plan_key = jax.random.split(key)
        found = step(params, state, plan_key, latent[None])
        actions, latent = found.actions, shift_plan(found.latent)
        ahead = [state.agent]
        imagined = state
        for action in actions:
            imagined, _, discount = move(imagined, action)
            ahead.append(imagined.agent)
            if discount == 0:
                break
        frames.append((state.agent, jnp.stack(ahead)))
        state, _, discount = move(state, actions[0])
        if discount == 0:
            frames.append((state.agent, state.agent[None]))
            break
    figure, axes = plt.subplots(figsize=(4, 4.4), layout="constrained")

    def draw(index):
        axes.clear()
        agent, path = frames[index]
        viz.plot_map(state.task.free, goal=state.task.goal, start=agent, path=path, ax=axes)
        axes.set_title(f"step {index}")

    film = animation.FuncAnimation(figure, draw, frames=[*range(len(frames)), len(frames) - 1])
    film.save(path, writer=animation.PillowWriter(fps=2))
    plt.close(figure)
