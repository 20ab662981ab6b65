"""Products with discounts, for all packages."""

import jax.numpy as jnp

from jplan._typing import Array


def weigh(weight: Array, number: Array) -> Array:
    """``weight * number``, and 0 where the weight is 0 and the number is not finite.

    So the value of a return does not hang on what a model says after the end of an episode. The
    slope in the weight is kept where the number is finite; in reverse mode the number's own slope
    has to be finite all the same.
    """
    return weight * jnp.where((weight == 0) & ~jnp.isfinite(number), 0, number)
