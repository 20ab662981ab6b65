"""What noise on the actions does to a learnt reward, on a world of one step (figure 3)."""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

import jplan as jp
from jplan import training, viz

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
STATES = jnp.linspace(-2, 2, 40)  # none of them 0, where both actions are as good
STARTS = jnp.linspace(-1, 1, 41)
BOX = jp.Box(-jnp.ones(1), jnp.ones(1))


class Reward(nnx.Module):
    """Two hidden layers of 100 units, from a state and an action to the reward."""

    def __init__(self, *, rngs):
        sizes = (2, 100), (100, 100), (100, 1)
        self.layers = nnx.List(nnx.Linear(*size, rngs=rngs) for size in sizes)

    def __call__(self, state, action):
        x = jnp.stack([state, action])
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)[0]


def make_loss(noise):
    """Squared error where the actions 1 and -1 earn s^3 and -s^3."""

    def loss_fn(model, batch, key):
        states, actions = batch
        noisy = actions + noise * jax.random.normal(key, actions.shape)
        rewards = jax.vmap(model)(states, noisy)
        return jnp.mean((rewards - actions * states**3) ** 2), {}

    return loss_fn


def draw_batch(key):
    """States from -2 to 2, and actions -1 and 1."""
    state_key, action_key = jax.random.split(key)
    states = jax.random.uniform(state_key, (256,), minval=-2, maxval=2)
    return states, jax.random.rademacher(action_key, (256,), jnp.float32)


def learn(noise, seed, steps):
    """A learnt reward."""
    model, _ = training.train(
        Reward(rngs=nnx.Rngs(seed)),
        SCAN,
        batch_fn=draw_batch,
        loss_fn=make_loss(noise),
        optimizer=training.cosine_adam(1e-3, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        label=f"reward, noise {noise}, seed {seed}",
    )
    return model


def descend(model):
    """Share of ends nearer the better action, and by how much the best end is overrated."""
    graphdef, params = nnx.split(model)
    cost = lambda given, action: -nnx.merge(graphdef, given[0])(given[1], action[0])

    def one(state, start):
        out = jp.refine(
            *(cost, (params, state), start[None]),
            optimizer=optax.adam(0.02),
            num_steps=200,
            project=lambda _, action: BOX.project(action),
        )
        return out.value[0] * state > 0, -out.objective - jnp.abs(state) ** 3

    is_better, excess = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(STATES, STARTS)
    return {"better_action": float(is_better.mean()), "excess": float(excess.max(1).mean())}


def draw(models, path):
    """Cost against action for some states, a panel for each model."""
    figure, panels = plt.subplots(1, len(models), figsize=(8, 3.2), layout="constrained")
    actions = jnp.linspace(-1.2, 1.2, 200)
    for axes, (noise, model) in zip(panels, models.items(), strict=True):
        for state in (-1.5, -1.0, 0.5, 1.0, 1.5):
            costs = jax.vmap(lambda action, state=state, model=model: -model(state, action))
            axes.plot(actions, costs(actions), label=f"s = {state}")
        axes.set(title=f"noise {noise}", xlabel="action", ylabel="predicted cost")
    panels[-1].legend(fontsize=7)
    viz.save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/gbp_gridworld"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    steps, seeds = (20, 1) if options.smoke else (5000, options.seeds)
    options.out /= "smoke" if options.smoke else ""
    options.out.mkdir(parents=True, exist_ok=True)
    models = {
        (noise, seed): learn(noise, seed, steps) for noise in (0.0, 0.25) for seed in range(seeds)
    }
    found = (
        {"noise": noise, "seed": seed} | descend(model) for (noise, seed), model in models.items()
    )
    training.write_table(found, options.out / "toy.csv")
    draw({noise: models[noise, 0] for noise in (0.0, 0.25)}, options.out / "toy.png")


if __name__ == "__main__":
    main()
