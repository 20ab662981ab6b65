"""Two-sided bounds on the optimal value."""

import jax.numpy as jnp
from jax import lax

from jplan._typing import Array
from jplan.mdp._contract import check_value
from jplan.mdp._tabular import TabularMDP


def value_bounds(mdp: TabularMDP, value: Array) -> tuple[Array, Array]:
    """Bounds on the optimal value from any approximation of it, rounding included.

    T V + discount / (1 - discount) * min(T V - V) <= V* <= the same with max

    V* is the optimal value in exact arithmetic of the problem as stored. The bounds use the
    largest and smallest row sums of ``transition`` in place of 1, so rows that are normalised only
    up to rounding do no harm, and they are widened by the largest possible rounding error of one
    backup in ``value``'s dtype, ``(S + 4) * eps * (max |R| + discount * max |V|)``.

    Args:
      mdp: table with discount below 1.
      value: [S], any finite guess; the better it is, the tighter the bounds. ``-inf`` marks states
        without a plan.

    Returns:
      Lower and upper bound, each [S]; ``-inf`` and ``inf`` where nothing can be said (discount
      times row sum not below 1, or too many states for the dtype); both ``-inf`` in states without
      a plan.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: none; the bounds are constants.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, value_bounds
      >>> mdp = TabularMDP(transition=jnp.ones((1, 1, 1)), reward=jnp.ones((1, 1)), discount=0.5)
      >>> lower, upper = value_bounds(mdp, jnp.array([1.5]))
      >>> bool(lower[0] < 2.0 < upper[0]), bool(upper[0] - lower[0] < 1e-4)
      (True, True)

    References: MacQueen 1966; Porteus 1971; Puterman 1994, eq. 6.6.5 and theorem 6.6.3.
    """
    value = check_value(mdp, value)
    mdp, value = lax.stop_gradient((mdp, value))
    q = mdp.action_values(value)
    backed_up = jnp.max(q, axis=-1)
    has_plan = ~jnp.isneginf(backed_up)
    # What is known to be 0 in terminal states must not be guessed there.
    finite_value = jnp.where(jnp.isneginf(value) | mdp.is_terminal, 0, value)

    # Bound of the relative error of a sum of S products in any order of summation.
    eps = jnp.finfo(q.dtype).eps
    unit = (mdp.state_shape[0] + 4) * eps
    used = ~jnp.isneginf(q) & ~mdp.is_terminal[:, None]
    row_sums = jnp.sum(mdp.transition, axis=-1)
    high = mdp.discount * jnp.max(row_sums, where=used, initial=0) * (1 + unit)
    low = mdp.discount * jnp.min(row_sums, where=used, initial=jnp.inf) * (1 - unit)
    low = jnp.where(jnp.any(used), low, 0)
    largest = jnp.max(jnp.abs(mdp.reward), where=used, initial=0)
    error = 2 * unit * (largest + high * jnp.max(jnp.abs(finite_value)))

    gap = jnp.where(has_plan, backed_up - finite_value, 0)
    rise = jnp.max(gap, where=has_plan, initial=-jnp.inf) + error
    fall = jnp.min(gap, where=has_plan, initial=jnp.inf) - error
    certain = (high < 1) & (unit < 0.5)

    def tail(change: Array, towards: Array) -> Array:
        modulus = jnp.where(change * towards > 0, high, low)
        modulus = jnp.where(certain, modulus, 0)
        return change * modulus / (1 - modulus)

    def widen(bound: Array, sign: float) -> Array:
        slack = error + 8 * eps * (jnp.abs(backed_up) + jnp.abs(bound))
        return jnp.where(certain, bound + sign * slack, sign * jnp.inf)

    one = jnp.ones((), q.dtype)
    lower = widen(backed_up + tail(fall, -one), -1.0)
    upper = widen(backed_up + tail(rise, one), 1.0)
    settle = lambda bound: jnp.where(
        mdp.is_terminal, 0, jnp.where(has_plan, bound, -jnp.inf)
    ).astype(q.dtype)
    return settle(lower), settle(upper)
