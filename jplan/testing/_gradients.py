"""Do all ways to differentiate a fixed point agree with finite differences?"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jplan._typing import Array, FixedPointFn, Params, PyTree
from jplan.fixed_points import (
    AbstractAdjoint,
    Implicit,
    Picard,
    Solver,
    Status,
    Unroll,
    fixed_point,
)

_SOLVER = Picard(tol=1e-12, max_steps=1_000)
_ADJOINTS = (Unroll(), Implicit(backward=_SOLVER))
# Central differences: the error of the formula is near eps^2, that of the solve near tol / eps.
_EPS = 1e-5


def assert_gradients_agree(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    loss_fn: Callable[[PyTree], Array],
    key: Array,
    *,
    solver: Solver = _SOLVER,
    adjoints: Sequence[AbstractAdjoint] = _ADJOINTS,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Assert that gradients through a fixed point equal finite differences.

    <d loss(z*) / d params, v> = [loss(z*(params + eps v)) - loss(z*(params - eps v))] / (2 eps)

    One random unit direction ``v`` is tried for each floating-point leaf of ``params``.
    Everything is computed in double precision, whatever the dtype of the inputs.

    Args:
      f: ``f(params, z) -> z``; keep it off ties and kinks, where gradients are not unique.
      params: any pytree; integer, boolean and key leaves are held fixed.
      z0: where to start.
      loss_fn: scalar function of the fixed point.
      key: consumed, for the directions.
      solver: must reach a tolerance of 1e-10 or so; ``Picard(tol=1e-12, max_steps=1_000)`` by
        default.
      adjoints: what to check; ``Unroll`` and ``Implicit`` by default.
      rtol: tolerance relative to the finite difference.
      atol: absolute tolerance, in units of the loss per unit of the parameters.

    Raises:
      AssertionError: with both numbers, the adjoint and the leaf, if a derivative differs; or if
        the solve does not converge, when the two need not agree.
      ValueError: if ``params`` has no floating-point leaf.

    Differentiability: none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jplan.fixed_points import OneStep
      >>> f = lambda p, z: jnp.cos(p["scale"] * z)
      >>> params, key = {"scale": jnp.float32(0.9)}, jax.random.key(0)
      >>> assert_gradients_agree(f, params, 0.0, jnp.sum, key)
      >>> assert_gradients_agree(f, params, 0.0, jnp.sum, key, adjoints=[OneStep()])
      Traceback (most recent call last):
      AssertionError: assert_gradients_agree: OneStep() gives ... along ['scale'], expected ...

    References: Griewank & Walther 2008, "Evaluating derivatives", chapter 15 (fixed points).
    """
    with jax.enable_x64(True):
        params, z0 = jax.tree.map(_double, params), jax.tree.map(_double, z0)
        leaves, structure = jax.tree.flatten(params)
        paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)]
        floating = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
        if not floating:
            raise ValueError(
                f"params: got leaves of dtypes {[str(leaf.dtype) for leaf in leaves]}, expected at "
                "least one of floating point; pass what f is differentiated by as params"
            )

        def loss_at(moved: list[Array], adjoint: AbstractAdjoint) -> tuple[Array, Array]:
            filled = list(leaves)
            for i, leaf in zip(floating, moved, strict=True):
                filled[i] = leaf
            params = jax.tree.unflatten(structure, filled)
            solution = fixed_point(f, params, z0, solver=solver, adjoint=adjoint)
            return loss_fn(solution.value), solution.status

        base = [leaves[i] for i in floating]
        plain = lambda moved: loss_at(moved, Implicit())
        gradients = [
            jax.grad(lambda moved, adjoint=adjoint: loss_at(moved, adjoint)[0])(base)
            for adjoint in adjoints
        ]
        for k, (i, direction_key) in enumerate(
            zip(floating, jax.random.split(key, len(floating)), strict=True)
        ):
            direction = jax.random.normal(direction_key, base[k].shape, jnp.float64)
            direction = direction / jnp.maximum(jnp.linalg.norm(direction.ravel()), 1e-300)
            ends = []
            for sign in (1, -1):
                moved = [
                    leaf + sign * _EPS * direction if j == k else leaf
                    for j, leaf in enumerate(base)
                ]
                loss, status = plain(moved)
                if status != Status.CONVERGED:
                    raise AssertionError(
                        f"assert_gradients_agree: got status {Status(int(status)).name}, expected "
                        "CONVERGED; raise max_steps or tol of the solver, or make f a contraction"
                    )
                ends.append(float(loss))
            expected = (ends[0] - ends[1]) / (2 * _EPS)
            for adjoint, gradient in zip(adjoints, gradients, strict=True):
                got = float(jnp.sum(gradient[k] * direction))
                if not abs(got - expected) <= atol + rtol * abs(expected):
                    where = f" along {paths[i]}" if paths[i] else ""
                    raise AssertionError(
                        f"assert_gradients_agree: {adjoint} gives {got:.9g}{where}, expected "
                        f"{expected:.9g} by finite differences"
                    )


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _double(leaf: Array) -> Array:
    leaf = leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.asarray(leaf))
    return leaf.astype(jnp.float64) if _is_float(leaf) else leaf
