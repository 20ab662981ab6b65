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
# # Value iteration networks
#
# A value iteration network (VIN) is value iteration whose reward and whose moves are learnt. This
# notebook trains one, looks at what it has learnt, differentiates the *same* network in four ways,
# and asks the question that decides between them: did the iteration converge?

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import jplan as jp

# %% [markdown]
# ## 1. Train
#
# A map has two channels: where one can stand, and the goal. `VIN` makes a reward of it, iterates
# `V <- max_q [W_q * R + P_q * V]`, and reads the logits of the four actions from `Q` in every cell.
# It is taught *all* optimal actions of mazes that are drawn afresh in each step.

# %%
SIZE, STEPS, CALL = 9, 400, 20


def draw_batch(key, size=SIZE, count=32):
    keys = jax.random.split(key, count)
    return jp.training.imitation_batch(jax.vmap(lambda key: jp.envs.maze(key, size))(keys))


def imitation(planner, batch, key):
    return jp.training.imitation_loss(planner(batch.maps), batch)


planner = jp.planners.VIN(4, 2, q_channels=40, hidden=40, max_steps=25, rngs=nnx.Rngs(0))
optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))
)
graphdef, state = jp.training.init_state(planner, optimizer, jax.random.key(0))
advance = functools.partial(
    jp.training.scan_steps,
    graphdef=graphdef,
    optimizer=optimizer,
    batch_fn=draw_batch,
    loss_fn=imitation,
    num_steps=CALL,
)
state, rows = jp.training.fit(jax.jit(advance), state, num_steps=STEPS, progress=False)
planner = nnx.merge(graphdef, state.params)
print({name: round(value, 3) for name, value in rows[-1].items()})

# %% [markdown]
# ## 2. What it has learnt
#
# The reward is low where one cannot stand. The value falls with the distance to the goal, around
# the walls and not through them: nobody told the network what a wall is.

# %%
task = jp.envs.maze(jax.random.key(7), 15, decimation=0.1)
maps = jp.envs.as_map(task)
out = planner.solve(maps)
grid = jp.mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
path = jp.mdp.extract_path(grid, out.logits.argmax(-1), (1, 1), max_length=225)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4))
left.imshow(planner.mapper(maps))
left.set_title("learnt reward R")
middle.imshow(out.value)
middle.set_title("value V after 25 steps")
jp.viz.plot_map(
    task.free,
    goal=task.goal,
    start=(1, 1),
    actions=out.logits.argmax(-1),
    path=path.positions,
    title="policy and plan",
    ax=right,
)
plt.show()

# %% [markdown]
# A kernel `P_q` is a softmax, so it can be read as the chances of the neighbours. The channels that
# the policy listens to most have become the four moves.

# %%
kernel = planner.kernel()[:, :, 1] / planner.kernel.discount
weight = planner.readout.kernel[...]
figure, panels = plt.subplots(1, 4, figsize=(8, 2.2))
for axes, action, name in zip(panels, range(4), "NWSE", strict=True):
    axes.imshow(kernel[..., int(weight[:, action].argmax())], vmin=0, vmax=1)
    axes.set_title(name)
    axes.axis("off")
plt.show()

# %% [markdown]
# ## 3. One network, four gradients
#
# How the iteration is differentiated is an argument, also of a single call. `Unroll` is the VIN of
# the paper, `Implicit` is ID-VIN; `Truncated` differentiates the last steps only, `Safeguarded`
# goes on implicitly where the solve converged. The table compares them with `Unroll`, once stopped
# after 25 steps and once after 600.

# %%
batch = draw_batch(jax.random.key(3))
ADJOINTS = {
    "Unroll": jp.Unroll(),
    "Truncated(15)": jp.Truncated(15),
    "Safeguarded(15)": jp.Safeguarded(steps=15),
    "Implicit": jp.Implicit(backward=jp.Picard(max_steps=600)),
}


def gradient(params, adjoint, max_steps):
    def loss(params):
        planner = nnx.merge(graphdef, params)
        solver = jp.Picard(max_steps=max_steps)
        logits = planner.solve(batch.maps, solver=solver, adjoint=adjoint).logits
        return jp.training.imitation_loss(logits, batch)[0]

    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.grad(loss)(params))])


compiled = jax.jit(gradient, static_argnames="max_steps")
for max_steps in (25, 600):
    exact = compiled(state.params, jp.Unroll(), max_steps)
    print(f"K = {max_steps}")
    for name, adjoint in ADJOINTS.items():
        got = compiled(state.params, adjoint, max_steps)
        sizes = jnp.linalg.norm(got) * jnp.linalg.norm(exact)
        print(f"  {name:16} cosine with Unroll {float(jnp.vdot(got, exact) / sizes):.4f}")

# %% [markdown]
# ## 4. Did it converge?
#
# The cell is a contraction: `P_q` sums to one and the discount is 0.99. So the residual falls, if
# slowly, and every map of a batch reports its own status. An implicit gradient is that of the fixed
# point, so it may only be trusted where the status says `CONVERGED`.

# %%
cell = jp.nn.MaxBellmanCell(planner.kernel())
structure, params = nnx.split(cell)
inputs = cell.prepare(planner.mapper(maps))


def step(params, value):
    kernel, inputs = params
    return nnx.merge(structure, kernel)(value, inputs)


history = {
    name: jp.fixed_point(
        step,
        (params, inputs),
        cell.start(inputs),
        solver=solver,
        history=True,
    ).history
    for name, solver in {
        "Picard": jp.Picard(max_steps=600),
        "Anderson": jp.Anderson(max_steps=600),
    }.items()
}
jp.viz.plot_residuals(history)
plt.show()

for max_steps in (25, 100, 600):
    status = planner.solve(batch.maps, solver=jp.Picard(max_steps=max_steps)).solution.status
    print(f"K = {max_steps:3d}: {int((status == jp.Status.CONVERGED).sum())} of 32 maps converged")

# %% [markdown]
# ## 5. Larger maps
#
# Information travels one cell a step, so a budget that suits small maps starves large ones. The
# budget is an argument of the call: nothing is trained again.

# %%
evaluate = jax.jit(
    lambda params, tasks, solver: jnp.nanmean(
        jp.training.evaluate(
            lambda maps: nnx.merge(graphdef, params).solve(maps, solver=solver).logits,
            tasks,
            jax.random.key(0),
        ).success
    )
)
for size in (9, 15, 21):
    keys = jax.random.split(jax.random.key(size), 64)
    tasks = jax.vmap(lambda key, size=size: jp.envs.maze(key, size))(keys)
    shares = [
        float(evaluate(state.params, tasks, jp.Picard(max_steps=steps))) for steps in (25, 100)
    ]
    print(f"{size}x{size}: success {shares[0]:.3f} with K = 25, {shares[1]:.3f} with K = 100")
np.testing.assert_array_less(0.9, float(rows[-1]["success"]))
