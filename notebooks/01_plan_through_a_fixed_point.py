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
# # Plan through a fixed point
#
# Value iteration is a fixed point `V = T(V)`. jplan has one engine for such equations: *how it is
# solved* and *how it is differentiated* are two separate arguments. This notebook plans exactly,
# trains a planner, computes one gradient in three ways, recovers a reward from behaviour, and puts
# a planner inside a model that knows nothing of jplan.

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
# ## 1. Exact planning
#
# A maze, its shortest paths from everywhere, and one of them.

# %%
task = jp.envs.maze(jax.random.key(12), 21, decimation=0.1)
grid = jp.mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4)
solution = jp.raise_on_failure(jp.mdp.value_iteration(grid))
policy = jp.mdp.greedy_policy(grid, solution.value)
path = jp.mdp.extract_path(grid, policy, (1, 1), max_length=400)
jp.viz.plot_map(
    task.free,
    goal=task.goal,
    start=(1, 1),
    value=solution.value,
    actions=policy,
    path=path.positions,
    title=f"shortest path, {path.num_steps} steps",
)
plt.show()

# %% [markdown]
# The solver reports what it did. Nothing raises inside `jit`; `raise_on_failure` turns the status
# into an error on the host.

# %%
chain = jp.mdp.TabularMDP(
    transition=jnp.stack([jnp.eye(20, k=1), jnp.eye(20, k=-1)], axis=1)
    .at[19, 0, 19]
    .set(1)
    .at[0, 1, 0]
    .set(1),
    reward=jnp.zeros((20, 2)).at[19, 0].set(1.0),
    discount=0.95,
)
for name, solve in {
    "value iteration": jp.mdp.value_iteration,
    "policy iteration": jp.mdp.policy_iteration,
}.items():
    result = solve(chain)
    lower, upper = jp.mdp.value_bounds(chain, result.value)
    print(
        f"{name:17} {int(result.num_steps):4d} steps, residual {float(result.residual):.1e}, "
        f"V(0) between {float(lower[0]):.5f} and {float(upper[0]):.5f}"
    )

# %% [markdown]
# ## 2. A learned planner
#
# `MaxPlusVIN` starts from random numbers: it knows neither what an action does nor what a wall is.
# It learns both by imitating shortest paths on 9x9 mazes, in two stages, and then plans on a map
# of any size. (`experiments/navigation` trains longer, on 15x15 mazes.)


# %%
def batch_fn(key):
    tasks = jax.vmap(lambda key: jp.envs.maze(key, 9))(jax.random.split(key, 32))
    return jp.training.imitation_batch(tasks)


def loss_fn(planner, batch, key):
    return jp.training.imitation_loss(planner.solve(batch.maps, num_steps=24).logits, batch)


planner = jp.planners.MaxPlusVIN(4, 2, adjoint=jp.Truncated(12), rngs=nnx.Rngs(0))
for stage, steps in {"soft": 400, "hard": 50}.items():
    planner = planner.hardened() if stage == "hard" else planner
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    graphdef, state = jp.training.init_state(planner, optimizer, jax.random.key(1))
    advance = functools.partial(
        jp.training.scan_steps,
        graphdef=graphdef,
        optimizer=optimizer,
        batch_fn=batch_fn,
        loss_fn=loss_fn,
        num_steps=50,
    )
    state, rows = jp.training.fit(jax.jit(advance), state, num_steps=steps, progress=False)
    planner = nnx.merge(graphdef, state.params)
    print(f"{stage}: loss {rows[0]['loss']:.3f} -> {rows[-1]['loss']:.3f}")

# %%
big = jp.envs.maze(jax.random.key(5), 61, decimation=0.2)
out = planner.solve(jp.envs.as_map(big))
big_grid = jp.mdp.GridMDP.from_free(big.free, goal=big.goal, moves=4)
measures = jp.mdp.plan_measures(big_grid, out.logits.argmax(-1))
path = jp.mdp.extract_path(big_grid, out.logits.argmax(-1), (1, 1), max_length=2000)
jp.viz.plot_map(
    big.free,
    goal=big.goal,
    start=(1, 1),
    value=out.value,
    path=path.positions,
    title=f"trained on 9x9: reaches the goal from {100 * float(measures.success):.1f} % of cells",
)
plt.show()

# %% [markdown]
# ## 3. One gradient, three ways
#
# The derivative of the start's value with respect to the discount: by finite differences, through
# every step (`Unroll`), and by the implicit function theorem (`Implicit`), whose cost does not
# depend on how many steps the solve took.


# %%
def start_value(discount, adjoint):
    problem = chain.replace(discount=discount)
    picard = jp.Picard(tol=1e-7, max_steps=400)
    return jp.mdp.value_iteration(problem, solver=picard, adjoint=adjoint).value[0]


eps = 1e-3
difference = start_value(0.95 + eps, jp.Unroll()) - start_value(0.95 - eps, jp.Unroll())
print(f"finite difference {float(difference / (2 * eps)):.3f}")
for adjoint in (jp.Unroll(), jp.Implicit(), jp.Safeguarded()):
    slope = jax.grad(start_value)(0.95, adjoint)
    print(f"{type(adjoint).__name__:17} {float(slope):.3f}")

# %% [markdown]
# The theorem holds at a fixed point only. Stop the iteration `z <- 0.99 z + p` early and the
# implicit gradient is wrong without a sign of it; `Safeguarded` sees that the solve did not
# converge and returns the true gradient of the last steps instead.


# %%
def leaky(p, z):
    return 0.99 * z + p


for steps in (10, 50, 200):
    few = jp.Picard(tol=0.0, max_steps=steps)
    slopes = {
        type(adjoint).__name__: jax.grad(
            lambda p, adjoint=adjoint, few=few: (
                jp.fixed_point(leaky, p, 0.0, solver=few, adjoint=adjoint).value
            )
        )(1.0)
        for adjoint in (jp.Unroll(), jp.Implicit(), jp.Safeguarded(steps=10))
    }
    print(f"{steps:4d} steps:", "  ".join(f"{k} {float(v):6.2f}" for k, v in slopes.items()))

# %% [markdown]
# ## 4. Inverse reinforcement learning
#
# An expert walks a small world; which reward makes its behaviour likely? The gradient of the
# maximum-entropy loss is the difference of two occupancy measures, and it comes out of the soft
# fixed point by implicit differentiation.

# %%
size, discount = 5, 0.9
cells = size * size
moves = [(-1, 0), (0, -1), (1, 0), (0, 1)]
transition = np.zeros((cells, 4, cells), np.float32)
for y in range(size):
    for x in range(size):
        for a, (dy, dx) in enumerate(moves):
            ny, nx = np.clip([y + dy, x + dx], 0, size - 1)
            transition[y * size + x, a, ny * size + nx] = 1
truth = np.zeros((size, size), np.float32)
truth[1, 3], truth[3, 1] = 1.0, -1.0


def world(state_reward):
    reward = jnp.broadcast_to(state_reward.reshape(-1, 1), (cells, 4))
    return jp.mdp.TabularMDP(transition=jnp.asarray(transition), reward=reward, discount=discount)


initial = jnp.full(cells, 1 / cells)
expert_world = world(jnp.asarray(truth))
soft = jp.mdp.soft_value_iteration(expert_world, temperature=0.2).value
expert = jp.mdp.soft_policy(expert_world, soft, temperature=0.2)
demonstrations = jp.mdp.occupancy_measure(expert_world, expert, initial).value


@jax.jit
def improve(reward, state):
    loss, slope = jax.value_and_grad(
        lambda r: jp.mdp.maxent_irl_loss(world(r), demonstrations, initial, temperature=0.2)
    )(reward)
    updates, state = optimizer.update(slope, state)
    return optax.apply_updates(reward, updates), state, loss


optimizer = optax.adam(0.05)
reward = jnp.zeros((size, size))
state = optimizer.init(reward)
for _ in range(200):
    reward, state, loss = improve(reward, state)

figure, axes = plt.subplots(1, 2, figsize=(7, 3))
pictures = {"true reward": truth, "recovered, up to a constant": reward - jnp.median(reward)}
for axis, (title, image) in zip(axes, pictures.items(), strict=True):
    shown = axis.imshow(image, cmap="RdBu", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.set_xticks([]), axis.set_yticks([])
figure.colorbar(shown, ax=axes)
plt.show()
print("correlation", np.corrcoef(truth.ravel(), np.asarray(reward).ravel())[0, 1].round(3))

# %% [markdown]
# ## 5. A planner inside somebody else's model
#
# Plain JAX, no modules: a network sees a *picture* of terrain, predicts what each cell costs, and
# soft shortest paths through those costs are its output. Only where the expert went is known; the
# costs are learned through the planner.

# %%
height = width = 8
shades = jnp.asarray([[0.2, 0.7, 0.2], [0.9, 0.8, 0.3], [0.2, 0.3, 0.9]])  # grass, sand, water
true_costs = jnp.asarray([1.0, 2.0, 6.0])
temperature = 0.3


def terrain(key):
    kinds_key, noise_key = jax.random.split(key)
    kinds = jax.random.categorical(kinds_key, jnp.log(jnp.asarray([0.5, 0.25, 0.25])), shape=(8, 8))
    return kinds, shades[kinds] + 0.1 * jax.random.normal(noise_key, (8, 8, 3))


def soft_plan(cost):
    open_map = jnp.ones((height, width), bool)
    grid = jp.mdp.GridMDP.from_free(open_map, goal=(4, 4), moves=4, cell_cost=cost)
    value = jp.mdp.soft_value_iteration(grid, temperature=temperature).value
    return jp.mdp.soft_policy(grid, value, temperature=temperature)


def init(key):
    first, second = jax.random.split(key)
    return [jax.random.normal(first, (3, 16)), 0.1 * jax.random.normal(second, (16, 1))]


def predicted_cost(params, image):
    hidden = jax.nn.relu(image @ params[0])
    return 0.5 + jax.nn.softplus(hidden @ params[1])[..., 0]


def model(params, image):
    return soft_plan(predicted_cost(params, image))


def model_loss(params, images, policies):
    predictions = jax.vmap(model, (None, 0))(params, images)
    logs = jnp.log(jnp.where(policies > 0, predictions, 1.0).clip(1e-6))
    return -jnp.mean(jnp.sum(policies * logs, -1))


kinds, images = jax.vmap(terrain)(jax.random.split(jax.random.key(0), 32))
policies = jax.vmap(lambda kind: soft_plan(true_costs[kind]))(kinds)
params = init(jax.random.key(1))
optimizer = optax.adam(0.1)
state = optimizer.init(params)


@jax.jit
def train(params, state):
    loss, slope = jax.value_and_grad(model_loss)(params, images, policies)
    updates, state = optimizer.update(slope, state)
    return optax.apply_updates(params, updates), state, loss


for step in range(200):
    params, state, loss = train(params, state)
    if step % 50 == 0 or step == 199:
        print(f"step {step:3d}  cross-entropy {float(loss):.3f}")

# %%
costs = predicted_cost(params, shades)
print("true cost   ", np.asarray(true_costs))
print("learned cost", np.asarray(costs).round(2))
