"""Lifted planning: states and actions descend together, and dynamics are a penalty."""

import jax
import jax.numpy as jnp
import optax

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree
from jplan._weigh import weigh
from jplan.descent import AbstractActionSpace, refine_candidates, rollout, select
from jplan.planners._gradient_plan import draw_latents
from jplan.planners._plan import Plan, make_plan


def lifted_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    key: Array,
    *,
    horizon: int,
    action_space: AbstractActionSpace,
    penalties: Array | tuple[float, ...] = (1.0, 10.0, 100.0),
    candidates: int = 20,
    num_steps: int = 100,
    optimizer: optax.GradientTransformation | None = None,
    initial: PyTree = None,
    stop_state_gradients: bool = False,
) -> Plan:
    """Plan by descent on states and actions together, with the dynamics as a penalty.

    min over s_1 .. s_T, x_1 .. x_T of  -return + penalty * sum_t |s_{t+1} - f(s_t, a_t)|^2

    The model is evaluated at all steps at once, and no gradient passes through more than one of
    them, so none vanishes or explodes over a long horizon. The states begin at the first one; what
    comes after an end has no penalty. States may get there before the actions do, so the model's
    numbers should be finite in them, and its slopes have to be.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model.
      state: where the plan begins, one; pytree of floats. Its numbers should be of like size.
      key: consumed.
      horizon: static, T.
      action_space: see `jplan.descent`; a is what it decodes of the latent x.
      penalties: [R], one for each round of descent, in reward units per squared state; growing, so
        that the first rounds are free to find a way and the last ones obey the model.
      candidates: static, N.
      num_steps: static, of each round.
      optimizer: of states and latents, anew in each round; None is Adam with the step size 0.05.
      initial: latents [M, T, ...] with M up to N that replace the first random ones.
      stop_state_gradients: static; whether the penalty moves states towards what the model makes of
        the ones before, but not these to suit the model. Meant for learnt models, whose gradients
        in the state may be wrong; with an exact model the plans are worse for it.

    Returns:
      `Plan`, of the candidate whose quantised actions have the largest return, all by themselves;
      ``returns`` is [N, R (num_steps + 1)], penalties included. The model is evaluated, forward and
      backward, N T R num_steps times, T of them at once. ``FLAT_START`` is a world in which neither
      actions nor states have a slope.

    Raises:
      ValueError: if the model and the action space do not fit, a number is below 1, there are no
        penalties, the state is not of floats, or ``initial`` has other shapes.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.descent import Box
      >>> from jplan.planners import lifted_plan
      >>> aim = lambda _, x, u: (x + u, -jnp.sum((x + u) ** 2), 1.0)
      >>> options = {"horizon": 2, "action_space": Box(-jnp.ones(1), jnp.ones(1))}
      >>> run = jax.jit(lambda x, key: lifted_plan(aim, None, x, key, **options))
      >>> bool(run(jnp.ones(1), jax.random.key(0)).hard_return > -0.01)
      True

    References: Psenka et al. 2026, "GRASP", arXiv 2602.00475, for stopped gradients, without its
    noise on the states; Hargraves & Paris 1987 for collocation.
    """
    check_sizes(horizon=horizon, candidates=candidates, num_steps=num_steps)
    draw_key, noise_key = jax.random.split(key)
    latents = draw_latents(action_space, draw_key, (candidates, horizon), initial)
    follow = lambda actions: rollout(model_fn, params, state, actions).total
    jax.eval_shape(follow, jax.tree.map(lambda leaf: leaf[0], action_space.quantise(latents)))
    move = jax.vmap(model_fn, (None, 0, 0))

    def defect(weight: Array, state: PyTree, following: PyTree) -> Array:
        off = jax.tree.map(lambda a, b: jnp.where(weight > 0, a - b, 0), state, following)
        return optax.tree.norm(off, squared=True)

    def energy(params: tuple, lifted: tuple) -> Array:
        params, penalty = params
        latent, states = lifted
        before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), state, states)
        actions = action_space.decode(latent, key=noise_key)
        following, rewards, discounts = move(params, before, actions)
        if stop_state_gradients:
            following, _, _ = move(params, jax.lax.stop_gradient(before), actions)
        weights = jnp.cumprod(jnp.concatenate([jnp.ones_like(discounts[:1]), discounts[:-1]]))
        defects = jax.vmap(defect)(weights, states, following)
        return jnp.sum(penalty * defects - weigh(weights, rewards))

    def descend(lifted: tuple, penalty: Array) -> tuple[tuple, tuple[Array, Array]]:
        refined = refine_candidates(
            *(energy, (params, penalty), lifted),
            optimizer=optax.adam(0.05, eps_root=1e-8) if optimizer is None else optimizer,
            num_steps=num_steps,
            project=lambda _, lifted: (action_space.project(lifted[0]), lifted[1]),
        )
        return refined.value, (-refined.objectives, refined.gradient_norms[:, 0])

    state = jax.tree.map(jnp.asarray, state)
    rounds = jnp.asarray(penalties)
    if rounds.ndim != 1 or not rounds.size:
        raise ValueError(f"penalties is {penalties!r}, expected a number for each round.")
    still = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (candidates, horizon, *leaf.shape)), state
    )
    (latents, _), (returns, norms) = jax.lax.scan(descend, (latents, still), rounds)
    best = select(latents, -jax.vmap(follow)(action_space.quantise(latents)))
    return make_plan(
        *(model_fn, params, state, action_space, best.value),
        soft_return=follow(action_space.decode(best.value, key=noise_key)),
        returns=returns.swapaxes(0, 1).reshape(candidates, -1),
        is_flat=jnp.all(norms == 0),
    )
