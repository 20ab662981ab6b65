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
SIZE, STEPS, CALL = 9, 300, 20


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
# The reward tells walls from free cells; its sign is arbitrary, since `W_q` may turn it round. The
# value falls with the distance to the goal, around the walls and not through them: nobody told the
# network what a wall is.

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
# A kernel `P_q` is a softmax, so it can be read as the chances of the neighbours. These are the
# channels that the policy listens to most, action by action; after this short training some of them
# are a move already.

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
# ## 3. Did it converge?
#
# The cell is a contraction, since `P_q` sums to one and the discount is 0.99, but 0.99 is close to
# one: after the 25 steps that the network was trained with, the value still moves. Anderson's
# method, another argument of the same solve, finds the fixed point in a fraction of the steps.

# %%
cell = jp.nn.MaxBellmanCell(planner.kernel())
structure, kernel = nnx.split(cell)
inputs = cell.prepare(planner.mapper(maps))


def step(params, value):
    kernel, inputs = params
    return nnx.merge(structure, kernel)(value, inputs)


SOLVERS = {"Picard": jp.Picard(max_steps=300), "Anderson": jp.Anderson(max_steps=300)}
jp.viz.plot_residuals(
    {
        name: jp.fixed_point(
            step, (kernel, inputs), cell.start(inputs), solver=solver, history=True
        ).history
        for name, solver in SOLVERS.items()
    }
)
plt.show()

# %% [markdown]
# ## 4. One network, several gradients
#
# How the iteration is differentiated is an argument too. `Unroll` is the VIN of the paper,
# `Truncated` differentiates the last steps only, `Implicit` is ID-VIN: it differentiates the
# equation `V = f(V)`, so it may only be trusted where the status says `CONVERGED`. The table
# compares with `Unroll`: of 25 steps for the first row, of 300 for the other.

# %%
batch = draw_batch(jax.random.key(3), count=8)


@jax.jit
def gradient(params, solver, adjoint):
    def loss(params):
        out = nnx.merge(graphdef, params).solve(batch.maps, solver=solver, adjoint=adjoint)
        return jp.training.imitation_loss(out.logits, batch)[0], out.solution.status

    gradients, status = jax.grad(loss, has_aux=True)(params)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradients)]), status


short = jp.Picard(max_steps=25)
few, _ = gradient(state.params, short, jp.Unroll())
many, _ = gradient(state.params, SOLVERS["Picard"], jp.Unroll())
implicit = jp.Implicit(backward=jp.Anderson(max_steps=100))
for name, solver, adjoint, exact in (
    ("Truncated(15), Picard 25", short, jp.Truncated(15), few),
    ("Implicit, Anderson", SOLVERS["Anderson"], implicit, many),
):
    got, status = gradient(state.params, solver, adjoint)
    cosine = float(jnp.vdot(got, exact) / jnp.linalg.norm(got) / jnp.linalg.norm(exact))
    converged = int((status == jp.Status.CONVERGED).sum())
    print(f"{name:25} cosine {cosine:.5f}, {converged} of 8 maps converged")

# %% [markdown]
# ## 5. Larger maps
#
# Information travels one cell a step, so a budget that suits small maps starves large ones. The
# budget is an argument of the call, traced like any array: nothing is trained or compiled again.

# %%
evaluate = jax.jit(
    lambda params, tasks, num_steps: jnp.nanmean(
        jp.training.evaluate(
            lambda maps: (
                nnx.merge(graphdef, params)
                .solve(maps, solver=jp.Picard(max_steps=100), num_steps=num_steps)
                .logits
            ),
            tasks,
            jax.random.key(0),
        ).success
    )
)
keys = jax.random.split(jax.random.key(21), 32)
tasks = jax.vmap(lambda key: jp.envs.maze(key, 21))(keys)
shares = [float(evaluate(state.params, tasks, steps)) for steps in (25, 100)]
print(f"21x21: success {shares[0]:.3f} with K = 25, {shares[1]:.3f} with K = 100")
np.testing.assert_array_less(0.8, float(rows[-1]["success"]))
np.testing.assert_array_less(shares[0], shares[1])
