"""What a solve returns, and how its failure is reported."""

import enum

import numpy as np
from flax import struct
from jax.core import Tracer

from jplan._typing import Array, PyTree


class Status(enum.IntEnum):
    """Why a solve ended; `Solution.status` holds these numbers.

    * ``CONVERGED``: the residual met the tolerance.
    * ``MAX_STEPS``: the budget was used up first. The value is usable, the implicit function
      theorem is not.
    * ``DIVERGED``: values stopped being finite, or the last residual is larger than the first.

    Example:
      >>> Status.CONVERGED == 0
      True
    """

    CONVERGED = 0
    MAX_STEPS = 1
    DIVERGED = 2


_ADVICE = {
    Status.MAX_STEPS: (
        "the step budget was used up before the tolerance was met; raise max_steps, loosen tol, "
        "or pick a faster solver (Anderson). If the residual no longer falls, f may not be a "
        "contraction: lower the solver's damping or bound f"
    ),
    Status.DIVERGED: (
        "values stopped being finite or the residual grew; check the inputs for NaN, lower the "
        "solver's damping, or make f a contraction (a discount below 1, a bounded kernel)"
    ),
}


@struct.dataclass
class Solution:
    """Result of a solve; a pytree, so it passes through jit and vmap.

    Attributes:
      value: the fixed point, same structure as ``z0``.
      residual: [], largest ``|f(z) - z| / (w_a + w_r |z|)`` with the weights
        ``(atol, rtol) / max(atol, rtol)``, so that it compares with the tolerance. It belongs to
        ``value``; where the last iterate is returned (``Unroll``, ``Truncated``,
        ``Safeguarded``) it is the size of the step that produced it.
      num_steps: [] int32, evaluations of ``f``.
      status: [] int32, a `Status`.
      history: [max_steps] residual before each step, NaN after the last; None unless asked for.
    """

    value: PyTree
    residual: Array
    num_steps: Array
    status: Array
    history: Array | None = None


class FixedPointError(RuntimeError):
    """Raised on the host by `raise_on_failure`."""


def raise_on_failure(solution: Solution) -> Solution:
    """Return ``solution`` if every solve in it converged, and raise with advice otherwise.

    Traced code cannot raise, so a solve reports a status; call this on the host, on a concrete
    result, to turn the status into an exception.

    Args:
      solution: result of a solve; its leaves may have leading batch axes.

    Returns:
      The same solution.

    Raises:
      FixedPointError: if a status is not CONVERGED; the message says how many failed, the worst
        residual and what to do.
      ValueError: if called on traced values.

    Example:
      >>> import jax.numpy as jnp
      >>> import jplan as jp
      >>> halve = lambda p, z: 0.5 * z + p
      >>> solution = jp.fixed_point(halve, jnp.ones(3), jnp.zeros(3))
      >>> jp.raise_on_failure(solution).value.round(3)
      Array([2., 2., 2.], dtype=float32)
    """
    if isinstance(solution.status, Tracer):
        raise ValueError(
            "raise_on_failure got traced values, expected concrete ones; call it outside jit and "
            "vmap, on the returned solution."
        )
    status = np.atleast_1d(np.asarray(solution.status))
    residual = np.atleast_1d(np.asarray(solution.residual, np.float64))
    for code in (Status.DIVERGED, Status.MAX_STEPS):
        failed = status == code
        if failed.any():
            raise FixedPointError(
                f"{int(failed.sum())} of {failed.size} solves ended with {code.name} "
                f"(largest residual {residual[failed].max():.3g}): {_ADVICE[code]}."
            )
    return solution
