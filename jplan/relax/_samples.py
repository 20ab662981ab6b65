"""Discrete choices that pass a gradient on."""

import jax
import jax.numpy as jnp

from jplan._typing import Array, Scalar
from jplan.relax._simplex import check_logits


def straight_through(hard: Array, soft: Array) -> Array:
    """The value of one array with the gradient of another.

    y = hard,  dy = dsoft

    Args:
      hard: what the forward pass sees, such as a one-hot choice.
      soft: what the backward pass sees, of the same shape.

    Returns:
      An array equal to ``hard``.

    Raises:
      ValueError: if the shapes differ.

    Differentiability: every mode, through ``soft`` alone.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.relax import straight_through
      >>> choose = lambda x: straight_through(jnp.round(x), x)
      >>> float(choose(0.7)), float(jax.grad(choose)(0.7))
      (1.0, 1.0)

    References: Bengio, Leonard & Courville 2013, "Estimating or propagating gradients through
    stochastic neurons", section 4.
    """
    if jnp.shape(hard) != jnp.shape(soft):
        raise ValueError(
            f"hard and soft: got shapes {jnp.shape(hard)} and {jnp.shape(soft)}, expected the same."
        )
    fixed = jax.lax.stop_gradient(soft)
    # In this order a hard value of 0 or 1 comes out as it is.
    return jax.lax.stop_gradient(hard) + (soft - fixed)


def gumbel_softmax(key: Array, logits: Array, *, temperature: Scalar, axis: int = -1) -> Array:
    """Relaxed sample of a categorical distribution.

    y = softmax((logits + g) / temperature),  g ~ Gumbel(0, 1)

    As the temperature falls the sample becomes one-hot, with the probabilities ``softmax(logits)``.

    Args:
      key: one random key, consumed.
      logits: [..., A], unnormalised log-probabilities.
      temperature: positive.
      axis: of the choices.

    Returns:
      [..., A], on the simplex.

    Raises:
      ValueError: if ``logits`` is not a float array with at least one choice, or a Python
        temperature is not positive.

    Differentiability: every mode, in logits and temperature.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.relax import gumbel_softmax
      >>> gumbel_softmax(jax.random.key(0), jnp.zeros(3), temperature=0.5).shape
      (3,)

    References: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017.
    """
    logits, axis = check_logits(logits, axis)
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(
            f"temperature: got {temperature}, expected a positive number; the limit 0 is "
            "jax.random.categorical."
        )
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jax.nn.softmax((logits + noise) / temperature, axis=axis)
