"""The plan of a policy: what it does in the model."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jplan._checks import check_sizes
from jplan._typing import ModelFn, Params, PyTree
from jplan._weigh import stay
from jplan.descent import AbstractActionSpace, rollout
from jplan.planners._plan import Plan, make_plan


def policy_plan(
    model_fn: ModelFn,
    params: Params,
    policy_fn: Callable[[Params, PyTree], PyTree],
    policy_params: Params,
    state: PyTree,
    *,
    horizon: int,
    action_space: AbstractActionSpace,
) -> Plan:
    """Plan by a policy, which acts in the states that the model says it comes to.

    a_t = quantise(policy(s_t));  (s_t+1, r_t, discount_t) = model(s_t, a_t)

    Its latent can be given to the planners that take ``initial``. `gradient_plan` keeps it as a
    candidate, so with the default score its plan is no worse than the policy's.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model.
      policy_fn: ``policy_fn(policy_params, state) -> latent`` of a state of the model. What a
        policy of observations sees of one tells `jplan.nn.AbstractWorldModel.decode`.
      policy_params: of the policy.
      state: where the plan begins, one; use vmap for several.
      horizon: static, T.
      action_space: see `jplan.descent`.

    Returns:
      `Plan`; nothing is relaxed, so there is no gap, and ``returns`` is [1, 1]. The model is
      evaluated 2 T times. After a discount of 0 the policy goes on seeing the last state.

    Raises:
      ValueError: if the horizon is below 1, the policy's latent is not one of the action space, or
        model and action space do not fit.

    Differentiability: none; `jplan.training.imagined_loss` is a return that a policy can be trained
      by.

    Example:
      >>> import jax
      >>> import jplan as jp
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> home = lambda gain, place: gain * jnp.stack([place, -place])
      >>> problem, options = (walk, None), {"horizon": 3, "action_space": jp.Simplex(2)}
      >>> plan = policy_plan(*problem, home, 0.5, jnp.float32(2.0), **options)
      >>> plan.actions.argmax(-1)[:2], float(plan.hard_return)
      (Array([0, 0], dtype=int32), -3.0)
      >>> key, start = jax.random.key(0), plan.latent[None]
      >>> better = jp.gradient_plan(*problem, jnp.float32(2.0), key, initial=start, **options)
      >>> bool(better.hard_return >= plan.hard_return)
      True
    """
    check_sizes(horizon=horizon)
    state = jax.tree.map(jnp.asarray, state)
    draw = functools.partial(action_space.sample, jax.random.key(0))
    some = jax.eval_shape(lambda: action_space.quantise(draw((horizon,))))
    jax.eval_shape(functools.partial(rollout, model_fn), params, state, some)
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(*call))
        for call in ((policy_fn, policy_params, state), (draw,))
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"policy_fn returns latents of shape {shapes[0]}, expected {shapes[1]} as the action "
            "space has them; use vmap for several states."
        )

    def step(state: PyTree, nothing: None) -> tuple[PyTree, PyTree]:
        latent = policy_fn(policy_params, state)
        following, _, discount = model_fn(params, state, action_space.quantise(latent))
        return stay(discount, state, following), latent

    _, latents = jax.lax.scan(step, state, length=horizon)
    return make_plan(model_fn, params, state, action_space, latents)
