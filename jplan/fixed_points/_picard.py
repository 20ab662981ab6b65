"""Damped Picard iteration."""

import jax
from flax import struct

from jplan._typing import PyTree, Scalar


@struct.dataclass(kw_only=True)
class Picard:
    """Damped Picard iteration, ``z <- (1 - damping) z + damping f(z)``.

    The plain iteration (no damping) is value iteration. It needs the least memory, keeps
    monotone maps monotone, and handles infinite entries. As the backward solver of an adjoint it
    is the Neumann series.

    Args:
      tol: sets ``atol`` and ``rtol``; None follows the dtype (``eps ** 0.75``), 0 runs until the
        value no longer changes.
      atol: absolute tolerance in the units of ``z``; None takes ``tol``.
      rtol: relative tolerance; None takes ``tol``.
      max_steps: static budget of evaluations of ``f``.
      damping: step length in (0, 1]; None takes whole steps, and is what infinite entries need.

    Example:
      >>> Picard(max_steps=30).max_steps
      30
    """

    tol: Scalar | None = None
    atol: Scalar | None = None
    rtol: Scalar | None = None
    damping: Scalar | None = None
    max_steps: int = struct.field(pytree_node=False, default=100)

    def init(self, z: PyTree) -> None:
        """Picard keeps no memory."""
        del z

    def step(self, z: PyTree, fz: PyTree, state: None) -> tuple[PyTree, None]:
        """Next iterate from the current one and its image."""
        if self.damping is None:
            return fz, state
        mix = lambda old, new: old + self.damping * (new - old)
        return jax.tree.map(lambda old, new: mix(old, new).astype(old.dtype), z, fz), state
