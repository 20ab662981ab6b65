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
# # Symmetric planning
#
# A maze that is turned has a plan that is turned. A planner can learn that from many turned mazes,
# or it can be built so that it cannot be otherwise. This notebook shows what "built so" means, what
# it saves, and what else is symmetric: an arm's configuration space, and a cube.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import jplan as jp


@functools.partial(jax.jit, static_argnums=(1, 2))
def draw_tasks(key, size, count):
    return jax.lax.map(lambda key: jp.envs.maze(key, size), jax.random.split(key, count))


# %% [markdown]
# ## 1. A symmetry is an assertion
#
# `jp.testing.assert_grid_equivariant` turns and reflects the maps in all eight ways, and compares
# the logits, with the actions permuted: after a quarter turn counter-clockwise, north is west. The
# plain planner fails, whatever its parameters; `SymVIN` passes with any.

# %%
tasks = draw_tasks(jax.random.key(0), 15, 640)
maps = jp.envs.as_map(jax.tree.map(lambda leaf: leaf[:2], tasks))
plain = jp.planners.VIN(4, 2, q_channels=16, hidden=16, max_steps=20, rngs=nnx.Rngs(0))
symmetric = jp.planners.SymVIN(4, 2, q_channels=16, hidden=16, max_steps=20, rngs=nnx.Rngs(0))
jp.testing.assert_grid_equivariant(nnx.jit(lambda m: symmetric(m)), maps, atol=1e-5)
print("SymVIN: all 8 copies agree")
try:
    jp.testing.assert_grid_equivariant(nnx.jit(lambda m: plain(m)), maps, atol=1e-5)
except AssertionError as error:
    print("VIN:", error)

# %% [markdown]
# The kernels make the difference. A `SteerableKernel` has one free weight for each set of entries
# that the group carries into one another; the kernel of the eight turned and reflected values of a
# cell has an eighth of the weights of a free one. It is expanded once, outside of the iteration.

# %%
kernel = jp.nn.SteerableKernel("D4", ("trivial", 1), ("moves4", 1), kernel_size=3, rngs=nnx.Rngs(0))
print("free weights:", kernel.weights.size, "entries:", kernel().size)
figure, panels = plt.subplots(1, 4, figsize=(10, 2.8))
for action, axes in enumerate(panels):
    axes.imshow(kernel()[..., 0, action])
    axes.set(title=f"kernel of {'NWSE'[action]}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 2. Learn on 15 x 15, plan on 99 x 99
#
# `SymMaxPlusVIN` learns local costs and moves, both steerable, and iterates until the value no
# longer changes. It is trained soft: an action leads to a mixture of cells, and a wall is dear.
# `hardened` then makes up its mind: an action leads to one cell and is open or closed.


# %%
targets = jax.jit(jp.training.imitation_batch)(tasks)


def draw_batch(key):
    chosen = jax.random.randint(key, (8,), 0, len(tasks.goal))
    return jax.tree.map(lambda leaf: leaf[chosen], targets)


def imitation(planner, batch, key):
    return jp.training.imitation_loss(planner.solve(batch.maps, num_steps=40).logits, batch)


planner = jp.planners.SymMaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
planner, rows = jp.training.train(
    planner,
    jax.jit(jp.training.scan_steps, static_argnames=jp.training.SCAN_STATIC),
    batch_fn=draw_batch,
    loss_fn=imitation,
    optimizer=jp.training.cosine_adam(1e-2, 160),
    key=jax.random.key(0),
    num_steps=160,
    progress=False,
)
print(f"success on training mazes: {rows[-1]['success']:.4f}")
planner = planner.hardened()
print("parameters:", sum(leaf.size for leaf in jax.tree.leaves(nnx.state(planner))))


# %%
@jax.jit
def follow(grid, actions):
    """Measures of a plan, and its path from the cell that is farthest from the goal."""
    exact = jp.mdp.value_iteration(grid).value
    far = jnp.where(jnp.isfinite(exact), -exact, 0)
    start = jnp.stack(jnp.unravel_index(far.argmax(), far.shape))
    path = jp.mdp.extract_path(grid, actions, start, max_length=2000)
    return jp.mdp.plan_measures(grid, actions, value=exact), start, path


task = jax.jit(lambda key: jp.envs.maze(key, 99, decimation=0.03))(jax.random.key(3))
grid = jp.mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
out = nnx.jit(lambda maps: planner.solve(maps))(jp.envs.as_map(task))
shares, start, path = follow(grid, out.logits.argmax(-1))
print(f"success from all {int(shares.num_states)} cells {shares.success:.4f}")
figure, axes = plt.subplots(figsize=(6.5, 6.5))
title = f"{int(path.num_steps)} steps, after {int(out.solution.num_steps)} iterations"
jp.viz.plot_map(task.free, goal=task.goal, start=start, path=path.positions, title=title, ax=axes)
plt.show()

# %% [markdown]
# ## 3. A torus
#
# The joints of an arm turn all the way round, so its configuration map has no edges: every
# convolution takes `padding="wrap"`. The same planner, with the parameters it has, plans for the
# arm, since walls and moves are what they were in a maze.

# %%
world, task = jax.jit(lambda key: jp.envs.arm_task(key, 36))(jax.random.key(6))
on_torus = jp.planners.SymMaxPlusVIN(4, 2, hard=True, padding="wrap", rngs=nnx.Rngs(0))
nnx.update(on_torus, nnx.state(planner))
grid = jp.mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4, wrap=True)
logits = nnx.jit(lambda maps: on_torus(maps))(jp.envs.as_map(task))
shares, start, path = follow(grid, logits.argmax(-1))
print(f"success from all configurations {shares.success:.4f}")
cells = np.asarray(path.positions)[: int(path.num_steps) + 1]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8))
image = jax.jit(lambda world: jp.envs.arm_image(world, size=200))(world)
left.imshow(image[..., 0], cmap="Greys", extent=(0, 10, 10, 0))
for step, joints in enumerate(np.asarray(jp.envs.arm_links(world, cells * 2 * np.pi / 36))):
    colour = plt.get_cmap("viridis")(step / len(cells))
    left.plot(joints[:, 1], joints[:, 0], "-o", color=colour, markersize=3)
left.set(title="the arm, from dark to light", xticks=[], yticks=[])
jp.viz.plot_map(
    task.free,
    goal=task.goal,
    start=start,
    path=path.positions,
    title="its configurations",
    ax=right,
)
plt.show()

# %% [markdown]
# ## 4. A cube
#
# In three dimensions the six moves are permuted by 48 turns and reflections. `VoxelVIN` has vectors
# and tensors inside its cost network, made by spherical harmonics (e3nn), and the same iteration.

# %%
voxels = jp.planners.VoxelVIN(2, hidden=4, rngs=nnx.Rngs(0))
free = np.random.default_rng(0).random((7, 7, 7)) < 0.6
space = jp.envs.as_map(jp.envs.GridTask(free=free, goal=np.argwhere(free)[0]))
plan = nnx.jit(lambda maps: voxels(maps))
jp.testing.assert_grid_equivariant(plan, space, moves=6, atol=1e-4)
print("VoxelVIN: all 48 copies agree; logits", plan(space).shape)

# %% [markdown]
# Trained planners in space, roadmaps, and what symmetry saves in data are in `experiments/voxels`
# and `experiments/symmetry`.
