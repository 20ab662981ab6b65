"""The 1.5-entmax, between softmax and sparsemax."""

import functools

import jax
import jax.numpy as jnp

from jplan._typing import Array
from jplan.relax._simplex import check_logits


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _entmax15(logits: Array, axis: int) -> Array:
    allowed = ~jnp.isneginf(logits)
    peak = jnp.max(logits, axis=axis, keepdims=True)
    halved = jnp.where(allowed, logits - jnp.where(jnp.isneginf(peak), 0, peak), -jnp.inf) / 2
    descending = jnp.flip(jnp.sort(halved, axis=axis), axis=axis)
    finite = jnp.where(jnp.isneginf(descending), 0, descending)
    shape = [1] * logits.ndim
    shape[axis] = -1
    rank = jnp.arange(1, logits.shape[axis] + 1, dtype=logits.dtype).reshape(shape)
    # The threshold if the `rank` largest are inside: the smaller root of a quadratic.
    mean = jnp.cumsum(finite, axis=axis) / rank
    spread = jnp.cumsum(finite**2, axis=axis) - rank * mean**2
    threshold = mean - jnp.sqrt(jnp.maximum((1 - spread) / rank, 0))
    inside = (descending >= threshold) & ~jnp.isneginf(descending)
    size = jnp.maximum(jnp.sum(inside, axis=axis, keepdims=True), 1)
    chosen = jnp.take_along_axis(threshold, size - 1, axis=axis)
    root = jnp.maximum(jnp.where(allowed, halved, 0) - chosen, 0)
    return jnp.where(allowed, root**2, 0)


@_entmax15.defjvp
def _entmax15_jvp(axis, primals, tangents):
    (logits,), (tangent,) = primals, tangents
    probabilities = _entmax15(logits, axis)
    weight = jnp.sqrt(probabilities)
    total = jnp.sum(weight, axis=axis, keepdims=True)
    mean = jnp.sum(weight * tangent, axis=axis, keepdims=True) / jnp.where(total > 0, total, 1)
    return probabilities, weight * (tangent - mean)


def entmax15(logits: Array, axis: int = -1) -> Array:
    """Entmax with alpha = 1.5: exact zeros as sparsemax, smooth inside as softmax.

    p = argmax_{q in simplex} <q, logits> + 4/3 sum_a (q_a - q_a^1.5) = [logits / 2 - threshold]_+^2

    Args:
      logits: [..., A], any real numbers; ``-inf`` marks a choice that is not allowed.
      axis: the axis that is mapped; all others are batch axes.

    Returns:
      Probabilities, same shape and dtype as ``logits``, exact up to rounding. Where every choice
      is ``-inf`` all are 0. NaN in, NaN out.

    Raises:
      ValueError: if ``logits`` is not a float array with at least one choice along ``axis``.

    Differentiability: jvp and grad everywhere, continuous also where a choice enters the support.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.relax import entmax15
      >>> print([f"{p:.2f}" for p in entmax15(jnp.array([1.0, 0.8, -3.0]))])
      ['0.57', '0.43', '0.00']

    References: Peters, Niculae & Martins 2019, "Sparse sequence-to-sequence models", algorithm 2
    and section 3.
    """
    logits, axis = check_logits(logits, axis)
    return _entmax15(logits, axis)
