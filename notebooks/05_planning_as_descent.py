# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Planning as descent
#
# No model that steps through time, no policy, no reward: what is learnt is an *energy* of whole
# futures, which is low for those that can follow the past and are at the goal when they should
# be. Planning is descent on it, from noise, and the descent is what training trains.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

from jplan import envs, training
from jplan.planners import DescentPlanner, first_past, pursue

# %% [markdown]
# ## 1. What is given: somebody who wandered
#
# A point with momentum in a room with a wall. `wander` goes from one random place to the next;
# the data do not say where it was heading.

# %%
free = np.zeros((7, 7), bool)
free[1:-1, 1:-1] = True
free[3, 1:4] = False
states, actions = envs.wander(free, jax.random.key(0), 200, 300)
data = training.from_episodes(states, actions)


def draw_room(axes):
    axes.imshow(free, cmap="gray", vmin=-1, vmax=1.2)
    axes.set(xlim=(-0.5, 6.5), ylim=(6.5, -0.5), xticks=[], yticks=[])


figure, axes = plt.subplots(figsize=(3.5, 3.5))
draw_room(axes)
for path in states[:6, :150]:
    axes.plot(path[:, 1], path[:, 0], linewidth=0.8)
plt.show()

# %% [markdown]
# ## 2. Goals in hindsight
#
# Each window of an episode becomes an example: the past, the future, and as the goal one of the
# states of the future, with the *progress* at which it is reached. Latents of the future are
# mixed with noise, and the loss asks that each gradient step, with the projection after it,
# ends near what happened. Half of the starts are nothing but noise, as those of plans are.

# %%
mean, scale = data.standard_numbers()
planner = DescentPlanner(
    *(4, 2),
    horizon=36,
    max_past=4,
    width=16,
    hidden=32,
    layers=2,
    heads=2,
    kernel_size=9,
    stride=8,
    network_hidden=128,
    mean=mean,
    scale=scale,
    rngs=nnx.Rngs(0),
)
scan = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
planner, rows = training.train_descent_planner(
    *(planner, scan, data),
    key=jax.random.key(1),
    num_steps=1200,
    batch_size=32,
    learning_rate=5e-3,
    progress=False,
)
figure, panels = plt.subplots(1, 2, figsize=(8, 2.5))
for name, axes in zip(("error_noise", "arrival"), panels, strict=True):
    axes.plot([row["step"] for row in rows], [row[name] for row in rows])
    axes.set(xlabel="step", title=name)
plt.show()

# %% [markdown]
# Left, the error of what is made of noise. Right, minus the log-likelihood of the progress, 0 where
# all steps are equally likely, which makes the energies of short and long plans comparable.
#
# Actions come last, and apart: the inverse dynamics tell the action between two latents. A
# decoder, which has kept the encoder from forgetting, is trained on, so as to draw plans.

# %%
planner, _ = training.train_descent_heads(
    planner, scan, data, key=jax.random.key(2), num_steps=1000, progress=False
)

# %% [markdown]
# ## 3. A plan
#
# `planner.plan` refines many candidates at once, each with a guess of its own at the progress.
# Below are the candidates as noise, and after each step.

# %%
world = envs.point_maze(free)
state = envs.PointState(
    position=jnp.array([1.0, 1.0]), velocity=jnp.zeros(2), goal=jnp.array([5.0, 1.0])
)
goal = jnp.append(state.goal, jnp.zeros(2))
past = first_past(world.observe_fn(state), planner.max_past)
plan_fn = jax.jit(
    lambda key, num_steps: planner.plan(
        past, goal, key, candidates=64, keep=8, num_steps=num_steps
    ),
    static_argnums=1,
)
figure, panels = plt.subplots(1, 3, figsize=(10, 3.5))
for step, axes in enumerate(panels):
    plan = plan_fn(jax.random.key(3), step)
    draw_room(axes)
    places = np.asarray(planner.decoder(plan.candidates))
    axes.plot(places[..., 1].T, places[..., 0].T, color="C0", linewidth=0.5, alpha=0.5)
    axes.plot(*places[plan.index].T[1::-1], color="C3", linewidth=2)
    axes.plot(*state.goal[::-1], "*", color="k", markersize=12)
    axes.set_title(f"step {step}, mean energy {float(plan.energies[:, -1].mean()):.0f}")
plt.show()

# %% [markdown]
# ## 4. The landscape
#
# The energy on the plane through one candidate's noise, its first step and its end. The dots are
# its way down: far with the first step, then along the valley. It does not end at the bottom of
# this slice, for what training asks is that the steps arrive, not that they are small.

# %%
energy_fn, params = planner.energy_fn()
given = planner.encoder(past), planner.encoder(goal), plan.progress
energy = lambda params, future: energy_fn(params, future, *given)
descend = jax.jit(lambda noise: planner.descend(noise, *given))
way = descend(jax.random.normal(jax.random.key(4), plan.latents.shape)).iterates
end = way[-1]
one = way[0] - end
two = way[1] - end - one * jnp.vdot(way[1] - end, one) / jnp.vdot(one, one)
sides = jnp.linspace(-0.5, 1.5, 41), jnp.linspace(-2.0, 2.0, 41)
place = lambda x, y: end + x * one + y * two
across = jax.vmap(lambda x, y: energy(params, place(x, y)), (0, None))
heights = jax.jit(jax.vmap(across, (None, 0)))(*sides)
figure, axes = plt.subplots(figsize=(4.5, 3.5))
contours = axes.contourf(*sides, jnp.log1p(heights - heights.min()), 20)
figure.colorbar(contours, label="log(1 + energy above the least)")
dots = [
    (jnp.vdot(z - end, one) / jnp.vdot(one, one), jnp.vdot(z - end, two) / jnp.vdot(two, two))
    for z in way
]
axes.plot(*zip(*dots, strict=True), "o-", color="w")
axes.set(xlabel="from the end to the noise", ylabel="across")
plt.show()

# %% [markdown]
# ## 5. In the world
#
# A few actions of a plan are carried out, and the next plan begins from new noise. One planner
# goes to any goal: nothing was learnt for one. Detours are the wanderer's: near places too were
# often reached late, and each plan draws its time of arrival anew.

# %%
run = jax.jit(
    lambda state, goal, key: pursue(
        *(planner, world, state, goal, key), num_steps=80, replan_every=2, candidates=32, keep=4
    )
)
figure, panels = plt.subplots(1, 3, figsize=(10, 3.5))
starts = [state, *(world.reset_fn(jax.random.key(seed)) for seed in (11, 12))]
for seed, (state, axes) in enumerate(zip(starts, panels, strict=True)):
    goal = jnp.append(state.goal, jnp.zeros(2))
    episode = run(state, goal, jax.random.key(seed))
    draw_room(axes)
    y, x = episode.states.position[: episode.length + 1].T
    axes.plot(x, y)
    axes.plot(*state.goal[::-1], "*", color="k", markersize=12)
    arrived = "arrived" if episode.rewards.sum() else "did not arrive"
    axes.set_title(f"{arrived}, {int(episode.length)} steps")
plt.show()

# %% [markdown]
# `experiments/pad_pointmaze` does this in a maze and takes the method apart; `jplan.envs` makes
# the offline data of OGBench's cube tasks.
