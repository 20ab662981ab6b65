"""Static checks of what a user hands to the engine."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jplan._typing import FixedPointFn, Params, PyTree


def as_float_tree(z: PyTree, name: str) -> PyTree:
    """Leaves as arrays without weak types; ValueError unless all are floating point."""

    def leaf(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"{name} has a leaf of dtype {x.dtype}, expected floating point; cast it, for "
                "instance with .astype(jnp.float32), or move it to params."
            )
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(leaf, z)


def check_map(f: FixedPointFn, params: Params, z: PyTree) -> None:
    """ValueError unless ``f(params, z)`` looks like ``z``."""
    image = jax.eval_shape(f, params, z)
    given, expected = jax.tree.structure(image), jax.tree.structure(z)
    if given != expected:
        raise ValueError(
            f"f(params, z) has the structure {given}, expected that of z, {expected}; f must "
            "return the next z and nothing else."
        )
    for (path, got), want in zip(
        jax.tree_util.tree_leaves_with_path(image), jax.tree.leaves(z), strict=True
    ):
        want = jnp.asarray(want)
        if got.shape != want.shape or got.dtype != want.dtype:
            raise ValueError(
                f"f(params, z){jax.tree_util.keystr(path)} is {got.dtype}{list(got.shape)}, "
                f"expected {want.dtype}{list(want.shape)} as in z; start from a z0 of the shape "
                "and dtype that f returns, or cast inside f."
            )


def check_explicit(f: FixedPointFn) -> None:
    """ValueError if ``f`` is unhashable or visibly closes over traced values."""
    try:
        hash(f)
    except TypeError:
        raise ValueError(
            f"f of type {type(f).__name__} cannot be hashed, expected a function; put its arrays "
            "into params, for instance f = lambda params, z: rebuild(params)(z)."
        ) from None
    captured: list[Any] = []
    inner: Any = f
    while isinstance(inner, functools.partial):
        captured += [inner.args, inner.keywords]
        inner = inner.func
    captured += [
        cell.cell_contents for cell in getattr(inner, "__closure__", None) or () if _filled(cell)
    ]
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(captured)):
        raise ValueError(
            "f closes over a traced value, expected all of them in params; nothing that f closes "
            "over is differentiated. Pass it as part of params, or use adjoint=Unroll()."
        )


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
