"""Advantage actor-critic of stable-baselines3, which learns in the world and without a model."""

import gymnasium
import jax
import numpy as np
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stages import WORLD

from jplan import envs

WORKERS, RATE, ENTROPY = 16, 1e-3, 0.01


class Flat(gymnasium.ActionWrapper):
    """Thrust and signal as one vector; the largest of its last four entries is the signal."""

    def __init__(self):
        jitted = {"reset_fn": jax.jit(WORLD.reset_fn), "step_fn": jax.jit(WORLD.step_fn)}
        super().__init__(envs.to_gymnasium(WORLD.replace(**jitted)))
        bound = WORLD.action_space.spaces["thrust"].high
        low = np.array([*-bound, *[-1] * 4], np.float32)
        self.action_space = gymnasium.spaces.Box(low, -low)

    def action(self, action):
        return {"thrust": action[:2], "signal": int(action[2:].argmax())}


def learn_a2c(steps, hidden, seed, episodes):
    """A row: mean return and standard error after training, of the likeliest actions."""
    layers = [hidden] * 4
    agent = A2C(
        *("MlpPolicy", make_vec_env(Flat, WORKERS, seed=seed)),
        learning_rate=RATE,
        ent_coef=ENTROPY,
        policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
        seed=seed,
        device="cpu",
    )
    agent.learn(steps)
    unseen = make_vec_env(Flat, 1, seed=10_000 + seed)
    returns, _ = evaluate_policy(agent, unseen, episodes, return_episode_rewards=True)
    return {
        "world_steps": agent.num_timesteps,
        "mean_return": float(np.mean(returns)),
        "standard_error": float(np.std(returns) / len(returns) ** 0.5),
    }
