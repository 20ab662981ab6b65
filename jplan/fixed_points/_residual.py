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
    """Measure a step elementwise, and make ``fz`` NaN if an entry is lost or overflowed.

    Entries that are equal count as zero even when infinite, so a region that is meant to stay at
    minus infinity does no harm. Infinity may appear in the first step, and spread later where there
    is some; anywhere else, and from an entry that is already large, it is an overflow, which would
    otherwise look like a fixed point.
    """
    old, new = (jax.tree.leaves(jax.lax.stop_gradient(tree)) for tree in (z, fz))
    zero = jnp.zeros((), tolerance.limit.dtype)
    weighted = absolute = holes = zero
    for leaf in map(functools.partial(_measure_leaf, tolerance=tolerance), old, new):
        weighted, absolute, holes = map(jnp.maximum, (weighted, absolute, holes), leaf)
    largest = jnp.finfo(zero.dtype).max
    lost = jnp.isinf(absolute) | ((step > 0) & (holes == 0) & (absolute == largest))
    read = lambda size: jnp.where(lost, jnp.nan, jnp.where(size == largest, jnp.inf, size))
    fz = jax.tree.map(lambda leaf: jnp.where(lost, jnp.nan, leaf), fz)
    return Gap(weighted=read(weighted), absolute=read(absolute)), fz


def measure_total(z: PyTree, fz: PyTree, tolerance: Tolerance, step: Array) -> tuple[Gap, PyTree]:
    """Measure a step by the sum of its changes; the measure of linear solves, unweighted.

    The transpose of a contraction in the sup norm, such as a Bellman backup, is one in the sum
    norm: mass gathers where many plans meet, so single entries grow while the sum falls.
    """
    del step
    total = jnp.zeros((), tolerance.limit.dtype)
    for old, new in zip(*map(jax.tree.leaves, jax.lax.stop_gradient((z, fz))), strict=True):
        total += jnp.sum(jnp.abs(new - old).astype(total.dtype))
    lost = ~jnp.isfinite(total)
    total = jnp.where(lost, jnp.nan, total)
    fz = jax.tree.map(lambda leaf: jnp.where(lost, jnp.nan, leaf), fz)
    return Gap(weighted=total, absolute=total), fz


def _measure_leaf(z: Array, fz: Array, tolerance: Tolerance) -> tuple[Array, ...]:
    """Largest weighted and absolute change, and 1 where ``z`` has an infinite entry, else 0.

    One pass over memory. XLA's maximum drops NaN on CPU, so a lost entry counts as infinite and an
    infinite change as the largest number.
    """
    wide = tolerance.limit.dtype
    finite = jnp.isfinite(z)
    overflow = finite & jnp.isinf(fz) & (jnp.abs(z) > float(jnp.finfo(z.dtype).max) ** 0.25)
    change = jnp.where(fz == z, 0, jnp.abs(fz - z)).astype(wide)
    scale = tolerance.weight_absolute + tolerance.weight_relative * jnp.where(finite, abs(z), 0)
    ratio = jnp.where(change == 0, 0, change / scale)
    code = lambda size: jnp.where(
        overflow | jnp.isnan(change), jnp.inf, jnp.minimum(size, jnp.finfo(wide).max)
    )
    fields = (code(ratio), code(change), (~finite).astype(wide))
    return jax.lax.reduce(
        fields,
        (jnp.zeros((), wide),) * 3,
        lambda x, y: tuple(map(jnp.maximum, x, y)),
        tuple(range(z.ndim)),
    )
