"""Static checks of what a user hands to the engine."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


def check_map(f: FixedPointFn, params: Params, z: PyTree, *, explicit: bool = True) -> None:
    """ValueError unless ``f(params, z)`` looks like ``z`` and closes over no traced value."""
    jaxpr, image = jax.make_jaxpr(f, return_shape=True)(params, z)
    if explicit and any(isinstance(const, Tracer) for const in jaxpr.consts):
        raise ValueError(
            "f closes over a traced value, expected all of them in params; nothing that f closes "
            "over is differentiated. Pass it as part of params (nnx.split or eqx.partition for a "
            "module), or use adjoint=Unroll()."
        )
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


def check_hashable(f: FixedPointFn) -> None:
    """ValueError if ``f`` cannot be the key of a compiled solve."""
    try:
        hash(f)
    except TypeError:
        raise ValueError(
            f"f of type {type(f).__name__} cannot be hashed, expected a function; put its arrays "
            "into params, for instance f = lambda params, z: rebuild(params)(z)."
        ) from None


def check_params(params: Params) -> None:
    """ValueError if a leaf of ``params`` is not an array or a number."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float, complex)):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} is a {type(leaf).__name__}, expected arrays "
                "and numbers; keep what is static out of params (eqx.partition, nnx.split)."
            )


def check_solver(solver: Any, kinds: tuple[type, ...], name: str) -> None:
    """ValueError unless ``solver`` is an instance of one of ``kinds`` with a usable budget."""
    expected = " or ".join(kind.__name__ for kind in kinds)
    if not isinstance(solver, kinds):
        given = f"the class {solver.__name__}" if isinstance(solver, type) else repr(solver)
        raise ValueError(f"{name} is {given}, expected an instance of {expected}.")
    for size in ("max_steps", "memory", "restart"):
        value = getattr(solver, size, 1)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{size} of {name} is {value!r}, expected a whole number from 1 on.")
    for number in ("tol", "atol", "rtol", "damping"):
        value = getattr(solver, number, None)
        if isinstance(value, (int, float)) and not value >= 0:
            raise ValueError(f"{number} of {name} is {value!r}, expected 0 or more.")
