"""The plan of a policy: what it does in the model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jplan._checks import check_sizes
from jplan._typing import ModelFn, Params, PyTree
from jplan.descent import AbstractActionSpace
from jplan.planners._plan import Plan, make_plan


def policy_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    *,
    policy_fn: Callable[[Params, PyTree], PyTree],
    horizon: int,
    action_space: AbstractActionSpace,
) -> Plan:
    """Plan by a policy, which acts in the states that the model says it comes to.

    a_t = quantise(policy(s_t));  (s_t+1, r_t, discount_t) = model(s_t, a_t)

    Its latents are a start for the planners that take ``initial``, such as `gradient_plan`, which
    then improve on the policy.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model and the policy.
      state: where the plan begins, one.
      policy_fn: ``policy_fn(params, state) -> latent``, such as a `jplan.nn.ConvPolicy` on what
        the model decodes of the state.
      horizon: static, T.
      action_space: see `jplan.descent`.

    Returns:
      `Plan`; ``returns`` is [1, 1]. Nothing is relaxed, so there is no gap. The model is evaluated
      2 T times.

    Raises:
      ValueError: if the horizon is below 1, the policy's latent is not one of the action space, or
        model and action space do not fit.

    Differentiability: none; `jplan.training.imagined_loss` is a return that a policy can be trained
      by.

    Example:
      >>> import jplan as jp
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> home = lambda _, place: jnp.stack([place, -place])
      >>> options = {"horizon": 3, "action_space": jp.Simplex(2)}
      >>> plan = policy_plan(walk, None, jnp.float32(2.0), policy_fn=home, **options)
      >>> plan.actions.argmax(-1)[:2], float(plan.hard_return)
      (Array([0, 0], dtype=int32), -3.0)
    """
    check_sizes(horizon=horizon)
    state = jax.tree.map(jnp.asarray, state)
    some = jax.eval_shape(action_space.sample, jax.random.key(0))
    latent = jax.eval_shape(policy_fn, params, state)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (latent, some)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"policy_fn returns latents of shape {shapes[0]}, expected {shapes[1]} as the action "
            "space has them; use vmap for several states."
        )

    def step(state: PyTree, nothing: None) -> tuple[PyTree, PyTree]:
        latent = policy_fn(params, state)
        following, _, discount = model_fn(params, state, action_space.quantise(latent))
        # Where an episode ends it stays, since neither has to know what comes after.
        stay = lambda here, there: jnp.where(discount == 0, here, there)
        return jax.tree.map(stay, state, following), latent

    _, latents = jax.lax.scan(step, state, length=horizon)
    return make_plan(model_fn, params, state, action_space, latents)
