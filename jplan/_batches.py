"""A batch in parts, one after the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jplan._typing import PyTree


def map_batches(f: Callable[[PyTree], PyTree], tree: PyTree, size: int) -> PyTree:
    """``f`` on ``size`` entries of the leading axis at a time, and on the rest, joined again."""
    count = jax.tree.leaves(tree)[0].shape[0]
    whole = count - count % size
    fold = lambda leaf: leaf[:whole].reshape((-1, size, *leaf.shape[1:]))
    unfold = lambda leaf: leaf.reshape((-1, *leaf.shape[2:]))
    parts = jax.tree.map(unfold, jax.lax.map(f, jax.tree.map(fold, tree)))
    if whole == count:
        return parts
    rest = f(jax.tree.map(lambda leaf: leaf[whole:], tree))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), parts, rest)
