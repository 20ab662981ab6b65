"""Is it a contraction, and can its gradient be trusted?"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from jplan._typing import Array, FixedPointFn, Params, PyTree
from jplan.fixed_points._adjoints import Implicit, Unroll
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._driver import fixed_point
from jplan.fixed_points._implicit import Backward, fixed_point_vjp
from jplan.fixed_points._iterate import Solver
from jplan.fixed_points._picard import Picard


def _normal_like(key: Array, z: PyTree) -> PyTree:
    flat, unravel = ravel_pytree(z)
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))


def _squared_norm(z: PyTree) -> Array:
    flat, _ = ravel_pytree(z)
    return flat @ flat


def jacobian_penalty(f: FixedPointFn, params: Params, z: PyTree, key: Array) -> Array:
    """Unbiased one-probe estimate of the squared Frobenius norm of df/dz, per entry of z.

    ``|J^T e|^2 / n`` with a standard normal probe ``e`` (Hutchinson); added to a loss it pulls the
    cell towards a contraction.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree.
      z: where the Jacobian is taken, usually the fixed point.
      key: consumed.

    Returns:
      [], non-negative.

    Differentiability: reverse mode, with respect to ``params`` and ``z``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> double = lambda p, z: p * z
      >>> penalty = jacobian_penalty(double, 2.0, jnp.ones(10_000), jax.random.key(0))
      >>> bool(abs(penalty - 4) < 0.2)
      True

    References:
      Bai, Koltun and Kolter, Stabilizing equilibrium models by Jacobian regularization,
      2021, eq. 5.
    """
    probe = _normal_like(key, z)
    _, pullback = jax.vjp(functools.partial(f, params), z)
    size = max(1, sum(leaf.size for leaf in jax.tree.leaves(z)))
    return _squared_norm(pullback(probe)[0]) / size


def spectral_radius(
    f: FixedPointFn, params: Params, z: PyTree, key: Array, *, num_steps: int = 50
) -> Array:
    """Estimate the spectral radius of df/dz by power iteration.

    Below 1 the Picard iteration and the Neumann series converge, above 1 they do not. The estimate
    is the geometric mean growth over the second half of the steps, so a pair of complex
    eigenvalues does not make it oscillate; a nilpotent Jacobian gives 0, one with NaN gives NaN.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree.
      z: where the Jacobian is taken.
      key: consumed.
      num_steps: static number of products with the Jacobian.

    Returns:
      [], non-negative.

    Raises:
      ValueError: if ``num_steps`` is below 2.

    Differentiability: none intended.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> shrink = lambda p, z: p * z
      >>> spectral_radius(shrink, 0.5, jnp.ones(4), jax.random.key(0)).round(4)
      Array(0.5, dtype=float32)
    """
    if num_steps < 2:
        raise ValueError(f"num_steps is {num_steps}, expected at least 2.")
    # Reverse mode, because a cell with a custom VJP has no forward mode; J^T has J's spectrum.
    _, pullback = jax.vjp(functools.partial(f, params), z)

    def body(vector: PyTree, _: None) -> tuple[PyTree, Array]:
        flat, unravel = ravel_pytree(pullback(vector)[0])
        # The largest entry first, so that the norm of a huge vector does not overflow.
        largest = jnp.max(jnp.abs(flat), initial=0)
        flat = flat / jnp.where(largest > 0, largest, 1)
        norm = jnp.linalg.norm(flat)
        return unravel(flat / jnp.where(norm == 0, 1, norm)), norm * largest

    start = _normal_like(key, z)
    _, growth = jax.lax.scan(body, start, None, length=num_steps)
    half = growth[num_steps // 2 :]
    mean = jnp.exp(jnp.mean(jnp.log(jnp.where(half == 0, 1, half))))
    return jnp.where(jnp.any(growth == 0), 0, mean)


@struct.dataclass
class GradientReport:
    """What `gradient_report` measured; scalars.

    Attributes:
      cosine: [] cosine between the implicit and the unrolled gradient with respect to params.
      relative_error: [] norm of their difference over the norm of the unrolled one.
      forward_residual: [] residual of the forward solve.
      forward_status: [] int32, a `Status`.
      backward_residual: [] residual of the backward solve, relative to the cotangent.
      backward_status: [] int32, a `Status`.
      spectral_radius: [] estimate at the solution.
    """

    cosine: Array
    relative_error: Array
    forward_residual: Array
    forward_status: Array
    backward_residual: Array
    backward_status: Array
    spectral_radius: Array


def gradient_report(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    loss_fn: Callable[[PyTree], Array],
    key: Array,
    *,
    solver: Solver = Anderson(),  # noqa: B008 (frozen)
    backward: Backward = Anderson(),  # noqa: B008 (frozen)
    num_steps: Any = None,
) -> GradientReport:
    """Compare the implicit gradient of ``loss_fn(z*)`` with that of the unrolled iteration.

    Use it before you trust an implicit gradient in training: a cosine well below 1, a forward
    status that is not CONVERGED, or a spectral radius near 1 say that it is not to be trusted.

    Args:
      f: ``f(params, z) -> z``.
      params: any pytree; gradients are compared over its floating-point leaves.
      z0: where to start.
      loss_fn: scalar function of the fixed point.
      key: consumed, for the spectral radius.
      solver: forward solver of the implicit gradient; the unrolled one is Picard with the same
        ``max_steps``.
      backward: solver of the backward pass.
      num_steps: optional traced budget, for both.

    Returns:
      `GradientReport`.

    Differentiability: none intended.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> f = lambda p, z: 0.5 * z + p
      >>> report = gradient_report(f, jnp.ones(2), jnp.zeros(2), jnp.sum, jax.random.key(0))
      >>> report.cosine.round(3), report.spectral_radius.round(3)
      (Array(1., dtype=float32), Array(0.5, dtype=float32))
    """
    solution = fixed_point(
        f, params, z0, solver=solver, adjoint=Implicit(backward=backward), num_steps=num_steps
    )
    cotangent = jax.grad(loss_fn)(solution.value)
    implicit = fixed_point_vjp(f, params, solution.value, cotangent, backward=backward)

    plain = Picard(max_steps=solver.max_steps, tol=0.0)
    unrolled_loss = lambda params: loss_fn(
        fixed_point(f, params, z0, solver=plain, adjoint=Unroll(), num_steps=num_steps).value
    )
    unrolled = jax.grad(unrolled_loss, allow_int=True)(params)
    a, b = _float_vector(implicit.value), _float_vector(unrolled)
    norm = lambda v: jnp.sqrt(v @ v)
    return GradientReport(
        cosine=a @ b / (norm(a) * norm(b)),
        relative_error=norm(a - b) / norm(b),
        forward_residual=solution.residual,
        forward_status=solution.status,
        backward_residual=implicit.residual,
        backward_status=implicit.status,
        spectral_radius=spectral_radius(f, params, solution.value, key),
    )


def _float_vector(tree: PyTree) -> Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return ravel_pytree(leaves)[0]
