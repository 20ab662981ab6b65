"""iLQR: Gauss-Newton steps on a smooth model with continuous actions."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree
from jplan._weigh import stay
from jplan.descent import AbstractActionSpace, rollout
from jplan.planners._plan import Plan, make_plan


def ilqr_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    *,
    initial: PyTree,
    action_space: AbstractActionSpace,
    num_steps: int = 20,
) -> Plan:
    """Plan by iterated linear-quadratic regulators.

    In each step the model is linearised and the reward expanded to second order around the plan;
    a backward pass makes affine feedback ``u + share k + K (x - x_plan)`` of it, and the best of
    several shares is kept, if it is better. The regularisation adapts to that. Discounts are taken
    as they are along the plan, without a slope; what comes after one of 0 does not count.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``, smooth in
        state and action.
      params: of the model.
      state: where the plan begins, one; pytree of floats.
      initial: actions [T, ...] to begin from.
      action_space: of continuous actions, such as `jplan.descent.Box`; steps are clipped to it.
      num_steps: static.

    Returns:
      `Plan`; ``returns`` is [1, num_steps + 1].

    Raises:
      ValueError: if the model and the actions do not fit, or ``num_steps`` is below 1.

    Differentiability: none.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import Box
      >>> from jplan.planners import ilqr_plan
      >>> aim = lambda _, x, u: (x + u, -jnp.sum((x + u) ** 2) - 0.1 * jnp.sum(u**2), 1.0)
      >>> plan = ilqr_plan(
      ...     *(aim, None, jnp.array([1.0])),
      ...     initial=jnp.zeros((3, 1)),
      ...     action_space=Box(-jnp.full(1, 9.0), jnp.full(1, 9.0)),
      ... )
      >>> print(f"{plan.hard_return:.4f}")
      -0.0916

    References: Li & Todorov 2004, "Iterative linear quadratic regulator design for nonlinear
    biological movement systems"; Tassa, Erez & Todorov 2012 for regularisation and line search.
    """
    check_sizes(num_steps=num_steps)
    first, unravel_state = ravel_pytree(state)
    _, unravel_action = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], initial))
    flatten = jax.vmap(lambda tree: ravel_pytree(tree)[0])
    clip = lambda u: ravel_pytree(action_space.project(unravel_action(u)))[0]
    total = lambda u: rollout(model_fn, params, state, jax.vmap(unravel_action)(u)).total

    def move(x: Array, u: Array) -> tuple[Array, Array, Array]:
        following, reward, discount = model_fn(params, unravel_state(x), unravel_action(u))
        discount = jnp.asarray(discount, first.dtype)
        return stay(discount, x, ravel_pytree(following)[0]), reward, discount

    dynamics = lambda x, u: move(x, u)[0]
    reward = lambda x, u: move(x, u)[1]

    def expand(x: Array, u: Array) -> tuple:
        jacobians = jax.jacfwd(dynamics, (0, 1))(x, u)
        slopes = jax.grad(reward, (0, 1))(x, u)
        return jacobians, slopes, jax.hessian(reward, (0, 1))(x, u), move(x, u)[2]

    def backward(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        slope, curvature, weight = carry
        (a, b), (r_x, r_u), ((r_xx, _), (r_ux, r_uu)), discount = inputs
        q_x, q_u = r_x + discount * a.T @ slope, r_u + discount * b.T @ slope
        q_xx = r_xx + discount * a.T @ curvature @ a
        q_ux = r_ux + discount * b.T @ curvature @ a
        q_uu = r_uu + discount * b.T @ curvature @ b
        system = q_uu - weight * jnp.eye(len(q_u), dtype=q_u.dtype)
        gains = -jnp.linalg.solve(system, jnp.concatenate([q_u[:, None], q_ux], axis=1))
        k, feedback = gains[:, 0], gains[:, 1:]
        slope = q_x + feedback.T @ q_uu @ k + feedback.T @ q_u + q_ux.T @ k
        curvature = q_xx + feedback.T @ q_uu @ feedback + feedback.T @ q_ux + q_ux.T @ feedback
        return (slope, (curvature + curvature.T) / 2, weight), (k, feedback)

    def follow(share: Array, xs: Array, us: Array, ks: Array, feedbacks: Array) -> Array:
        def step(x: Array, inputs: tuple) -> tuple[Array, Array]:
            x_plan, u, k, feedback = inputs
            u = clip(u + share * k + feedback @ (x - x_plan))
            return dynamics(x, u), u

        return jax.lax.scan(step, first, (xs, us, ks, feedbacks))[1]

    def improve(carry: tuple, _: None) -> tuple[tuple, Array]:
        us, best, weight = carry
        xs = jax.lax.scan(lambda x, u: (dynamics(x, u), x), first, us)[1]
        zero = jnp.zeros_like(first)
        end = zero, jnp.zeros((len(first),) * 2, first.dtype), weight
        expansion = jax.vmap(expand)(xs, us)
        ks, feedbacks = jax.lax.scan(backward, end, expansion, reverse=True)[1]
        shares = 0.5 ** jnp.arange(8, dtype=first.dtype)
        tried = jax.vmap(lambda share: follow(share, xs, us, ks, feedbacks))(shares)
        returns = jax.vmap(total)(tried)
        returns = jnp.where(jnp.isfinite(returns), returns, -jnp.inf)
        index = returns.argmax()
        is_better = returns[index] > best
        us = jnp.where(is_better, tried[index], us)
        weight = jnp.clip(jnp.where(is_better, weight / 10, weight * 10), 1e-9, 1e9)
        best = jnp.maximum(best, returns[index])
        return (us, best, weight), best

    us = jax.vmap(clip)(flatten(initial))
    start = total(us)
    (us, best, _), returns = jax.lax.scan(
        improve, (us, start, jnp.asarray(1e-6, first.dtype)), None, length=num_steps
    )
    return make_plan(
        *(model_fn, params, state, action_space, jax.vmap(unravel_action)(us)),
        soft_return=best,
        returns=jnp.concatenate([start[None], returns])[None],
    )
