"""Smooth maxima: the values that go with softmax and sparsemax."""

import jax.numpy as jnp
from jax import lax

from jplan._typing import Array, Scalar
from jplan.relax._simplex import sparsemax


def _shift(values: Array, axis: int) -> tuple[Array, Array, Array]:
    """Values minus their largest, with 0 where not allowed; the largest; what is allowed.

    Both sides of each `where` are finite, otherwise its gradient would be ``0 * inf``.
    """
    allowed = ~jnp.isneginf(values)
    peak = lax.stop_gradient(jnp.max(values, axis=axis, keepdims=True))
    peak = jnp.where(jnp.isneginf(peak), 0, peak)
    return jnp.where(allowed, values, peak) - peak, peak, allowed


def softmax_value(values: Array, temperature: Scalar, axis: int = -1) -> Array:
    """Smooth maximum whose gradient is the softmax.

    m(x) = temperature * log sum_a exp(x_a / temperature)

    It lies between ``max(x)`` and ``max(x) + temperature * log(A)``.

    Args:
      values: [..., A], any unit; ``-inf`` marks a choice that is not allowed.
      temperature: positive, in the unit of ``values``; the limit 0 is the maximum.
      axis: the axis that is reduced.

    Returns:
      [...], in the unit of ``values``; ``-inf`` where nothing is allowed.

    Raises:
      ValueError: if ``temperature`` is a Python number that is not positive.

    Differentiability: grad, jvp, hessian, in values and temperature; the gradient is zero (not
    NaN) where a choice, or every choice, is ``-inf``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.relax import softmax_value
      >>> softmax_value(jnp.array([0.0, 0.0, -jnp.inf]), 2.0).round(4)
      Array(1.3863, dtype=float32)

    References: Haarnoja et al. 2017, "Reinforcement learning with deep energy-based policies",
    eq. 3.
    """
    _check_temperature(temperature)
    shifted, peak, allowed = _shift(values, axis)
    weights = jnp.where(allowed, jnp.exp(shifted / temperature), 0)
    total = jnp.sum(weights, axis=axis)
    some = jnp.any(allowed, axis=axis)
    smooth = jnp.squeeze(peak, axis) + temperature * jnp.log(jnp.where(some, total, 1))
    return jnp.where(some, smooth, -jnp.inf).astype(values.dtype)


def sparsemax_value(values: Array, temperature: Scalar, axis: int = -1) -> Array:
    """Smooth maximum whose gradient is the sparsemax (Tsallis entropy, q = 2).

    m(x) = max_{p in simplex} <p, x> + temperature / 2 * (1 - |p|^2)

    It lies between ``max(x)`` and ``max(x) + temperature * (A - 1) / (2 A)``.

    Args:
      values: [..., A], any unit; ``-inf`` marks a choice that is not allowed.
      temperature: positive, in the unit of ``values``; the limit 0 is the maximum.
      axis: the axis that is reduced.

    Returns:
      [...], in the unit of ``values``; ``-inf`` where nothing is allowed.

    Raises:
      ValueError: if ``temperature`` is a Python number that is not positive.

    Differentiability: grad and jvp everywhere in values and temperature; the second derivative
    jumps where a choice enters the support.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.relax import sparsemax_value
      >>> sparsemax_value(jnp.array([1.0, 0.8, -1.0]), 1.0).round(4)
      Array(1.16, dtype=float32)

    References: Lee, Choi & Oh 2018, "Sparse Markov decision processes with causal sparse Tsallis
    entropy regularization", eq. 9 (spmax); here the temperature multiplies ``(1 - |p|^2) / 2``.
    """
    _check_temperature(temperature)
    shifted, peak, allowed = _shift(values, axis)
    probabilities = sparsemax(jnp.where(allowed, shifted / temperature, -jnp.inf), axis)
    gain = jnp.sum(probabilities * shifted, axis=axis)
    entropy = (1 - jnp.sum(probabilities**2, axis=axis)) / 2
    some = jnp.any(allowed, axis=axis)
    smooth = jnp.squeeze(peak, axis) + gain + temperature * entropy
    return jnp.where(some, smooth, -jnp.inf).astype(values.dtype)


def _check_temperature(temperature: Scalar) -> None:
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(
            f"temperature: got {temperature}, expected a positive number; the limit 0 is jnp.max."
        )
