"""Is an operator a contraction, is it monotone?"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jplan._typing import Array, FixedPointFn, Params, PyTree


def assert_contraction(
    f: FixedPointFn,
    params: Params,
    z: PyTree,
    key: Array,
    *,
    modulus: float,
    norm: Literal["sup", "euclidean"] = "sup",
    num_pairs: int = 30,
    scale: float = 1.0,
) -> None:
    """Assert that an operator brings points together, on random pairs.

    |f(a) - f(b)| <= modulus * |a - b|

    The pairs lie around ``z``. A third of the differences is normal, a third has random signs, and
    a third is a constant: the last two are where linear and Bellman operators contract least in
    the sup norm. A pass is evidence, a failure is a proof.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree.
      z: where to look, a pytree of floats; entries that are infinite stay so.
      key: consumed.
      modulus: bound of the ratio, for instance the discount; 1 asserts non-expansion.
      norm: of all entries together.
      num_pairs: number of pairs.
      scale: standard deviation of the points around ``z`` and of their differences.

    Raises:
      AssertionError: with both sides of the inequality, if a pair violates it by more than
        rounding, or if ``f`` is not a number.
      ValueError: if ``z`` is not floating point, or the norm is none of the two.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> halve = lambda p, z: 0.5 * z + p
      >>> assert_contraction(halve, 1.0, jnp.zeros(3), jax.random.key(0), modulus=0.5)
      >>> assert_contraction(halve, 1.0, jnp.zeros(3), jax.random.key(0), modulus=0.4)
      Traceback (most recent call last):
      AssertionError: assert_contraction: got |f(a) - f(b)| = ..., expected at most ...

    References: Puterman 1994, proposition 6.2.4 (Bellman operators).
    """
    if norm not in ("sup", "euclidean"):
        raise ValueError(f"assert_contraction: got norm {norm!r}, expected 'sup' or 'euclidean'")
    point_key, normal_key, sign_key, constant_key = jax.random.split(key, 4)
    flat, apply = _flat_operator(f, params, z)
    shape = (num_pairs, flat.size)
    kinds = jnp.stack(
        [
            jax.random.normal(normal_key, shape, flat.dtype),
            jax.random.rademacher(sign_key, shape, flat.dtype),
            jnp.broadcast_to(jax.random.normal(constant_key, (num_pairs, 1), flat.dtype), shape),
        ]
    )
    difference = kinds[jnp.arange(num_pairs) % 3, jnp.arange(num_pairs)]
    first = flat[None] + scale * jax.random.normal(point_key, shape, flat.dtype)
    second = first + scale * difference
    image_first, image_second = apply(first), apply(second)
    order = np.inf if norm == "sup" else 2
    before = np.linalg.norm(_gap(first, second), order, axis=1)
    after = np.linalg.norm(_gap(image_first, image_second), order, axis=1)
    allowed = modulus * before
    slack = _rounding(flat, first, second, image_first, image_second)
    excess = np.where(np.isnan(after), np.inf, after - allowed - slack)
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        raise AssertionError(
            f"assert_contraction: got |f(a) - f(b)| = {after[worst]:.6g}, expected at most "
            f"{modulus} * |a - b| = {allowed[worst]:.6g} (ratio {after[worst] / before[worst]:.6g} "
            f"in the {norm} norm; {int((excess > 0).sum())} of {num_pairs} pairs)"
        )


def assert_monotone(
    f: FixedPointFn,
    params: Params,
    z: PyTree,
    key: Array,
    *,
    num_pairs: int = 30,
    scale: float = 1.0,
) -> None:
    """Assert that an operator keeps the order of points, on random pairs.

    a <= b  implies  f(a) <= f(b), entry by entry

    In half of the pairs all entries are raised, in the other half only one is.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree.
      z: where to look, a pytree of floats; entries that are infinite stay so.
      key: consumed.
      num_pairs: number of pairs.
      scale: standard deviation of the points around ``z``, and size of the differences.

    Raises:
      AssertionError: with both values, if an entry falls by more than rounding, or if ``f`` is not
        a number.
      ValueError: if ``z`` is not floating point.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> assert_monotone(lambda p, z: p * z, 0.5, jnp.zeros(3), jax.random.key(0))
      >>> assert_monotone(lambda p, z: p * z, -0.5, jnp.zeros(3), jax.random.key(0))
      Traceback (most recent call last):
      AssertionError: assert_monotone: got f(b) = ... below f(a) = ... at entry ..., expected ...

    References: Puterman 1994, lemma 6.1.2.
    """
    point_key, raise_key, entry_key = jax.random.split(key, 3)
    flat, apply = _flat_operator(f, params, z)
    shape = (num_pairs, flat.size)
    raised = jnp.abs(jax.random.normal(raise_key, shape, flat.dtype))
    entry = jax.random.randint(entry_key, (num_pairs, 1), 0, flat.size)
    is_all = (jnp.arange(num_pairs) % 2 == 0)[:, None]
    difference = jnp.where(is_all | (jnp.arange(flat.size)[None] == entry), raised, 0)
    low = flat[None] + scale * jax.random.normal(point_key, shape, flat.dtype)
    high = low + scale * difference
    image_low, image_high = apply(low), apply(high)
    with np.errstate(invalid="ignore"):
        fall = np.where(image_low == image_high, 0, image_low - image_high)
    slack = _rounding(flat, image_low, image_high)[:, None]
    excess = np.where(np.isnan(fall), np.inf, fall - slack)
    if excess.max(initial=0) > 0:
        pair, where = np.unravel_index(excess.argmax(), excess.shape)
        raise AssertionError(
            f"assert_monotone: got f(b) = {image_high[pair, where]:.6g} below f(a) = "
            f"{image_low[pair, where]:.6g} at entry {int(where)}, expected f(a) <= f(b) as a <= b "
            f"({int((excess > 0).any(axis=1).sum())} of {num_pairs} pairs)"
        )


def _flat_operator(
    f: FixedPointFn, params: Params, z: PyTree
) -> tuple[Array, Callable[[Array], np.ndarray]]:
    """``z`` as one vector, and ``f`` on a batch of such vectors [N, n]."""
    z = jax.tree.map(jnp.asarray, z)
    flat, unravel = ravel_pytree(z)
    if flat.size == 0 or not jnp.issubdtype(flat.dtype, jnp.floating):
        raise ValueError(
            f"z: got {flat.size} entries of dtype {flat.dtype}, expected floating-point numbers; "
            "write 0.0 for 0"
        )
    step = functools.partial(f, params)
    batched = jax.vmap(lambda vector: ravel_pytree(step(unravel(vector)))[0])
    return flat, lambda points: np.asarray(batched(points), np.float64)


def _gap(a: Array | np.ndarray, b: Array | np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0, a - b)


def _rounding(flat: Array, *points: Array | np.ndarray) -> np.ndarray:
    """What rounding may add, for each pair: 4 units in the last place of the largest entry."""
    sizes = [np.abs(np.asarray(point, np.float64)) for point in points]
    largest = [np.where(np.isfinite(size), size, 0).max(axis=1) for size in sizes]
    return 4 * float(jnp.finfo(flat.dtype).eps) * np.max(largest, axis=0)
