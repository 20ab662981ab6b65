"""Elementwise residuals and tolerances, shared by every solver."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree


@struct.dataclass
class Tolerance:
    """Resolved tolerance: converged when the weighted residual is at most ``limit``."""

    limit: Array
    weight_absolute: Array
    weight_relative: Array


def resolve_tolerance(solver: Any, z: PyTree) -> Tolerance:
    """Read ``tol``, ``atol``, ``rtol`` of a solver; the default follows the dtype of ``z``."""
    dtype = jnp.result_type(*jax.tree.leaves(z)) if jax.tree.leaves(z) else jnp.float32
    tol = jnp.finfo(dtype).eps ** 0.75 if solver.tol is None else solver.tol
    real = jnp.promote_types(dtype, jnp.float32)
    atol = jnp.asarray(tol if solver.atol is None else solver.atol, real)
    rtol = jnp.asarray(tol if solver.rtol is None else solver.rtol, real)
    limit = jnp.maximum(atol, rtol)
    positive = jnp.where(limit > 0, limit, 1)
    return Tolerance(
        limit=limit,
        weight_absolute=jnp.where(limit > 0, atol / positive, 1),
        weight_relative=jnp.where(limit > 0, rtol / positive, 1),
    )


def weighted_residual(z: PyTree, fz: PyTree, tolerance: Tolerance) -> Array:
    """Largest elementwise residual; NaN if a value is NaN or overflowed in this step.

    Entries that are equal count as zero even when infinite, so a region that is meant to stay at
    minus infinity does no harm. An entry that was already large and becomes infinite is an
    overflow, which would otherwise look like a fixed point.
    """

    def leaf(z: Array, fz: Array) -> Array:
        large = float(jnp.finfo(z.dtype).max) ** 0.25
        finite = jnp.isfinite(z)
        scale = tolerance.weight_absolute + tolerance.weight_relative * jnp.abs(
            jnp.where(finite, z, 0)
        )
        gap = jnp.where(fz == z, 0, jnp.abs(fz - z) / scale)
        overflow = finite & (jnp.abs(z) > large) & jnp.isinf(fz)
        return jnp.max(jnp.where(overflow, jnp.nan, gap), initial=0)

    worst = jax.tree.leaves(jax.tree.map(leaf, z, fz))
    return jnp.max(jnp.stack(worst)) if worst else jnp.zeros((), tolerance.limit.dtype)
