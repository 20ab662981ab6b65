"""Goal-conditioned behaviour cloning: what planning has to be better than."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from jplan import training


class GoalPolicy(nnx.Module):
    """Three layers from a state and a goal to an action in [-1, 1]."""

    def __init__(self, states, actions, *, hidden=512, mean, scale, rngs):
        self.mean, self.scale = tuple(mean.tolist()), tuple(scale.tolist())
        sizes = 2 * states, hidden, hidden, hidden, actions
        self.layers = nnx.List(nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes))

    def __call__(self, states, goals):
        both = jnp.stack([states, goals], axis=-2)
        x = ((both - jnp.array(self.mean)) / jnp.array(self.scale)).reshape(len(states), -1)
        for layer in self.layers[:-1]:
            x = jax.nn.gelu(layer(x))
        return jnp.tanh(self.layers[-1](x))


def draw_reached(key, data, batch_size):
    """Rows of states, and of later ones of the same episode; the episodes are equally likely."""
    episode_key, now_key, goal_key = jax.random.split(key, 3)
    episode = jax.random.randint(episode_key, (batch_size,), 0, len(data.lengths))
    last = data.lengths[episode] - 1
    now = jax.random.randint(now_key, (batch_size,), 0, last)
    goal = jax.random.randint(goal_key, (batch_size,), now + 1, last + 1)
    return data.firsts[episode] + now, data.firsts[episode] + goal


def draw_batch(key, data):
    now, goal = draw_reached(key, data, 256)
    return data.states[now], data.states[goal], data.actions[now]


def cloning_loss(policy, batch, key):
    del key
    states, goals, actions = batch
    return jnp.mean((policy(states, goals) - actions) ** 2), {}


def learn_policy(scan_fn, data, num_steps, seed, directory):
    """The policy, read if it has been trained; and the seconds."""
    mean, scale = data.standard_numbers()
    sizes = data.states.shape[1], data.actions.shape[1]
    policy = GoalPolicy(*sizes, mean=mean, scale=scale, rngs=nnx.Rngs(seed))
    policy, rows = training.train(
        *(policy, scan_fn, data),
        batch_fn=draw_batch,
        loss_fn=cloning_loss,
        optimizer=training.cosine_adam(1e-3, num_steps),
        key=jax.random.key(seed),
        num_steps=num_steps,
        steps_per_call=min(500, num_steps),
        directory=directory,
        settings={
            "states": len(data.states),
            "mean": mean.tolist(),
            "seed": seed,
            "steps": num_steps,
        },
        checkpoint_every=5000,
        label="cloning",
    )
    return policy, rows[-1]["seconds"]
