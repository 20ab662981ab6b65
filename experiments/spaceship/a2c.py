"""Advantage actor-critic of stable-baselines3, which learns in the world and without a model."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import VecEnv
from stages import SPACE, WIDTH, WORLD

WORKERS, RATE, ENTROPY = 64, 7e-4, 0.01
BOUND = np.asarray(SPACE.spaces["thrust"].high)
observe = jax.jit(jax.vmap(WORLD.observe_fn))
reset = jax.jit(jax.vmap(WORLD.reset_fn))


def from_vector(vector):
    """Thrust, in units of its bound, and the signal: the largest of the last four numbers."""
    signal = jax.nn.one_hot(vector[2:].argmax(), 4)
    return {"thrust": jnp.clip(vector[:2], -1, 1) * BOUND, "signal": signal}


@jax.jit
@jax.vmap
def advance(state, vector):
    """State, observation and reward after a step."""
    state, reward, _ = WORLD.step_fn(None, state, from_vector(vector))
    return state, WORLD.observe_fn(state), reward


class Worlds(VecEnv):
    """Many worlds that are stepped at once, and all begin anew after the last step."""

    def __init__(self, count, seed):
        box = gymnasium.spaces.Box
        super().__init__(
            *(count, box(-np.inf, np.inf, (WIDTH,)), box(-1.0, 1.0, (len(BOUND) + 4,)))
        )
        self.key = jax.random.key(seed)

    def reset(self):
        self.key, key = jax.random.split(self.key)
        self.states, self.steps = reset(jax.random.split(key, self.num_envs)), 0
        return np.array(observe(self.states))

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        self.states, seen, rewards = advance(self.states, self.actions)
        self.steps += 1
        is_over = self.steps == WORLD.max_steps
        infos = [{} for _ in range(self.num_envs)]
        if is_over:  # the time is up; the world itself has no end
            infos = [
                {"terminal_observation": last, "TimeLimit.truncated": True}
                for last in np.asarray(seen)
            ]
            seen = self.reset()
        return np.array(seen), np.array(rewards), np.full(self.num_envs, is_over), infos

    def close(self):
        pass

    def get_attr(self, attr_name, indices=None):
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *method_args, indices=None, **method_kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


def learn_a2c(steps, hidden, seed, episodes, key):
    """A row: mean return and standard error after training, of the likeliest actions."""
    layers = [hidden] * 4
    agent = A2C(
        *("MlpPolicy", Worlds(WORKERS, seed)),
        learning_rate=RATE,
        ent_coef=ENTROPY,
        policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
        seed=seed,
        device="cpu",
    )
    agent.learn(steps)
    states = reset(jax.random.split(jax.random.split(key)[0], episodes))
    seen, returns = observe(states), np.zeros(episodes)
    for _ in range(WORLD.max_steps):
        actions, _ = agent.predict(np.array(seen), deterministic=True)
        states, seen, rewards = advance(states, actions)
        returns += np.asarray(rewards)
    return {
        "world_steps": agent.num_timesteps,
        "mean_return": float(returns.mean()),
        "standard_error": float(returns.std() / episodes**0.5),
    }
