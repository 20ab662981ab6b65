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
# # Plan by gradient
#
# The second engine of jplan descends. `jp.refine` takes any objective; `jp.gradient_plan` hands
# it minus the return of a model, as a function of the actions. This notebook plans with a model
# that is known, with one that is learnt from random behaviour, compares planners on one
# interface, and trains through a refinement.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import jplan as jp

# %% [markdown]
# ## 1. A model is a function
#
# `model_fn(params, state, action) -> (next_state, reward, discount)`. Here a puck is pushed over
# ice to a mark, around a pillar. The action space says what may be descended on: a `Box` of
# pushes.


# %%
def puck(params, state, push):
    place, speed = state
    speed = params["glide"] * speed + 0.2 * push
    place = place + 0.2 * speed
    near = jnp.exp(-jnp.sum((place - params["pillar"]) ** 2) / 0.05)
    reward = -jnp.sum((place - params["mark"]) ** 2) - 3 * near - 0.01 * jnp.sum(push**2)
    return (place, speed), reward, jnp.float32(1.0)


params = {"pillar": jnp.array([0.5, 0.5]), "mark": jnp.array([1.0, 1.0]), "glide": 0.9}
start = (jnp.zeros(2), jnp.zeros(2))
options = {"horizon": 20, "action_space": jp.Box(-3 * jnp.ones(2), 3 * jnp.ones(2))}
push = jax.jit(
    lambda key: jp.gradient_plan(puck, params, start, key, candidates=8, num_steps=50, **options)
)
plan = push(jax.random.key(0))
print("return", plan.hard_return, "status", jp.planners.PlanStatus(int(plan.status)).name)

# %% [markdown]
# Eight random plans were refined at once, and the best was kept. Their returns, step by step, are
# in `plan.returns`.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(plan.returns.T)
left.set(xlabel="gradient step", ylabel="return", ylim=(-40, 0))
places = plan.rollout.states[0]
right.plot(places[:, 1], places[:, 0], "o-", markersize=3)
right.plot(*params["mark"][::-1], "*", markersize=14, label="mark")
right.add_patch(plt.Circle(params["pillar"][::-1], 0.3, color="0.8", label="pillar"))
right.set(aspect="equal", xlim=(-0.2, 1.3), ylim=(-0.2, 1.3))
right.legend()
plt.show()

# %% [markdown]
# ## 2. One interface, several planners
#
# The cross-entropy method draws plans and moves their distribution; MPPI moves to a weighted
# mean. All take the same function and return a `Plan`.

# %%
planners = {
    "gradient": push,
    "random shooting": jax.jit(
        lambda key: jp.gradient_plan(
            puck, params, start, key, candidates=400, num_steps=0, **options
        )
    ),
    "CEM": jax.jit(lambda key: jp.planners.cem_plan(puck, params, start, key, **options)),
    "MPPI": jax.jit(
        lambda key: jp.planners.mppi_plan(puck, params, start, key, temperature=0.3, **options)
    ),
}
for name, planner in planners.items():
    returns = [planner(jax.random.key(seed)).hard_return for seed in range(5)]
    print(f"{name:16s} mean return {np.mean(returns):7.2f}")

# %% [markdown]
# ## 3. A model that is learnt
#
# In `crash_gridworld` an agent has four moves; a wall ends its episode with -1, the goal with 1.
# The model is learnt from 3,000 episodes of random moves. `MotionModel` learns where an action
# leads, as a distribution over the neighbouring cells, and what a cell is worth; in training
# there is noise on the actions, so that it is smooth between them.

# %%
world = jp.envs.crash_gridworld(8)
episodes = jax.jit(lambda key: jp.training.collect(world, key, 3000))(jax.random.key(0))
reaches = ((episodes.rewards == 1) & episodes.is_alive).any(axis=1)
print(f"{episodes.num_steps} steps; {reaches.mean():.1%} of random episodes reach the goal")

look = jax.vmap(jax.vmap(world.observe_fn))


def batch_fn(key, episodes):
    windows = jp.training.draw_windows(episodes, key, batch_size=32, length=4)
    return windows.replace(states=look(windows.states))


model, log = jp.training.train(
    jp.nn.MotionModel(3, 4, rewards=(1.0, -1.0, -0.01), rngs=nnx.Rngs(0)),
    jax.jit(jp.training.scan_steps, static_argnames=jp.training.SCAN_STATIC),
    episodes,
    batch_fn=batch_fn,
    loss_fn=jp.training.model_loss,
    optimizer=jp.training.cosine_adam(1e-2, 600),
    key=jax.random.key(1),
    num_steps=600,
    steps_per_call=100,
    progress=False,
)
print("loss", [round(row["loss"], 3) for row in log])

# %% [markdown]
# Discrete actions are relaxed to points of a simplex, the softmax of logits; the plan is what
# remains when each is rounded to a corner. `soft_return` and `hard_return` tell what the rounding
# costs.

# %%
model_fn, learnt = jp.nn.as_model_fn(model)


def move(picture, key):
    return jp.gradient_plan(
        *(model_fn, learnt, model.encode(picture), key),
        horizon=16,
        action_space=jp.Simplex(4, scale=0.3),
        candidates=40,
        num_steps=20,
    )


firsts = jax.tree.map(lambda leaf: leaf[:, 0], episodes.states)
far = np.abs(firsts.agent - firsts.task.goal).sum(axis=-1)
hard = np.argmax((far == 6) * (~firsts.task.free).sum(axis=(1, 2)))
state = jax.tree.map(lambda leaf: leaf[hard], firsts)
plan = jax.jit(move)(world.observe_fn(state), jax.random.key(0))
true = jax.jit(lambda state, actions: jp.descent.rollout(world.step_fn, None, state, actions))
out = true(state, plan.actions)
print(f"promised {plan.soft_return:.2f}, when rounded {plan.hard_return:.2f}, got {out.total:.2f}")
going_on = jnp.append(1.0, jnp.cumprod(plan.rollout.discounts))[:, None, None]
beliefs = (going_on * plan.rollout.states.agent).max(axis=0)
figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
shown = {"goal": state.task.goal, "start": state.agent}
jp.viz.plot_map(state.task.free, path=out.states.agent, title="plan", **shown, ax=axes[0])
jp.viz.plot_map(state.task.free, value=beliefs, title="seen by the model", **shown, ax=axes[1])
plt.show()

# %% [markdown]
# ## 4. Train through a refinement
#
# With `gradient="full"` the refined point is differentiable in everything that made it. Here the
# pushes to begin from and the step size are learnt, so that five gradient steps do for any mark:
# what is made large is the return after the refinement.


# %%
def loss_after_refinement(learnt, mark):
    aimed = params | {"mark": mark}
    loss = lambda aimed, pushes: -jp.descent.rollout(puck, aimed, start, pushes).total
    sgd = optax.sgd(jnp.exp(learnt["log_rate"]))
    out = jp.refine(loss, aimed, learnt["pushes"], optimizer=sgd, num_steps=5, gradient="full")
    return out.objective


learnt = {"pushes": jnp.zeros((20, 2)), "log_rate": jnp.log(0.01)}
marks = jax.random.uniform(jax.random.key(5), (16, 2), minval=-1.0)
mean_loss = lambda learnt: jax.vmap(lambda mark: loss_after_refinement(learnt, mark))(marks).mean()
loss_and_slope = jax.jit(jax.value_and_grad(mean_loss))
adam = optax.adam(0.05)
moments, losses = adam.init(learnt), []
for _ in range(100):
    loss, slope = loss_and_slope(learnt)
    update, moments = adam.update(slope, moments)
    learnt = optax.apply_updates(learnt, update)
    losses.append(float(loss))
print(f"return after five steps: {-losses[0]:.2f} before, {-losses[-1]:.2f} after training")
