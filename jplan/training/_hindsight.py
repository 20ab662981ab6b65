"""Windows of recorded episodes, with a state that was reached as the goal."""

import jax
import jax.numpy as jnp
from flax import struct

from jplan._checks import check_sizes
from jplan._typing import Array
from jplan.training._offline_data import OfflineData


@struct.dataclass(kw_only=True)
class HindsightBatch:
    """What was reached, and how.

    Attributes:
      past: [B, P, D], states up to now, the oldest first.
      future: [B, T, D], the states that followed.
      goal: [B, D], one of these.
      progress: [B], its place among them: 0 is the state ``P``, counted from 1, and 1 the last.
    """

    past: Array
    future: Array
    goal: Array
    progress: Array


def hindsight_batch(
    data: OfflineData, key: Array, *, batch_size: int, horizon: int, max_past: int
) -> HindsightBatch:
    """Windows from everywhere, each with a goal that it reaches.

        r = sin(pi u / 2), u ~ U(0, 1): the past is the newest 1 + round(r (P - 1)) states
        progress ~ U(0, 1): the goal is the state round(P + progress (T - P)) of the future

    A past that is shorter, or cut off by the episode's beginning, repeats its oldest state.

    Args:
      data: the episodes.
      key: consumed.
      batch_size: static, B.
      horizon: static, T, larger than ``max_past``.
      max_past: static, P.

    Returns:
      `HindsightBatch`. Windows are within one episode, and every start from which the horizon fits
      is as likely as any other. If none fits all numbers are NaN.

    Raises:
      ValueError: if a number is out of range.

    Differentiability: none.

    Example:
      >>> import numpy as np
      >>> from jplan.training import offline_data
      >>> count = np.arange(100.0)[:, None]
      >>> data = offline_data(count, count, np.arange(100) == 99)
      >>> batch = hindsight_batch(data, jax.random.key(0), batch_size=3, horizon=16, max_past=4)
      >>> (batch.future[:, 0, 0] - batch.past[:, -1, 0]).tolist()
      [1.0, 1.0, 1.0]

    References: Planning as Descent, arXiv 2512.17846, algorithm 1. The density of r there is
      2 / (pi sqrt(1 - r^2)), which prefers long pasts.
    """
    check_sizes(batch_size=batch_size, max_past=max_past)
    if horizon <= max_past:
        raise ValueError(f"horizon is {horizon}, expected more than max_past, {max_past}.")
    start_key, past_key, goal_key = jax.random.split(key, 3)
    now, first, fits = _draw_starts(data, start_key, batch_size, horizon)
    u = jax.random.uniform(past_key, (batch_size,))
    kept = 1 + jnp.round(jnp.sin(jnp.pi * u / 2) * (max_past - 1)).astype(jnp.int32)
    oldest = jnp.maximum(first, now - kept + 1)
    ago = jnp.arange(max_past - 1, -1, -1)
    past = jnp.maximum(now[:, None] - ago[None], oldest[:, None])
    progress = jax.random.uniform(goal_key, (batch_size,))
    reached = now + jnp.round(max_past + progress * (horizon - max_past)).astype(jnp.int32)
    take = lambda rows: jnp.where(fits, data.states[rows], jnp.nan)
    return HindsightBatch(
        past=take(past),
        future=take(now[:, None] + 1 + jnp.arange(horizon)[None]),
        goal=take(reached),
        progress=progress,
    )


@struct.dataclass(kw_only=True)
class TransitionBatch:
    """Single steps: states [B, D], the states that followed [B, D], and the actions [B, A]."""

    states: Array
    following: Array
    actions: Array


def transition_batch(data: OfflineData, key: Array, *, batch_size: int) -> TransitionBatch:
    """Steps from everywhere, to learn what an action does.

    Args:
      data: the episodes.
      key: consumed.
      batch_size: static, B.

    Returns:
      `TransitionBatch`.

    Raises:
      ValueError: if the batch size is below 1.

    Differentiability: none.

    Example:
      >>> import numpy as np
      >>> from jplan.training import offline_data
      >>> count = np.arange(100.0)[:, None]
      >>> data = offline_data(count, count, np.arange(100) == 99)
      >>> batch = transition_batch(data, jax.random.key(0), batch_size=3)
      >>> (batch.following - batch.states).tolist()
      [[1.0], [1.0], [1.0]]
    """
    check_sizes(batch_size=batch_size)
    now, _, _ = _draw_starts(data, key, batch_size, 1)
    return TransitionBatch(
        states=data.states[now], following=data.states[now + 1], actions=data.actions[now]
    )


def _draw_starts(
    data: OfflineData, key: Array, batch_size: int, horizon: int
) -> tuple[Array, Array, Array]:
    """Rows [B] after which ``horizon`` rows follow, the first of their episodes; if there are."""
    counts = jnp.maximum(data.lengths - horizon, 0)
    edges = jnp.cumsum(counts)
    place = jax.random.randint(key, (batch_size,), 0, jnp.maximum(edges[-1], 1))
    episode = jnp.searchsorted(edges, place, side="right").clip(max=len(edges) - 1)
    first = data.firsts[episode]
    return first + place - (edges - counts)[episode], first, edges[-1] > 0
