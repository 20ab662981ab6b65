"""What an end does to numbers and states, for all packages."""

import jax
import jax.numpy as jnp

from jplan._typing import Array, PyTree


def weigh(weight: Array, number: Array) -> Array:
    """``weight * number``, and 0 where the weight is 0 and the number is not finite.

    So the value of a return does not hang on what a model says after the end of an episode. The
    slope in the weight is kept where the number is finite; in reverse mode the number's own slope
    has to be finite all the same.
    """
    return weight * jnp.where((weight == 0) & ~jnp.isfinite(number), 0, number)


def stay(discount: Array, state: PyTree, following: PyTree) -> PyTree:
    """The state that follows, and the state as it is where the episode ends, at a discount of 0.

    A model need not know what comes after an end; who goes on must not ask it.
    """
    return jax.tree.map(lambda a, b: jnp.where(discount == 0, a, b), state, following)
