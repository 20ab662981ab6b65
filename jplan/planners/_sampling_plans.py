"""Planners that draw plans and move the distribution they are drawn from: CEM and MPPI."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree, Scalar
from jplan.descent import (
    AbstractActionSpace,
    refine_candidates,
    rollout,
    select,
    select_soft,
    select_top,
)
from jplan.planners._plan import Plan, make_plan


def cem_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    key: Array,
    *,
    horizon: int,
    action_space: AbstractActionSpace,
    candidates: int = 100,
    elites: int = 10,
    num_steps: int = 5,
    gradient_steps: int = 0,
    optimizer: optax.GradientTransformation | None = None,
    initial: PyTree = None,
) -> Plan:
    """Plan by the cross-entropy method: draw plans, keep the best, draw around these.

    x_n ~ N(mean, std);  mean, std <- those of the elites

    The latents of the action space are drawn, from a normal distribution with a mean and a standard
    deviation for each number, and judged by the return of the quantised actions.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model.
      state: where the plan begins, one; use vmap for several.
      key: consumed.
      horizon: static, T.
      action_space: see `jplan.descent`.
      candidates: static, N, drawn in each step.
      elites: static, how many of them the next step is drawn around, from 2 to N.
      num_steps: static, from 1 on.
      gradient_steps: static; gradient steps on the elites in each step (GradCEM); 0 for none.
      optimizer: of these; None is ``optax.adam(0.1)``.
      initial: latent [T, ...] that the first mean is; None is the middle of what the action
        space samples.

    Returns:
      `Plan`, the best of all that were drawn. The model is evaluated N T num_steps times, and with
      gradient steps forward and backward ``elites`` T num_steps gradient_steps times, and
      (``elites`` + 1) T num_steps times more to rank what came of them.

    Raises:
      ValueError: if the model and the action space do not fit, or a number is out of range.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.descent import Box
      >>> from jplan.planners import cem_plan
      >>> aim = lambda _, place, step: (place + step, -jnp.sum((place + step) ** 2), 1.0)
      >>> plan = cem_plan(
      ...     *(aim, None, jnp.array([1.0]), jax.random.key(0)),
      ...     horizon=2,
      ...     action_space=Box(-jnp.ones(1), jnp.ones(1)),
      ... )
      >>> bool(plan.hard_return > -0.01)
      True

    References: Rubinstein 1999, "The cross-entropy method"; Bharadhwaj, Xie & Shkurti 2020,
    "Model-predictive control via cross-entropy and gradient-based optimization".
    """
    check_sizes(horizon=horizon, candidates=candidates, num_steps=num_steps)
    if not 2 <= elites <= candidates:
        raise ValueError(f"elites is {elites}, expected 2 to {candidates}, the candidates.")
    if gradient_steps < 0:
        raise ValueError(f"gradient_steps is {gradient_steps}, expected 0 or more.")
    law_key, noise_key, step_key = jax.random.split(key, 3)
    mean, std = _first_law(action_space, law_key, horizon, initial)
    score = _negative_hard_return(model_fn, params, state, action_space)

    def soft(params: Params, latent: PyTree) -> Array:
        return -rollout(model_fn, params, state, action_space.decode(latent, key=noise_key)).total

    def step(carry: tuple, key: Array) -> tuple[tuple, Array]:
        mean, std, best = carry
        drawn = _draw(action_space, key, mean, std, candidates)
        # The best so far stays in the race.
        drawn = jax.tree.map(lambda many, one: many.at[0].set(one), drawn, best)
        scores = jax.vmap(score)(drawn)
        chosen = select_top(drawn, scores, elites).value
        best = jax.tree.map(lambda leaf: leaf[0], chosen)
        if gradient_steps:
            chosen = refine_candidates(
                *(soft, params, chosen),
                optimizer=optax.adam(0.1) if optimizer is None else optimizer,
                num_steps=gradient_steps,
                project=lambda _, latent: action_space.project(latent),
            ).value
            ranked = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), best, chosen)
            best = select(ranked, jax.vmap(score)(ranked)).value
        mean = jax.tree.map(lambda leaf: leaf.mean(0), chosen)
        std = jax.tree.map(lambda leaf: leaf.std(0), chosen)
        return (mean, std, best), -scores

    (_, _, best), returns = jax.lax.scan(
        step, (mean, std, mean), jax.random.split(step_key, num_steps)
    )
    return make_plan(
        *(model_fn, params, state, action_space, best),
        soft_return=-soft(params, best),
        returns=returns.T,
    )


def mppi_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    key: Array,
    *,
    horizon: int,
    action_space: AbstractActionSpace,
    candidates: int = 100,
    num_steps: int = 5,
    temperature: Scalar = 1.0,
    noise: Scalar = 0.5,
    initial: PyTree = None,
) -> Plan:
    """Plan by model predictive path integrals: draw plans around one, move it to their mean.

    mean <- sum_n w_n x_n,  w = softmax(returns / temperature),  x_n ~ N(mean, noise^2)

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model.
      state: where the plan begins, one; use vmap for several.
      key: consumed.
      horizon: static, T.
      action_space: see `jplan.descent`.
      candidates: static, N, drawn in each step.
      num_steps: static, from 1 on.
      temperature: positive, in the unit of the return.
      noise: standard deviation of the latents.
      initial: latent [T, ...] that the first mean is; None is the middle of what the action
        space samples.

    Returns:
      `Plan`, the mean of the last step. The model is evaluated N T num_steps times.

    Raises:
      ValueError: if the model and the action space do not fit, or a number is out of range.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.descent import Box
      >>> from jplan.planners import mppi_plan
      >>> aim = lambda _, place, step: (place + step, -jnp.sum((place + step) ** 2), 1.0)
      >>> plan = mppi_plan(
      ...     *(aim, None, jnp.array([1.0]), jax.random.key(0)),
      ...     horizon=2,
      ...     action_space=Box(-jnp.ones(1), jnp.ones(1)),
      ...     temperature=0.05,
      ... )
      >>> bool(plan.hard_return > -0.05)
      True

    References: Williams, Aldrich & Theodorou 2017, "Model predictive path integral control".
    """
    check_sizes(horizon=horizon, candidates=candidates, num_steps=num_steps)
    law_key, noise_key, step_key = jax.random.split(key, 3)
    mean, _ = _first_law(action_space, law_key, horizon, initial)
    score = _negative_hard_return(model_fn, params, state, action_space)
    std = jax.tree.map(lambda leaf: jnp.full_like(leaf, noise), mean)

    def step(mean: PyTree, key: Array) -> tuple[PyTree, Array]:
        drawn = _draw(action_space, key, mean, std, candidates)
        scores = jax.vmap(score)(drawn)
        return select_soft(drawn, scores, temperature=temperature), -scores

    mean, returns = jax.lax.scan(step, mean, jax.random.split(step_key, num_steps))
    relaxed = rollout(model_fn, params, state, action_space.decode(mean, key=noise_key)).total
    return make_plan(
        *(model_fn, params, state, action_space, mean),
        soft_return=relaxed,
        returns=returns.T,
    )


def _first_law(
    action_space: AbstractActionSpace, key: Array, horizon: int, initial: PyTree
) -> tuple[PyTree, PyTree]:
    """Mean and standard deviation of the first latents, measured on some."""
    some = action_space.sample(key, (256, horizon))
    std = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf.std(), leaf.shape[1:]), some)
    mean = jax.tree.map(lambda leaf: leaf.mean(0), some) if initial is None else initial
    return mean, std


def _draw(
    action_space: AbstractActionSpace, key: Array, mean: PyTree, std: PyTree, count: int
) -> PyTree:
    leaves, treedef = jax.tree.flatten(mean)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key, len(leaves))))
    normal = lambda key, m, s: m[None] + s[None] * jax.random.normal(key, (count, *m.shape))
    return action_space.project(jax.tree.map(normal, keys, mean, std))


def _negative_hard_return(
    model_fn: ModelFn, params: Params, state: PyTree, action_space: AbstractActionSpace
) -> Any:
    return lambda latent: -rollout(model_fn, params, state, action_space.quantise(latent)).total
