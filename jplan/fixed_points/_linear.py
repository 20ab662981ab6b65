"""Linear solves for the backward pass: ``u = A u + b`` with a matrix-free ``A``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from jplan._typing import Array, PyTree, Scalar
from jplan.fixed_points._solution import Solution, Status


@struct.dataclass(kw_only=True)
class GMRES:
    """Restarted GMRES for the linear system of a backward pass.

    Minimises the Euclidean residual over a Krylov space, so it is the choice where the Neumann
    series is slow (spectral radius close to 1) or does not converge (above 1). It stores
    ``restart + 1`` vectors. It solves linear systems only, so its place is
    ``Implicit(backward=GMRES())``.

    Args:
      tol: Euclidean residual relative to the right-hand side; None follows the dtype.
      max_steps: static budget of products with the Jacobian.
      restart: static size of the Krylov space.

    Example:
      >>> GMRES(restart=10).restart
      10

    References:
      Saad and Schultz, GMRES, 1986, algorithm 4.
    """

    tol: Scalar | None = None
    max_steps: int = struct.field(pytree_node=False, default=100)
    restart: int = struct.field(pytree_node=False, default=20)

    def solve(self, apply_fn: Callable[[PyTree], PyTree], right: PyTree) -> Solution:
        """Solve ``u = apply_fn(u) + right``; the residual is relative to ``right``."""
        narrow, unravel = ravel_pytree(right)
        tol = jnp.finfo(narrow.dtype).eps ** 0.75 if self.tol is None else self.tol
        b = narrow.astype(jnp.promote_types(narrow.dtype, jnp.float32))
        flat = lambda v: v - ravel_pytree(apply_fn(unravel(v.astype(narrow.dtype))))[0]
        size = min(self.restart, self.max_steps)
        scale = jnp.linalg.norm(b)
        unit = jnp.where(scale > 0, scale, 1)

        def cycle(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            u, _, steps = carry
            gap = b - flat(u)
            u = u + _krylov_correction(flat, gap, size)
            return u, jnp.linalg.norm(b - flat(u)) / unit, steps + size

        def unfinished(carry: tuple[Array, ...]) -> Array:
            _, error, steps = carry
            return (error > tol) & jnp.isfinite(error) & (steps + size <= self.max_steps)

        start = (jnp.zeros_like(b), scale / unit, jnp.zeros((), jnp.int32))
        u, error, steps = jax.lax.while_loop(unfinished, cycle, start)
        failed = ~jnp.isfinite(error) | (error > 1)
        status = jnp.where(
            failed,
            Status.DIVERGED,
            jnp.where(error <= tol, Status.CONVERGED, Status.MAX_STEPS),
        )
        return Solution(
            value=unravel(u.astype(narrow.dtype)),
            residual=error,
            num_steps=steps,
            status=status.astype(jnp.int32),
        )


def _krylov_correction(flat: Callable[[Array], Array], gap: Array, size: int) -> Array:
    """Least-squares correction over the Krylov space of ``gap``."""
    norm = jnp.linalg.norm(gap)
    safe = jnp.where(norm > 0, norm, 1)
    basis = jnp.zeros((size + 1, gap.size), gap.dtype).at[0].set(gap / safe)

    def arnoldi(carry: tuple[Array, Array], column: Array) -> tuple[tuple[Array, Array], None]:
        basis, hessenberg = carry
        vector = flat(basis[column])
        # Twice is enough: a second pass restores the orthogonality that rounding lost.
        first = basis @ vector
        vector = vector - first @ basis
        second = basis @ vector
        vector = vector - second @ basis
        length = jnp.linalg.norm(vector)
        negligible = length <= 10 * jnp.finfo(gap.dtype).eps * jnp.linalg.norm(first)
        length = jnp.where(negligible, 0, length)
        basis = basis.at[column + 1].set(
            jnp.where(negligible, 0, vector / jnp.where(negligible, 1, length))
        )
        entries = (first + second).at[column + 1].set(length)
        return (basis, hessenberg.at[:, column].set(entries)), None

    hessenberg = jnp.zeros((size + 1, size), gap.dtype)
    (basis, hessenberg), _ = jax.lax.scan(arnoldi, (basis, hessenberg), jnp.arange(size))
    target = jnp.zeros(size + 1, gap.dtype).at[0].set(norm)
    # After a breakdown the remaining columns are zero, which lstsq (minimum norm) handles.
    coefficients = jnp.linalg.lstsq(hessenberg, target)[0]
    return coefficients @ basis[:size]
