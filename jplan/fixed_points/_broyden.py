"""Broyden's method with limited memory."""

import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree, Scalar
from jplan.fixed_points._guarded import GuardedState, guarded_init, guarded_step


@struct.dataclass(kw_only=True)
class Broyden:
    """Broyden's good method on ``f(z) - z = 0``, limited memory, safeguarded.

    The inverse Jacobian is ``-I`` plus one rank-one update for each step, ``-I + sum_i u_i v_i^T``;
    when the memory is full it starts afresh. Superlinear close to a solution, and safeguarded as
    `Anderson` is.

    Args:
      tol: sets ``atol`` and ``rtol``; None follows the dtype (``eps ** 0.75``).
      atol: absolute tolerance in the units of ``z``; None takes ``tol``.
      rtol: relative tolerance; None takes ``tol``.
      damping: length of the plain step after a restart, in (0, 1].
      max_steps: static budget of evaluations of ``f``.
      memory: static number of rank-one updates that are kept.

    Example:
      >>> import jax.numpy as jnp
      >>> import jplan as jp
      >>> cosine = lambda p, z: jnp.cos(p * z)
      >>> jp.fixed_point(cosine, jnp.ones(1), jnp.zeros(1), solver=Broyden()).value.round(4)
      Array([0.7391], dtype=float32)

    References:
      Broyden, A class of methods for solving nonlinear simultaneous equations, 1965.
      Bai, Kolter and Koltun, Deep equilibrium models, 2019, appendix, for the limited memory.
    """

    tol: Scalar | None = None
    atol: Scalar | None = None
    rtol: Scalar | None = None
    damping: Scalar = 1.0
    max_steps: int = struct.field(pytree_node=False, default=100)
    memory: int = struct.field(pytree_node=False, default=20)

    def init(self, z: PyTree) -> GuardedState:
        """Empty memory for the flattened problem."""
        return guarded_init(z, self._empty)

    def step(self, z: PyTree, fz: PyTree, state: GuardedState) -> tuple[PyTree, GuardedState]:
        """Next iterate from the current one and its image."""
        return guarded_step(
            z, fz, state, empty_memory=self._empty, propose=self._update, damping=self.damping
        )

    def _empty(self, flat: Array) -> tuple[Array, Array]:
        zeros = jnp.zeros((self.memory, flat.size), flat.dtype)
        return zeros, zeros

    def _update(
        self,
        point: Array,
        gap: Array,
        memory: tuple[Array, Array],
        count: Array,
        point_change: Array,
        gap_change: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        slot = (count - 1) % self.memory
        keep = (slot > 0) | (count == 0)
        left, right = (jnp.where(keep, part, 0) for part in memory)  # u_i, v_i: [M, n]
        inverse = lambda vector: -vector + (right @ vector) @ left
        transpose = lambda vector: -vector + (left @ vector) @ right
        image = inverse(gap_change)
        denominator = point_change @ image
        tiny = jnp.finfo(gap.dtype).tiny ** 0.5
        usable = jnp.abs(denominator) > tiny
        new_left = jnp.where(usable, (point_change - image) / jnp.where(usable, denominator, 1), 0)
        new_right = jnp.where(usable, transpose(point_change), 0)
        left, right = left.at[slot].set(new_left), right.at[slot].set(new_right)
        return point - (-gap + (right @ gap) @ left), (left, right)
