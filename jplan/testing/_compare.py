"""One way to say that two results differ."""

import jax
import numpy as np

from jplan._typing import PyTree


def assert_close(got: PyTree, expected: PyTree, *, atol: float, what: str) -> None:
    """AssertionError naming the entry that differs most; equal infinities and NaNs are equal."""
    structures = jax.tree.structure(got), jax.tree.structure(expected)
    if structures[0] != structures[1]:
        raise AssertionError(f"{what}: got {structures[0]}, expected {structures[1]}")
    leaves = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True)
    for (path, a), b in leaves:
        name = f"{what}, leaf {jax.tree_util.keystr(path)}" if path else what
        _assert_leaf_close(np.asarray(a), np.asarray(b), atol, name)


def _assert_leaf_close(got: np.ndarray, expected: np.ndarray, atol: float, what: str) -> None:
    if got.shape != expected.shape:
        raise AssertionError(f"{what}: got shape {got.shape}, expected {expected.shape}")
    a, b = got.astype(np.float64), expected.astype(np.float64)
    is_same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gap = np.where(is_same, 0, np.abs(a - b))
    gap = np.where(np.isnan(gap), np.inf, gap)
    if gap.max(initial=0) > atol:
        worst = np.unravel_index(gap.argmax(), gap.shape)
        raise AssertionError(
            f"{what}: got {got[worst]}, expected {expected[worst]} at "
            f"{tuple(int(i) for i in worst)}; {int((gap > atol).sum())} of {gap.size} entries "
            f"differ by more than {atol}"
        )
