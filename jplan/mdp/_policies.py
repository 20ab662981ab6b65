"""Policies from value functions."""

import jax.numpy as jnp

from jplan._typing import Array, Scalar
from jplan.mdp._bellman import action_values
from jplan.mdp._contract import MDP
from jplan.relax import softmax_value, sparsemax


def greedy_policy(mdp: MDP, value: Array) -> Array:
    """Best action in each state.

    pi(s) = argmax_a [R(s, a) + discount * E V(s')]

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.

    Returns:
      int32, [...]; the first of several best actions; -1 in terminal states and where there is no
      plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: none (integers).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, greedy_policy, value_iteration
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> greedy_policy(grid, value_iteration(grid).value)
      Array([[-1,  1,  1]], dtype=int32)

    References: Sutton & Barto 2018, eq. 4.9.
    """
    q = action_values(mdp, value)
    best = jnp.argmax(q, axis=-1).astype(jnp.int32)
    return jnp.where(_decides(mdp, q), best, -1)


def optimal_actions(mdp: MDP, value: Array, *, tol: Scalar | None = None) -> Array:
    """Mask of all best actions in each state.

    Q(s, a) >= max_b Q(s, b) - tol * max(1, |max_b Q(s, b)|)

    Imitation with all optimal targets wants this mask: nearly half of the states of a maze have
    several best actions.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], optimal values in reward units.
      tol: relative slack, by default 8 times the rounding unit of the value's dtype, which goes
        with the exact grid solver; a table solved to a tolerance wants a little more than that.

    Returns:
      bool, [..., A]; all False in terminal states and where there is no plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: none (booleans).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, optimal_actions, value_iteration
      >>> grid = GridMDP.from_free(jnp.ones((2, 2), bool), goal=(0, 0), moves=4)
      >>> optimal_actions(grid, value_iteration(grid).value)[1, 1]
      Array([ True,  True, False, False], dtype=bool)

    References: DESIGN of jplan, section 4 (44 % of maze states are ties).
    """
    q = action_values(mdp, value)
    slack = 8 * jnp.finfo(q.dtype).eps if tol is None else tol
    best = jnp.max(q, axis=-1, keepdims=True)
    floor = best - slack * jnp.maximum(1, jnp.abs(best))
    return (q >= floor) & _decides(mdp, q)[..., None]


def soft_policy(mdp: MDP, value: Array, *, temperature: Scalar) -> Array:
    """Maximum-entropy policy of a soft value function.

    pi(a | s) = exp([Q(s, a) - temperature * logsumexp_b Q(s, b) / temperature] / temperature)

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.
      temperature: positive scalar in reward units.

    Returns:
      Probabilities [..., A]; uniform in terminal states, all 0 where there is no plan.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: grad, jvp, hessian.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, soft_policy
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> policy = soft_policy(grid, jnp.array([[0.0, -1.0, -2.0]]), temperature=1.0)
      >>> print(f"{policy[0, 1, 1]:.3f} {policy[0, 1, 3]:.3f}")
      0.881 0.119

    References: Ziebart 2010, eq. 6.8; Haarnoja et al. 2017, eq. 4.
    """
    q = action_values(mdp, value)
    smooth = softmax_value(q, temperature)[..., None]
    allowed = ~jnp.isneginf(q)
    gap = jnp.where(allowed, q, 0) - jnp.where(jnp.isneginf(smooth), 0, smooth)
    return jnp.where(allowed, jnp.exp(jnp.where(allowed, gap, 0) / temperature), 0)


def sparse_policy(mdp: MDP, value: Array, *, temperature: Scalar) -> Array:
    """Policy of a sparse value function.

    pi(. | s) = sparsemax(Q(s, .) / temperature)

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.
      temperature: positive scalar in reward units.

    Returns:
      Probabilities [..., A], exactly 0 for poor actions; uniform in terminal states, all 0 where
      there is no plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: grad and jvp almost everywhere, see `jplan.relax.sparsemax`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, sparse_policy
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> sparse_policy(grid, jnp.array([[0.0, -1.0, -2.0]]), temperature=1.0)[0, 1]
      Array([0., 1., 0., 0.], dtype=float32)

    References: Lee, Choi & Oh 2018, the optimal policy of a sparse MDP.
    """
    q = action_values(mdp, value)
    allowed = ~jnp.isneginf(q)
    return sparsemax(jnp.where(allowed, jnp.where(allowed, q, 0) / temperature, -jnp.inf))


def _decides(mdp: MDP, q: Array) -> Array:
    """Whether a state has something to decide: not terminal, and with a plan."""
    return ~mdp.is_terminal & (jnp.max(q, axis=-1) > -jnp.inf)
