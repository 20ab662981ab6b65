"""What is planned for: worlds that are known, first states, and how much steps may change."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

import jplan as jp
from jplan import envs


@dataclasses.dataclass(frozen=True)
class Task:
    """Many first states of one world; ``params`` and ``states`` have a leading axis."""

    model_fn: Any
    params: Any
    states: Any
    horizon: int
    action_space: jp.descent.AbstractActionSpace
    rate: Any  # of gradient steps, in the unit of the latents
    temperature: float  # of MPPI, in the unit of the return
    noise: float  # of MPPI
    has_derivatives: bool  # in state and action: iLQR and lifted states can be asked


def swing(params, state, torque):
    """The pendulum of Gymnasium (Towers et al. 2024), with a cost that is smooth at the bottom."""
    del params
    angle, speed = state
    cost = 2 * (1 - jnp.cos(angle)) + 0.1 * speed**2 + 0.001 * torque[0] ** 2
    speed = speed + 0.05 * (15 * jnp.sin(angle) + 3 * torque[0])
    return jnp.stack([angle + 0.05 * speed, speed]), -cost, 1.0


def walk(params, belief, action):
    """A table of transitions and rewards, followed in expectation."""
    transition, reward = params
    following = jnp.einsum("s,a,sat->t", belief, action, transition)
    return following, belief @ reward @ action, 0.9


def make_pendulum(key, count):
    """Swing up, with a torque that is too weak to lift directly; 5 s."""
    angles = jax.random.uniform(key, (count,), minval=0.5 * jnp.pi, maxval=1.5 * jnp.pi)
    states = jnp.stack([angles, jnp.zeros(count)], axis=1)
    box = jp.Box(-jnp.full(1, 2.0), jnp.full(1, 2.0), scale=1.0)
    return Task(swing, None, states, 100, box, 0.3, 10.0, 0.5, True)


def make_spaceship(key, count):
    """Thrust and signal, a quarter of an episode."""
    world = envs.spaceship()
    states = jax.jit(jax.vmap(world.reset_fn))(jax.random.split(key, count))
    rates = {"signal": 0.3, "thrust": 0.05}
    return Task(world.step_fn, None, states, 20, world.action_space, rates, 1.0, 0.2, False)


def make_tables(key, count):
    """Worlds of 20 states and 4 actions that lead anywhere, with normal rewards."""
    next_key, reward_key = jax.random.split(key)
    shape = (count, 20, 4)
    transition = jax.nn.one_hot(jax.random.randint(next_key, shape, 0, 20), 20)
    states = jnp.broadcast_to(jax.nn.one_hot(0, 20), (count, 20))
    params = transition, jax.random.normal(reward_key, shape)
    return Task(walk, params, states, 10, jp.Simplex(4), 0.3, 0.3, 0.5, False)


TASKS = {"pendulum": make_pendulum, "spaceship": make_spaceship, "tables": make_tables}


def best_returns(task):
    """What value iteration earns in tables."""

    def solve(params):
        mdp = jp.mdp.TabularMDP(transition=params[0], reward=params[1], discount=0.9)
        back = lambda value, _: (mdp.action_values(value).max(-1), None)
        return jax.lax.scan(back, jnp.zeros(20), None, length=task.horizon)[0][0]

    return jax.vmap(solve)(task.params)
