"""GBP: plan by gradient ascent through a model."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree
from jplan.descent import AbstractActionSpace, refine_candidates, rollout, select
from jplan.planners._plan import Plan, make_plan


def gradient_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    key: Array,
    *,
    horizon: int,
    action_space: AbstractActionSpace,
    candidates: int = 20,
    num_steps: int = 10,
    optimizer: optax.GradientTransformation | None = None,
    initial: PyTree = None,
    score: Literal["hard", "soft"] = "hard",
    batch_size: int | None = None,
) -> Plan:
    """Plan by gradient ascent on the model's return, from many random plans at once.

    x <- x + update(grad_x return(decode(x)));  actions = quantise(x) of the best candidate

    To plan many times, jit a partial of it.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``, learnt or
        known, of one state.
      params: of the model.
      state: where the plan begins, one; use vmap for several.
      key: consumed.
      horizon: static, T, from 1 on.
      action_space: `jplan.descent.Simplex`, `jplan.descent.Box` or `jplan.descent.Product`.
      candidates: static, N, plans to begin from.
      num_steps: static; 0 is random shooting.
      optimizer: of the latents; None is Adam with the step size 0.3. Where a few actions decide
        over the return and the model is exact, plain gradient steps find the best plan more often:
        Adam moves the logits of all actions equally fast, whatever depends on them.
      initial: latents [M, T, ...] with M up to N that replace the first random ones, such as the
        last plan, shifted, or that of a policy, see `policy_plan`. They are candidates as they are,
        too: with ``score="hard"`` the plan is never worse than what is given.
      score: static; which return chooses among the candidates: that of the quantised actions, or
        as published that of the relaxed ones.
      batch_size: static; see `jplan.descent.refine_candidates`.

    Returns:
      `Plan`. The model is evaluated, forward and backward, N T num_steps times, N T times more for
      the relaxed returns at the end, and for the others (N + M + 1) T times, or T if ``score`` is
      "soft".

    Raises:
      ValueError: if the model and the action space do not fit, the horizon or the number of
        candidates is below 1, ``initial`` has other shapes, or ``score`` is unknown.

    Differentiability: none; to train through a refinement use `jplan.refine`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> plan = jp.gradient_plan(
      ...     *(walk, None, jnp.float32(2.0), jax.random.key(0)),
      ...     horizon=3,
      ...     action_space=jp.Simplex(2),
      ... )
      >>> plan.actions.argmax(-1)[:2], float(plan.hard_return)
      (Array([0, 0], dtype=int32), -3.0)

    References: Henaff, Whitney & LeCun 2017, "Model-based planning with discrete and continuous
    actions", algorithm 1: plain gradient steps, unit normal logits and ``score="soft"``.
    """
    if score not in ("hard", "soft"):
        raise ValueError(f"score is {score!r}, expected 'hard' or 'soft'.")
    check_sizes(horizon=horizon, candidates=candidates)
    draw_key, noise_key = jax.random.split(key)
    latents = draw_latents(action_space, draw_key, (candidates, horizon), initial)

    def negative_return(params: Params, latent: PyTree) -> Array:
        return -rollout(model_fn, params, state, action_space.decode(latent, key=noise_key)).total

    refined = refine_candidates(
        *(negative_return, params, latents),
        optimizer=optax.adam(0.3, eps_root=1e-8) if optimizer is None else optimizer,
        num_steps=num_steps,
        project=lambda _, latent: action_space.project(latent),
        batch_size=batch_size,
    )
    count = 0 if initial is None else len(jax.tree.leaves(initial)[0])
    both = lambda first, last: jnp.concatenate([last, first[:count]])
    values = jax.tree.map(both, latents, refined.value)
    objectives = both(refined.objectives[:, 0], refined.objective)
    scores = objectives
    if score == "hard":
        actions = action_space.quantise(values)
        follow = lambda actions: -rollout(model_fn, params, state, actions).total
        scores = jax.vmap(follow)(actions)
    best = select(values, scores)
    return make_plan(
        *(model_fn, params, state, action_space, best.value),
        soft_return=-objectives[best.index],
        returns=-refined.objectives,
        is_flat=num_steps > 0 and jnp.all(refined.gradient_norms[:, 0] == 0),
    )


def draw_latents(
    action_space: AbstractActionSpace, key: Array, lead: tuple[int, ...], initial: PyTree
) -> PyTree:
    """Random latents [N, T, ...], the first of them replaced by what is given."""
    drawn = action_space.sample(key, lead)
    if initial is None:
        return drawn

    def replace(random: Array, given: Any) -> Array:
        given = jnp.asarray(given, random.dtype)
        if given.shape[1:] != random.shape[1:] or len(given) > len(random):
            raise ValueError(
                f"initial has a leaf of shape {list(given.shape)}, expected "
                f"[M, {', '.join(map(str, random.shape[1:]))}] with M up to {len(random)}, the "
                "number of candidates."
            )
        return random.at[: len(given)].set(given)

    if jax.tree.structure(initial) != jax.tree.structure(drawn):
        raise ValueError(
            f"initial has the structure {jax.tree.structure(initial)}, expected that of the action "
            f"space's latents, {jax.tree.structure(drawn)}."
        )
    if len({len(leaf) for leaf in jax.tree.leaves(initial)}) != 1:
        raise ValueError("initial has leaves of different length, expected as many of every part.")
    return action_space.project(jax.tree.map(replace, drawn, initial))
