"""Which of many candidates to keep."""

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree, Scalar


@struct.dataclass(kw_only=True)
class Selection:
    """Result of `select` and `select_top`.

    Attributes:
      value: the chosen candidate, or candidates with a leading axis [K].
      index: int32, which it is; [] or [K].
      objective: of it, [] or [K]; infinite where no candidate is finite.
    """

    value: PyTree
    index: Array
    objective: Array


def select(candidates: PyTree, objectives: Array) -> Selection:
    """The candidate with the least objective.

    Args:
      candidates: pytree with a leading axis N.
      objectives: [N].

    Returns:
      `Selection`. A candidate with a number that is not finite, or with such an objective, never
      wins; if all are so, the objective is infinite.

    Raises:
      ValueError: if the numbers of candidates differ.

    Differentiability: through the chosen candidate.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import select
      >>> select(jnp.array([3.0, 7.0, 5.0]), jnp.array([1.0, jnp.nan, 0.5])).value
      Array(5., dtype=float32)
    """
    top = select_top(candidates, objectives, 1)
    return jax.tree.map(lambda leaf: leaf[0], top)


def select_top(candidates: PyTree, objectives: Array, num: int) -> Selection:
    """The candidates with the least objectives, the best first.

    Args:
      candidates: pytree with a leading axis N.
      objectives: [N].
      num: static, K, from 1 to N.

    Returns:
      `Selection` with a leading axis [K]; see `select` for what is not finite.

    Raises:
      ValueError: if the numbers of candidates differ or ``num`` is out of range.

    Differentiability: through the chosen candidates.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import select_top
      >>> select_top(jnp.arange(4.0), jnp.array([3.0, 1.0, jnp.inf, 2.0]), 2).value
      Array([1., 3.], dtype=float32)
    """
    ranked = _finite_objectives(candidates, objectives)
    if not 1 <= num <= len(ranked):
        raise ValueError(f"num is {num}, expected 1 to {len(ranked)}, the number of candidates.")
    index = jnp.argsort(ranked)[:num].astype(jnp.int32)
    return Selection(
        value=jax.tree.map(lambda leaf: leaf[index], candidates),
        index=index,
        objective=ranked[index],
    )


def select_soft(candidates: PyTree, objectives: Array, *, temperature: Scalar) -> PyTree:
    """Mean of the candidates, weighted by how good they are.

    sum_n w_n x_n,  w = softmax(-objectives / temperature)

    Args:
      candidates: pytree of floats with a leading axis N.
      objectives: [N].
      temperature: positive, in the objective's unit; the limit 0 is `select`.

    Returns:
      The mean, without the leading axis. What is not finite has no weight; if all are so, NaN.

    Raises:
      ValueError: if the numbers of candidates differ, or a Python temperature is not positive.

    Differentiability: every mode, also in the objectives and the temperature.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import select_soft
      >>> print(select_soft(jnp.array([0.0, 1.0, jnp.nan]), jnp.zeros(3), temperature=1.0))
      0.5

    References: Williams, Aldrich & Theodorou 2017, "Model predictive path integral control".
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(
            f"temperature: got {temperature}, expected a positive number; the limit 0 is select."
        )
    ranked = _finite_objectives(candidates, objectives)
    finite = jnp.isfinite(ranked)
    scores = jnp.where(finite, -jnp.where(finite, ranked, 0) / temperature, -jnp.inf)
    weights = jnp.where(finite.any(), jax.nn.softmax(jnp.where(finite.any(), scores, 0)), jnp.nan)

    def mean(leaf: Array) -> Array:
        shape = (-1, *[1] * (leaf.ndim - 1))
        valid = jnp.where(finite.reshape(shape), leaf, 0)
        return jnp.sum(weights.reshape(shape) * valid, axis=0)

    return jax.tree.map(mean, candidates)


def shift_plan(plan: PyTree, steps: int = 1) -> PyTree:
    """A plan some steps later: what is left of it, its last entry repeated.

    The warm start of a controller that plans anew after every few steps.

    Args:
      plan: pytree with a leading axis T.
      steps: static, how many entries have been carried out, from 0 to T.

    Returns:
      The same shapes.

    Raises:
      ValueError: if ``steps`` is out of range.

    Differentiability: every mode.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import shift_plan
      >>> shift_plan(jnp.array([1.0, 2.0, 3.0]))
      Array([2., 3., 3.], dtype=float32)
    """
    horizon = min((leaf.shape[0] for leaf in jax.tree.leaves(plan)), default=0)
    if not 0 <= steps <= horizon:
        raise ValueError(f"steps is {steps}, expected 0 to {horizon}, the length of the plan.")
    index = jnp.minimum(jnp.arange(horizon) + steps, horizon - 1)
    return jax.tree.map(lambda leaf: leaf[index], plan)


def _finite_objectives(candidates: PyTree, objectives: Array) -> Array:
    """The objectives, infinite where these or the candidates are not finite."""
    objectives = jnp.asarray(objectives)
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(candidates)}
    if objectives.ndim != 1 or counts != {objectives.shape}:
        raise ValueError(
            f"candidates and objectives: got leading axes {sorted(counts)} and objectives of "
            f"shape {list(objectives.shape)}, expected one objective [N] a candidate; use vmap for "
            "a batch."
        )
    finite = jnp.isfinite(objectives)
    for leaf in jax.tree.leaves(candidates):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite = finite & jnp.isfinite(leaf).reshape(len(objectives), -1).all(-1)
    return jnp.where(finite, objectives, jnp.inf)
