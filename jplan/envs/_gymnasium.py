"""Worlds for gymnasium, the interface of most reinforcement learning in Python."""

from typing import Any, ClassVar

import jax
import numpy as np

from jplan._typing import PyTree
from jplan.envs._foreign_spaces import (
    from_foreign_action,
    import_gym,
    to_foreign_action_space,
    to_foreign_observation_space,
)
from jplan.envs._world import World


def to_gymnasium(world: World) -> Any:
    """A world as a `gymnasium.Env`, one episode at a time, in NumPy.

    Simplices become Discrete, boxes Box, products Dict; actions are numbers, vectors and
    dictionaries of these. An episode is terminated where the discount is 0 and truncated after
    ``max_steps``; ``info["discount"]`` has the discount of the step. Two resets with one seed
    give the same episode.

    Args:
      world: any. For speed give it compiled functions:
        ``world.replace(reset_fn=jax.jit(world.reset_fn), step_fn=jax.jit(world.step_fn))``.

    Returns:
      A `gymnasium.Env`, without rendering.

    Raises:
      ImportError: if gymnasium is not installed.
      ValueError: if gymnasium has no such action or observation space.

    Differentiability: none.

    Example:
      >>> from jplan.envs import spaceship
      >>> env = to_gymnasium(spaceship())
      >>> observation, info = env.reset(seed=0)
      >>> observation.shape, env.action_space["signal"]
      ((17,), Discrete(4))

    References: Towers et al. 2024, "Gymnasium: a standard interface for reinforcement learning
    environments".
    """
    gymnasium = import_gym("gymnasium")

    class Env(gymnasium.Env):
        metadata: ClassVar[dict] = {"render_modes": []}

        def __init__(self) -> None:
            self.action_space = to_foreign_action_space(gymnasium.spaces, world.action_space)
            self.observation_space = to_foreign_observation_space(gymnasium.spaces, world)
            self._state: PyTree = None
            self._num_steps = 0

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
            super().reset(seed=seed, options=options)
            key = jax.random.key(int(self.np_random.integers(2**31)))
            self._state, self._num_steps = world.reset_fn(key), 0
            return self._observe(), {}

        def step(self, action: Any) -> tuple:
            if self._num_steps == world.max_steps or self._state is None:
                raise ValueError(
                    f"step: got an action after {self._num_steps} steps, expected up to "
                    f"{world.max_steps} from a reset on; call reset first"
                )
            action = from_foreign_action(world.action_space, action)
            self._state, reward, discount = world.step_fn(None, self._state, action)
            self._num_steps += 1
            is_terminated, is_truncated = not discount, self._num_steps == world.max_steps
            info = {"discount": float(discount)}
            return self._observe(), float(reward), is_terminated, is_truncated, info

        def _observe(self) -> PyTree:
            return jax.tree.map(np.array, world.observe_fn(self._state))

    return Env()
