"""Averages of the parameters over a training."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jplan._typing import Array, PyTree


class AverageState(NamedTuple):
    """State of `keep_average`: of the optimiser within, the average, and the steps so far."""

    inner: optax.OptState
    average: PyTree
    step: Array


@functools.cache
def keep_average(
    optimizer: optax.GradientTransformation, *, decay: float = 0.999
) -> optax.GradientTransformation:
    """An optimiser that also keeps an exponential average of the parameters.

    average <- d average + (1 - d) params,  d = min(decay, n / (n + 9)) in step n = 1, 2, ...

    `train` returns the module with the average. The smaller weight at first is to forget the
    initial parameters. Equal arguments give the same object, see `cosine_adam`.

    Args:
      optimizer: makes the steps, all of them: `keep_average` goes around any chain.
      decay: from 0 on, below 1.

    Returns:
      The optimiser; its state is an `AverageState`.

    Raises:
      ValueError: if the decay is out of range.

    Example:
      >>> optimizer = keep_average(optax.sgd(1.0), decay=0.9)
      >>> state = optimizer.init(jnp.zeros(()))
      >>> _, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
      >>> print(f"{state.average:.2f}")  # the parameter is -1 now
      -0.90

    References: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}, expected from 0 on and below 1.")

    def init(params: PyTree) -> AverageState:
        return AverageState(optimizer.init(params), params, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, inner = optimizer.update(updates, state.inner, params)
        step = state.step + 1
        weight = jnp.minimum(decay, step / (step + 9))
        following = optax.apply_updates(params, updates)
        mix = lambda old, new: (weight * old + (1 - weight) * new).astype(old.dtype)
        return updates, AverageState(inner, jax.tree.map(mix, state.average, following), step)

    return optax.GradientTransformation(init, update)
