"""How a fixed point is differentiated, as an argument of the solve."""

import abc
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import FixedPointFn, Params, PyTree
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._checks import check_solver
from jplan.fixed_points._implicit import BACKWARD_KINDS, Backward, attach, attach_tangent
from jplan.fixed_points._iterate import Solver, picard_tail, solve, step_budget, unroll
from jplan.fixed_points._solution import Solution, Status


class AbstractAdjoint(abc.ABC):
    """A way to differentiate a solve; each subclass is final."""

    @abc.abstractmethod
    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """Solve, and attach this kind of gradient to the value."""


@struct.dataclass(kw_only=True)
class Unroll(AbstractAdjoint):
    """Differentiate every step of the solve.

    Exact for the value that is returned, converged or not; time and memory grow with
    ``max_steps``. Forward mode and derivatives of any order work.

    Args:
      checkpoint: static; recompute each step in the backward pass instead of storing its
        intermediate values.

    Example:
      >>> Unroll(checkpoint=True).checkpoint
      True
    """

    checkpoint: bool = struct.field(pytree_node=False, default=False)

    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """See `AbstractAdjoint.run`."""
        return unroll(
            f,
            params,
            z0,
            solver=solver,
            num_steps=num_steps,
            history=history,
            checkpoint=self.checkpoint,
        )


@struct.dataclass
class Truncated(AbstractAdjoint):
    """Differentiate the last ``steps`` steps only.

    The solver runs without gradients for ``max_steps - steps`` steps at most, then ``steps`` plain
    Picard steps are differentiated. The backward cost is constant in ``max_steps``, and the
    gradient is a true one, of the last steps, even where the solve has not converged; in forward
    mode too.

    Args:
      steps: static number of differentiated steps; they count in ``max_steps``.

    Example:
      >>> Truncated(15).steps
      15

    References:
      Shaban et al., Truncated back-propagation for bilevel optimization, 2019, section 3.
    """

    steps: int = struct.field(pytree_node=False, default=15)

    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """See `AbstractAdjoint.run`."""
        steps, budget, start, first = _solve_head(
            f, params, z0, self.steps, solver=solver, num_steps=num_steps, history=history
        )
        return picard_tail(f, params, start, first, solver=solver, steps=steps, budget=budget)


@struct.dataclass
class OneStep(AbstractAdjoint):
    """Differentiate one step at the solution: the cheapest gradient, and a biased one.

    Example:
      >>> OneStep()
      OneStep()

    References:
      Fung et al., JFB: Jacobian-free backpropagation for implicit networks, 2022.
      Bolte, Pauwels and Vaiter, One-step differentiation of iterative algorithms, 2023.
    """

    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """See `AbstractAdjoint.run`."""
        return Truncated(1).run(f, params, z0, solver=solver, num_steps=num_steps, history=history)


@struct.dataclass(kw_only=True)
class Implicit(AbstractAdjoint):
    """Differentiate the fixed-point equation, not the steps that led there.

    ``dz/dparams = (I - df/dz)^{-1} df/dparams`` by one linear solve; memory and time do not depend
    on the forward steps. The gradient is right only at a fixed point: of an iterate that has not
    converged it is wrong without a sign of it, so look at ``Solution.status`` or use
    `Safeguarded`. Where the backward solve diverges the gradient is NaN.

    Args:
      backward: solver of the linear system: `Picard` (the Neumann series), `Anderson`,
        `Broyden` or `GMRES`, each with its own tolerance and budget.
      mode: static; "reverse" (``custom_vjp``, reverse mode of any order) or "forward"
        (``custom_jvp`` with a transposable linear solve: jvp, hessian and reverse mode; the solve
        then runs on ``df/dz`` and its transpose).

    Example:
      >>> Implicit(mode="forward").mode
      'forward'

    References:
      Bai, Kolter and Koltun, Deep equilibrium models, 2019, theorem 1.
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 4.
    """

    backward: Backward = dataclasses.field(default_factory=Anderson)
    mode: Literal["reverse", "forward"] = struct.field(pytree_node=False, default="reverse")

    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """See `AbstractAdjoint.run`."""
        check_solver(self.backward, BACKWARD_KINDS, "backward")
        if self.mode not in ("reverse", "forward"):
            raise ValueError(f"mode is {self.mode!r}, expected 'reverse' or 'forward'.")
        solution, _ = solve(f, params, z0, solver=solver, num_steps=num_steps, history=history)
        if self.mode == "forward":
            value = attach_tangent(f, params, solution.value, self.backward)
        else:
            value = attach(f, False, params, solution.value, self.backward, jnp.ones((), bool))
        return dataclasses.replace(solution, value=value)


@struct.dataclass
class Safeguarded(AbstractAdjoint):
    """Implicit gradients where the theorem holds, truncated ones where it does not.

    The last ``steps`` steps are differentiated as in `Truncated`. What reaches the start of that
    window is continued by the implicit adjoint, but only for a problem whose forward solve
    converged and whose backward solve did not diverge. So a converged problem gets the whole
    gradient, any other one the true gradient of its last steps, each sample of a batch for itself,
    at a cost that is constant in ``max_steps``.

    Args:
      steps: static number of differentiated steps; they count in ``max_steps``.
      backward: solver of the linear system that continues the gradient.

    Example:
      >>> Safeguarded(10).steps
      10
    """

    steps: int = struct.field(pytree_node=False, default=15)
    backward: Backward = dataclasses.field(default_factory=lambda: Anderson(max_steps=30))

    def run(
        self,
        f: FixedPointFn,
        params: Params,
        z0: PyTree,
        *,
        solver: Solver,
        num_steps: Any,
        history: bool,
    ) -> Solution:
        """See `AbstractAdjoint.run`."""
        check_solver(self.backward, BACKWARD_KINDS, "backward")
        steps, budget, start, first = _solve_head(
            f, params, z0, self.steps, solver=solver, num_steps=num_steps, history=history
        )
        trust = start.status == Status.CONVERGED
        value = attach(f, True, params, start.value, self.backward, trust)
        start = dataclasses.replace(start, value=value)
        return picard_tail(f, params, start, first, solver=solver, steps=steps, budget=budget)


def _solve_head(
    f: FixedPointFn,
    params: Params,
    z0: PyTree,
    steps: int,
    *,
    solver: Solver,
    num_steps: Any,
    history: bool,
) -> tuple[int, jax.Array, Solution, jax.Array]:
    """Solve without gradients, leaving ``steps`` of the budget for a differentiated tail."""
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1 differentiated step.")
    budget = step_budget(solver, num_steps)
    head = jnp.maximum(budget - steps, 0)
    start, first = solve(
        f, params, z0, solver=solver, num_steps=head, history=history, keep_best=False
    )
    return min(steps, solver.max_steps), budget, start, first
