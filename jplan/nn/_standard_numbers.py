"""Numbers that inputs are standardised with."""

from typing import Any

import numpy as np


def standard_numbers(
    mean: Any, scale: Any, width: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and scale of each of ``width`` inputs, as Python numbers, which are no parameters.

    Args:
      mean: [width] or [], finite.
      scale: [width] or [], finite and positive.
      width: number of inputs.

    Returns:
      Two tuples of ``width`` numbers.

    Raises:
      ValueError: if a shape or a number is out of range.
    """
    out = []
    for name, value in (("mean", mean), ("scale", scale)):
        numbers = np.asarray(value, float)
        if numbers.shape not in ((), (width,)) or not np.isfinite(numbers).all():
            raise ValueError(
                f"{name} has shape {list(numbers.shape)}, expected [] or [{width}] and finite."
            )
        out.append(tuple(np.broadcast_to(numbers, (width,)).tolist()))
    if min(out[1]) <= 0:
        raise ValueError(
            f"scale has the entry {min(out[1])}, expected positive numbers; an input that never "
            "changes has no spread: give it 1."
        )
    return out[0], out[1]
