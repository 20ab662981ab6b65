"""The contract of worlds that one can act in."""

from collections.abc import Callable
from typing import TypeAlias

from flax import struct

from jplan._typing import Array, ModelFn, PyTree
from jplan.descent import AbstractActionSpace

ResetFn: TypeAlias = Callable[[Array], PyTree]
"""``reset(key) -> state``: a first state, decided by the key alone."""

ObserveFn: TypeAlias = Callable[[PyTree], PyTree]
"""``observe(state) -> observation``: what an agent is shown of a state."""


@struct.dataclass(kw_only=True)
class World:
    """A world to act in, as pure functions of one state; use ``vmap`` for many.

    s_0 = reset(key);  (s_t+1, r_t, discount_t) = step(params, s_t, a_t)

    ``step_fn`` is a model as `jplan.gradient_plan` and `jplan.descent.rollout` take it: planning
    with the true dynamics, or with a learnt model in their stead, is the same call. The end of an
    episode is a discount of 0. Ends absorb: each later step has the reward 0 and the discount 0,
    so the return of a rollout past the end is right. States do not count steps; whoever runs an
    episode cuts it after ``max_steps``.

    Attributes:
      reset_fn: static; ``reset_fn(key) -> state``; the key is consumed.
      step_fn: static; ``step_fn(params, state, action) -> (next_state, reward, discount)``,
        deterministic. The worlds of this package have no parameters: give None.
      observe_fn: static; ``observe_fn(state) -> observation``.
      action_space: of the actions. Its ``quantise(sample(key))`` is the random policy.
      max_steps: static, length of the longest episode.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.descent import Simplex, rollout
      >>> from jplan.envs import World
      >>> def step(params, place, action):
      ...     moved = place + jnp.where(place == 0, 0, action[1] - action[0])
      ...     return moved, jnp.where(place == 0, 0.0, -1.0), jnp.where(moved == 0, 0.0, 1.0)
      >>> walk_home = World(
      ...     reset_fn=lambda key: jax.random.uniform(key, (), minval=1.0, maxval=4.0).round(),
      ...     step_fn=step,
      ...     observe_fn=lambda place: place[None],
      ...     action_space=Simplex(2),
      ...     max_steps=20,
      ... )
      >>> home = jnp.eye(2)[jnp.zeros(20, int)]
      >>> rollout(walk_home.step_fn, None, jnp.float32(3.0), home).total
      Array(-3., dtype=float32)
    """

    reset_fn: ResetFn = struct.field(pytree_node=False)
    step_fn: ModelFn = struct.field(pytree_node=False)
    observe_fn: ObserveFn = struct.field(pytree_node=False)
    action_space: AbstractActionSpace
    max_steps: int = struct.field(pytree_node=False)
