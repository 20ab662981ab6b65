"""Relaxations: smooth stand-ins for hard choices.

`jax.nn.softmax` is the softmax; this package holds what JAX lacks.
"""

from jplan.relax._simplex import sparsemax
from jplan.relax._smooth_max import softmax_value, sparsemax_value

__all__ = ["softmax_value", "sparsemax", "sparsemax_value"]
