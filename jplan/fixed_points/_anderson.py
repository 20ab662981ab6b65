"""Anderson acceleration."""

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree, Scalar
from jplan.fixed_points._guarded import GuardedState, guarded_init, guarded_step


@struct.dataclass(kw_only=True)
class Anderson:
    """Anderson acceleration (type II) of ``z <- f(z)``, safeguarded.

    With residuals ``r_i = f(z_i) - z_i``, the next iterate mixes the last ``memory`` steps with
    the weights that make the mixed residual smallest,

        z+ = z + damping r - (dZ + damping dR)^T argmin_w ||r - dR^T w||

    The weights are scalars that come from inner products over the whole of ``z``. An orthogonal
    symmetry of ``f``, a rotation of a map for one, is therefore a symmetry of the solver too. A
    step whose residual norm more than doubles is taken back, and the memory starts afresh.

    Args:
      tol: sets ``atol`` and ``rtol``; None follows the dtype (``eps ** 0.75``).
      atol: absolute tolerance in the units of ``z``; None takes ``tol``.
      rtol: relative tolerance; None takes ``tol``.
      damping: step length in (0, 1].
      max_steps: static budget of evaluations of ``f``.
      memory: static number of past steps that are mixed.

    Example:
      >>> import jax.numpy as jnp
      >>> import jplan as jp
      >>> slow = lambda p, z: 0.99 * z + p
      >>> jp.fixed_point(slow, jnp.ones(2), jnp.zeros(2), solver=Anderson(tol=1e-5)).num_steps < 5
      Array(True, dtype=bool)

    References:
      Walker and Ni, Anderson acceleration for fixed-point iterations, 2011, section 2.
    """

    tol: Scalar | None = None
    atol: Scalar | None = None
    rtol: Scalar | None = None
    damping: Scalar = 1.0
    max_steps: int = struct.field(pytree_node=False, default=100)
    memory: int = struct.field(pytree_node=False, default=5)

    def init(self, z: PyTree) -> GuardedState:
        """Empty memory for the flattened problem."""
        return guarded_init(z, self._empty)

    def step(self, z: PyTree, fz: PyTree, state: GuardedState) -> tuple[PyTree, GuardedState]:
        """Next iterate from the current one and its image."""
        return guarded_step(
            z, fz, state, empty_memory=self._empty, propose=self._mix, damping=self.damping
        )

    def _empty(self, flat: Array) -> tuple[Array, Array]:
        zeros = jnp.zeros((self.memory, flat.size), flat.dtype)
        return zeros, zeros

    def _mix(
        self,
        point: Array,
        gap: Array,
        memory: tuple[Array, Array],
        count: Array,
        point_change: Array,
        gap_change: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        slot = (count - 1) % self.memory
        points = memory[0].at[slot].set(point_change)
        gaps = memory[1].at[slot].set(gap_change)
        wide = jnp.promote_types(gap.dtype, jnp.float32)
        columns = gaps.astype(wide)
        gram = jnp.matmul(columns, columns.T, precision=jax.lax.Precision.HIGHEST)
        target = jnp.matmul(columns, gap.astype(wide), precision=jax.lax.Precision.HIGHEST)
        # Unit diagonal, so that one relative ridge suits old (large) and new (small) residuals.
        diagonal = jnp.diagonal(gram)
        scale = jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1))
        gram = gram * scale[:, None] * scale[None, :]
        filled = jnp.where(diagonal > 0, 10 * jnp.finfo(wide).eps, 1)
        weights = scale * jnp.linalg.solve(gram + jnp.diag(filled), scale * target)
        damping = jnp.asarray(self.damping, wide)
        step = damping * gap.astype(wide) - weights @ (points.astype(wide) + damping * columns)
        return point + step.astype(point.dtype), (points, gaps)
