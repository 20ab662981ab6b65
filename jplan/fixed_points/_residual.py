"""Elementwise residuals and tolerances, shared by every solver."""

import functools
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


@struct.dataclass
class Gap:
    """How far one step moved; NaN where a value is NaN or overflowed."""

    weighted: Array  # [] compares with the tolerance
    absolute: Array  # [] tells growth, which the relative weight would hide


def measure_step(z: PyTree, fz: PyTree, tolerance: Tolerance, step: Array) -> tuple[Gap, PyTree]:
    """Measure a step elementwise, and mark overflowed entries of ``fz`` as NaN.

    Entries that are equal count as zero even when infinite, so a region that is meant to stay at
    minus infinity does no harm. Infinity may appear in the first step, and spread later where there
    is some; anywhere else, and from an entry that is already large, it is an overflow, which would
    otherwise look like a fixed point.
    """

    def leaf(z: Array, fz: Array) -> tuple[Array, Array, Array]:
        large = float(jnp.finfo(z.dtype).max) ** 0.25
        finite = jnp.isfinite(z)
        born = (step > 0) & jnp.all(finite)
        overflow = finite & jnp.isinf(fz) & (born | (jnp.abs(z) > large))
        fz = jnp.where(overflow, jnp.nan, fz)
        size = jnp.abs(jnp.where(finite, z, 0))
        scale = tolerance.weight_absolute + tolerance.weight_relative * size
        gap = jnp.where(fz == z, 0, jnp.abs(fz - z))
        # XLA's maximum over a large array drops NaN on CPU, so NaN needs a reduction of its own.
        lost = jnp.any(jnp.isnan(gap))
        worst = lambda field: jnp.where(lost, jnp.nan, jnp.max(field, initial=0)).astype(wide)
        return worst(gap / scale), worst(gap), fz

    wide = tolerance.limit.dtype
    leaves, structure = jax.tree.flatten(z)
    if not leaves:
        zero = jnp.zeros((), wide)
        return Gap(weighted=zero, absolute=zero), fz
    weighted, absolute, marked = zip(*map(leaf, leaves, structure.flatten_up_to(fz)), strict=True)
    gap = Gap(
        weighted=functools.reduce(jnp.maximum, weighted),
        absolute=functools.reduce(jnp.maximum, absolute),
    )
    return jax.lax.stop_gradient(gap), structure.unflatten(marked)
