"""Relaxations: smooth stand-ins for hard choices.

`jax.nn.softmax` is the softmax; this package holds what JAX lacks.
"""

from jplan.relax._entmax import entmax15
from jplan.relax._samples import gumbel_softmax, straight_through
from jplan.relax._simplex import sparsemax
from jplan.relax._smooth_max import softmax_value, sparsemax_value

__all__ = [
    "entmax15",
    "gumbel_softmax",
    "softmax_value",
    "sparsemax",
    "sparsemax_value",
    "straight_through",
]
