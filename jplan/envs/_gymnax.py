"""Worlds for gymnax, environments in JAX, and from it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree
from jplan.descent import Simplex
from jplan.envs._foreign_spaces import (
    from_foreign_action,
    from_foreign_space,
    import_gym,
    to_foreign_action_space,
    to_foreign_observation_space,
)
from jplan.envs._world import World


@struct.dataclass(kw_only=True)
class GymnaxState:
    """State of a world made of a gymnax environment.

    Attributes:
      inner: the environment's own state.
      observation: what it showed.
      key: decides the random part of all that follows, so that a step is a function of the state.
      is_over: bool [], whether the episode has terminated.

    Example:
      >>> import gymnax
      >>> state = from_gymnax(*gymnax.make("Pendulum-v1")).reset_fn(jax.random.key(0))
      >>> state.observation.shape, bool(state.is_over)
      ((3,), False)
    """

    inner: PyTree
    observation: PyTree
    key: Array
    is_over: Array


def from_gymnax(env: Any, params: Any) -> World:
    """A gymnax environment as a world.

    Args:
      env: as `gymnax.make` returns it. Most of them block gradients;
        ``env.with_transition_gradients()`` lets them through where gymnax has it.
      params: as `gymnax.make` returns it; ``max_steps_in_episode`` becomes ``max_steps``.

    Returns:
      `World` with the state `GymnaxState`, which does not reset itself. Actions of Discrete are
      one-hot, and the largest entry decides.

    Raises:
      ValueError: if the actions are neither Discrete nor vectors between finite bounds.

    Differentiability: as the environment's.

    Example:
      >>> import gymnax
      >>> world = from_gymnax(*gymnax.make("CartPole-v1"))
      >>> state = world.reset_fn(jax.random.key(0))
      >>> world.observe_fn(state).shape, world.max_steps
      ((4,), 500)

    References: Lange 2022, "gymnax: A JAX-based reinforcement learning environment library".
    """
    action_space = from_foreign_space(env.action_space(params))
    is_discrete = isinstance(action_space, Simplex)

    def reset(key: Array) -> GymnaxState:
        reset_key, key = jax.random.split(key)
        observation, inner = env.reset_env(reset_key, params)
        inner, observation = jax.tree.map(jnp.asarray, (inner, observation))
        return GymnaxState(
            inner=inner, observation=observation, key=key, is_over=jnp.zeros((), bool)
        )

    def step(_: PyTree, state: GymnaxState, action: Array) -> tuple[GymnaxState, Array, Array]:
        # Plans try many actions from one state, and so use its key many times, on purpose.
        step_key, key = jax.random.split(jax.random.clone(state.key))
        taken = jnp.argmax(action).astype(jnp.int32) if is_discrete else action
        observation, inner, reward, is_over, _ = env.step_env(step_key, state.inner, taken, params)
        cast = lambda new, old: jnp.where(state.is_over, old, jnp.asarray(new, old.dtype))
        was = state.inner, state.observation
        inner, observation = jax.tree.map(cast, (inner, observation), was)
        is_over = state.is_over | is_over
        following = GymnaxState(inner=inner, observation=observation, key=key, is_over=is_over)
        reward = jnp.where(state.is_over, 0.0, reward)
        return following, reward, jnp.where(is_over, 0.0, 1.0)

    return World(
        reset_fn=reset,
        step_fn=step,
        observe_fn=lambda state: state.observation,
        action_space=action_space,
        max_steps=int(params.max_steps_in_episode),
    )


def to_gymnax(world: World) -> tuple[Any, Any]:
    """A world as a gymnax environment.

    Simplices become Discrete, boxes Box, products Dict. The environment resets itself after an
    end and after ``max_steps``, as gymnax has it, and lets gradients through.

    Args:
      world: any.

    Returns:
      The environment and its parameters, as `gymnax.make` returns them. Its state has the world's
      as ``inner``.

    Raises:
      ImportError: if gymnax is not installed.
      ValueError: if gymnax has no such action or observation space.

    Differentiability: as the world's.

    Example:
      >>> from jplan.envs import spaceship
      >>> env, params = to_gymnax(spaceship())
      >>> observation, state = env.reset(jax.random.key(0), params)
      >>> observation.shape, params.max_steps_in_episode
      ((17,), 80)

    References: see `from_gymnax`.
    """
    gymnax = import_gym("gymnax")
    spaces = gymnax.environments.spaces
    action_space = to_foreign_action_space(spaces, world.action_space)
    observation_space = to_foreign_observation_space(spaces, world)

    @struct.dataclass
    class State(gymnax.EnvState):
        inner: Any

    class Environment(gymnax.environments.environment.Environment):
        supports_transition_gradients = transition_gradients_enabled = True

        @property
        def default_params(self) -> Any:
            return gymnax.EnvParams(max_steps_in_episode=world.max_steps)

        def reset_env(self, key: Array, params: Any) -> tuple:
            state = State(time=jnp.int32(0), inner=world.reset_fn(key))
            return world.observe_fn(state.inner), state

        def step_env(self, key: Array, state: Any, action: Any, params: Any) -> tuple:
            action = from_foreign_action(world.action_space, action)
            inner, reward, discount = world.step_fn(None, state.inner, action)
            following = State(time=state.time + 1, inner=inner)
            info = {"discount": discount}
            return world.observe_fn(inner), following, reward, discount == 0, info

        def observe(self, key: Array, state: Any, action: Any, params: Any) -> PyTree:
            return world.observe_fn(state.inner)

        @property
        def num_actions(self) -> int:
            draw = lambda key: world.action_space.quantise(world.action_space.sample(key))
            parts = jax.tree.leaves(jax.eval_shape(draw, jax.random.key(0)))
            return sum(part.size for part in parts)

        def action_space(self, params: Any = None) -> Any:
            return action_space

        def observation_space(self, params: Any = None) -> Any:
            return observation_space

    env = Environment()
    return env, env.default_params
