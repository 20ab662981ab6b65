"""A controller: plan, carry out the first few actions in the world, look, plan anew."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree
from jplan.descent import Rollout, rollout, shift_plan
from jplan.planners._plan import Plan

PlanFn: TypeAlias = Callable[[Params, PyTree, Array, PyTree], Plan]
"""``plan_fn(params, state, key, latent) -> Plan``, from a latent [H, ...] to begin from."""


@struct.dataclass(kw_only=True)
class Episode:
    """Result of `receding_horizon`.

    Attributes:
      actions: pytree with a leading axis [T], those carried out.
      rollout: `jplan.descent.Rollout` of the world: states [T + 1], rewards [T], total [].
      status: [T / replan_every] int32, the `PlanStatus` of each plan.
    """

    actions: PyTree
    rollout: Rollout
    status: Array


def receding_horizon(
    plan_fn: PlanFn,
    params: Params,
    world_fn: ModelFn,
    world_params: Params,
    state: PyTree,
    key: Array,
    *,
    initial: PyTree,
    num_steps: int,
    replan_every: int = 1,
    observe_fn: Callable[[PyTree], PyTree] | None = None,
) -> Episode:
    """Run an episode in a world with a planner that plans anew every few steps.

    plan_k = plan_fn(params, observe(s), key_k, shift(latent_{k-1}));  s <- world(s, plan_k[:n])

    Each plan is warm: it begins from what is left of the one before. Use vmap over the states and
    the keys for several episodes.

    Args:
      plan_fn: ``plan_fn(params, state, key, latent) -> Plan``, such as a lambda around
        `gradient_plan` that gives it ``initial=latent[None]``. The latent is [H, ...], with the
        planner's own horizon H.
      params: of the planner's model.
      world_fn: ``world_fn(world_params, state, action) -> (next_state, reward, discount)``, what
        really happens. A random world carries its key in its state, a changing one a clock.
      world_params: of the world.
      state: of the world, one, where the episode begins.
      key: consumed.
      initial: latent [H, ...] that the first plan begins from.
      num_steps: static, T, of the episode; a multiple of ``replan_every``.
      replan_every: static, n, actions that are carried out of each plan, from 1 to H.
      observe_fn: the planner's state from the world's; None where they are the same.

    Returns:
      `Episode`. The planner is called T / n times; steps beyond a discount of 0 do not count in the
      total.

    Raises:
      ValueError: if the numbers of steps do not fit, or the world does not keep to its contract.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> from jplan.planners import cem_plan, receding_horizon
      >>> drift = lambda wind, x, u: (x + u + wind, -jnp.sum(x**2), 1.0)
      >>> box = jp.Box(-jnp.ones(1), jnp.ones(1))
      >>> plan = lambda wind, x, key, latent: cem_plan(
      ...     *(drift, wind, x, key), horizon=3, action_space=box, initial=latent
      ... )
      >>> episode = receding_horizon(
      ...     *(plan, 0.0, drift, 0.3, jnp.ones(1), jax.random.key(0)),
      ...     initial=jnp.zeros((3, 1)),
      ...     num_steps=6,
      ... )
      >>> bool(abs(episode.rollout.states[-1, 0] - 0.3) < 0.1)
      True

    References: Garcia, Prett & Morari 1989, "Model predictive control: theory and practice".
    """
    check_sizes(num_steps=num_steps, replan_every=replan_every)
    horizon = min(leaf.shape[0] for leaf in jax.tree.leaves(initial))
    if num_steps % replan_every or replan_every > horizon:
        raise ValueError(
            f"replan_every is {replan_every}, expected at most {horizon}, the length of initial, "
            f"and a divisor of num_steps, which is {num_steps}."
        )

    def control(carry: tuple, key: Array) -> tuple[tuple, tuple]:
        state, latent = carry
        seen = state if observe_fn is None else observe_fn(state)
        plan = plan_fn(params, seen, key, latent)
        actions = jax.tree.map(lambda leaf: leaf[:replan_every], plan.actions)
        out = rollout(world_fn, world_params, state, actions)
        state = jax.tree.map(lambda leaf: leaf[-1], out.states)
        following = jax.tree.map(lambda leaf: leaf[1:], out.states)
        told = following, actions, out.rewards, out.discounts, plan.status
        return (state, shift_plan(plan.latent, replan_every)), told

    start = jax.tree.map(jnp.asarray, (state, initial))
    keys = jax.random.split(key, num_steps // replan_every)
    _, (*parts, status) = jax.lax.scan(control, start, keys)
    join = lambda leaf: leaf.reshape(num_steps, *leaf.shape[2:])
    following, actions, rewards, discounts = jax.tree.map(join, parts)
    recorded = rollout(lambda _, state, step: (state, *step), None, (), (rewards, discounts))
    return Episode(
        actions=actions,
        rollout=Rollout(
            states=jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start[0], following),
            rewards=rewards,
            discounts=discounts,
            total=recorded.total,
        ),
        status=status,
    )
