"""Maps from logits onto the probability simplex."""

import functools

import jax
import jax.numpy as jnp

from jplan._typing import Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sparsemax(logits: Array, axis: int) -> Array:
    allowed = ~jnp.isneginf(logits)
    peak = jnp.max(logits, axis=axis, keepdims=True)
    # The projection does not change under a shift, and near zero the sums below do not cancel.
    shifted = jnp.where(allowed, logits - jnp.where(jnp.isneginf(peak), 0, peak), -jnp.inf)
    descending = jnp.flip(jnp.sort(shifted, axis=axis), axis=axis)
    sums = jnp.cumsum(descending, axis=axis)
    shape = [1] * logits.ndim
    shape[axis] = -1
    rank = jnp.arange(1, logits.shape[axis] + 1, dtype=logits.dtype).reshape(shape)
    inside = 1 + rank * descending > sums
    size = jnp.maximum(jnp.sum(inside, axis=axis, keepdims=True), 1)
    total = jnp.sum(jnp.where(inside, descending, 0), axis=axis, keepdims=True)
    threshold = (total - 1) / size.astype(logits.dtype)
    return jnp.where(allowed, jnp.maximum(jnp.where(allowed, shifted, 0) - threshold, 0), 0)


@_sparsemax.defjvp
def _sparsemax_jvp(axis, primals, tangents):
    (logits,), (tangent,) = primals, tangents
    probabilities = _sparsemax(logits, axis)
    support = (probabilities > 0).astype(logits.dtype)
    size = jnp.maximum(jnp.sum(support, axis=axis, keepdims=True), 1)
    mean = jnp.sum(support * tangent, axis=axis, keepdims=True) / size
    return probabilities, support * (tangent - mean)


def sparsemax(logits: Array, axis: int = -1) -> Array:
    """Euclidean projection of logits onto the probability simplex.

    p = argmin_{q in simplex} |q - logits|^2 = max(logits - threshold, 0)

    Unlike softmax it gives exact zeros to poor choices.

    Args:
      logits: [..., A], any real numbers; ``-inf`` marks a choice that is not allowed.
      axis: the axis that is projected; all others are batch axes.

    Returns:
      Probabilities, same shape and dtype as ``logits``, exact up to rounding. Where every choice
      is ``-inf`` all are 0. NaN in, NaN out.

    Raises:
      ValueError: if ``logits`` is not a float array with at least one choice along ``axis``.

    Differentiability: jvp, grad and higher orders almost everywhere, with the exact projection
    onto the support, ``dp_i = dz_i - mean_{j in support} dz_j``. Where a choice just enters the
    support, the derivative is that without it.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.relax import sparsemax
      >>> sparsemax(jnp.array([1.0, 0.8, -1.0])).round(3)
      Array([0.6, 0.4, 0. ], dtype=float32)

    References: Martins & Astudillo 2016, "From softmax to sparsemax", algorithm 1 and eq. 9.
    """
    logits, axis = check_logits(logits, axis)
    return _sparsemax(logits, axis)


def check_logits(logits: Array, axis: int) -> tuple[Array, int]:
    """Logits as an array and the axis counted from the front; ValueError if they do not fit."""
    logits = jnp.asarray(logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"logits: got dtype {logits.dtype}, expected floats; cast them first.")
    if not -logits.ndim <= axis < logits.ndim or logits.shape[axis] == 0:
        raise ValueError(
            f"logits: got shape {logits.shape} with axis={axis}, expected at least one choice "
            "along that axis; give an array [..., A] with A >= 1 or another axis."
        )
    return logits, axis % logits.ndim
