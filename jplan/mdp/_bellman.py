"""Bellman operators: pure functions from a value function to the next one, on one problem."""

import jax.numpy as jnp

from jplan._typing import Array, Scalar
from jplan.mdp._contract import MDP, action_probabilities, check_value
from jplan.relax import softmax_value, sparsemax_value


def action_values(mdp: MDP, value: Array) -> Array:
    """Value of each action, if ``value`` is what follows.

    Q(s, a) = R(s, a) + discount * E[V(s')]

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], the problem's states, in reward units; ``-inf`` marks states without a plan.

    Returns:
      [..., A]; 0 in terminal states, ``-inf`` where an action is not allowed or may lead to a
      state without a plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: grad, jvp, hessian in value, reward, transition, cell cost and discount.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, action_values
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> action_values(grid, jnp.array([[0.0, -1.0, -2.0]]))[0, 1]
      Array([-inf,  -1., -inf,  -3.], dtype=float32)

    References: Sutton & Barto 2018, eq. 4.6.
    """
    return mdp.action_values(check_value(mdp, value))


def optimality_backup(mdp: MDP, value: Array) -> Array:
    """Bellman optimality backup.

    (T V)(s) = max_a [R(s, a) + discount * E V(s')]

    It is monotone, and a contraction of modulus ``discount`` in the sup norm.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.

    Returns:
      [...]; 0 in terminal states, ``-inf`` in states without a plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: grad and jvp almost everywhere; between equal actions the gradient is split
    evenly (the rule of `jnp.max`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, optimality_backup
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> optimality_backup(grid, jnp.array([[0.0, -1.0, -5.0]]))
      Array([[ 0., -1., -2.]], dtype=float32)

    References: Puterman 1994, eq. 6.2.1; Bellman 1957.
    """
    return jnp.max(action_values(mdp, value), axis=-1)


def evaluation_backup(mdp: MDP, policy: Array, value: Array) -> Array:
    """Bellman backup of a fixed policy.

    (T_pi V)(s) = sum_a pi(a | s) [R(s, a) + discount * E V(s')]

    It is monotone, affine, and a contraction of modulus ``discount`` in the sup norm.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      policy: [..., A] probabilities, or [...] integer actions with -1 for none.
      value: [...], in reward units.

    Returns:
      [...]; 0 in terminal states; ``-inf`` where the policy has no action or takes one that is not
      allowed.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: grad, jvp, hessian, also in the probabilities.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, evaluation_backup
      >>> grid = GridMDP.from_free(jnp.ones((1, 2), bool), goal=(0, 0), moves=4)
      >>> evaluation_backup(grid, jnp.array([[-1, 1]]), jnp.zeros((1, 2)))
      Array([[ 0., -1.]], dtype=float32)

    References: Sutton & Barto 2018, eq. 4.5.
    """
    q = action_values(mdp, value)
    probabilities = action_probabilities(mdp, policy)
    allowed = ~jnp.isneginf(q)
    blocked = jnp.any((probabilities > 0) & ~allowed, axis=-1) | ~jnp.any(
        probabilities > 0, axis=-1
    )
    backed_up = jnp.sum(probabilities * jnp.where(allowed, q, 0), axis=-1).astype(q.dtype)
    return jnp.where(mdp.is_terminal, 0, jnp.where(blocked, -jnp.inf, backed_up))


def soft_backup(mdp: MDP, value: Array, *, temperature: Scalar) -> Array:
    """Soft (maximum-entropy) Bellman backup.

    (T V)(s) = temperature * log sum_a exp([R(s, a) + discount * E V(s')] / temperature)

    It is monotone, and a contraction of modulus ``discount`` in the sup norm.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.
      temperature: positive scalar in reward units; the limit 0 is the max backup.

    Returns:
      [...]; 0 in terminal states, ``-inf`` in states without a plan.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: grad, jvp, hessian, also in the temperature; safe where everything is
    ``-inf``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, soft_backup
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> soft_backup(grid, jnp.array([[0.0, -1.0, -2.0]]), temperature=1.0).round(3)
      Array([[ 0.   , -0.873, -2.   ]], dtype=float32)

    References: Ziebart 2010, "Modeling purposeful adaptive behavior", eq. 6.7; Haarnoja et al.
    2017, eq. 3.
    """
    q = action_values(mdp, value)
    return jnp.where(mdp.is_terminal, 0, softmax_value(q, temperature))


def sparse_backup(mdp: MDP, value: Array, *, temperature: Scalar) -> Array:
    """Sparse (Tsallis-entropy) Bellman backup.

    (T V)(s) = max_{p in simplex} sum_a p_a Q(s, a) + temperature / 2 * (1 - |p|^2)

    It is monotone, and a contraction of modulus ``discount`` in the sup norm. Its policy, the
    sparsemax, gives poor actions the probability 0.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      value: [...], in reward units.
      temperature: positive scalar in reward units; the limit 0 is the max backup.

    Returns:
      [...]; 0 in terminal states, ``-inf`` in states without a plan.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: grad and jvp everywhere, also in the temperature; the second derivative
    jumps where an action enters the support.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, sparse_backup
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> sparse_backup(grid, jnp.array([[0.0, -1.0, -2.0]]), temperature=8.0).round(3)
      Array([[ 0.   ,  0.125, -2.   ]], dtype=float32)

    References: Lee, Choi & Oh 2018, "Sparse Markov decision processes with causal sparse Tsallis
    entropy regularization for reinforcement learning", the sparse Bellman operator.
    """
    q = action_values(mdp, value)
    return jnp.where(mdp.is_terminal, 0, sparsemax_value(q, temperature))


def max_plus_backup(mdp: MDP, value: Array) -> Array:
    """Undiscounted backup in the log domain.

    (T U)(s) = max_a [R(s, a) + log sum_s' P(s' | s, a) exp U(s')]

    With costs ``-R > 0`` it needs no discount: ``exp U`` is the best expected product of
    ``exp(-cost)`` to a terminal state, and nothing underflows. Where moves are certain, as on a
    grid, it is the undiscounted optimality backup. It is monotone and does not expand the sup
    norm; started at ``-inf`` outside the terminal states it rises to the least fixed point.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`; its discount plays no part.
      value: [...], in reward units; ``-inf`` where nothing is known yet.

    Returns:
      [...]; 0 in terminal states, ``-inf`` where every action leads to ``-inf`` for certain.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: grad and jvp, zero (not NaN) where everything is ``-inf``; between equal
    actions the gradient is split evenly.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, max_plus_backup
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> max_plus_backup(grid, jnp.array([[0.0, -jnp.inf, -jnp.inf]]))
      Array([[  0.,  -1., -inf]], dtype=float32)

    References: Todorov 2009, "Efficient computation of optimal actions", eq. 6 (the linear
    Bellman equation, here with a maximum over actions).
    """
    value = check_value(mdp, value)
    return jnp.max(mdp.log_action_values(value), axis=-1)
