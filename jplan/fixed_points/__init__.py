"""Engine 1: solve ``z = f(params, z)``, and choose how the solution is differentiated.

The problem ``f``, the solver and the adjoint are independent choices, and so is the solver of the
backward pass. A solver file holds only its own mathematics; the loop, the residual and the status
are in one driver.
"""

from jplan.fixed_points._adjoints import (
    AbstractAdjoint,
    Implicit,
    OneStep,
    Safeguarded,
    Truncated,
    Unroll,
)
from jplan.fixed_points._anderson import Anderson
from jplan.fixed_points._broyden import Broyden
from jplan.fixed_points._diagnostics import (
    GradientReport,
    gradient_report,
    jacobian_penalty,
    spectral_radius,
)
from jplan.fixed_points._driver import fixed_point
from jplan.fixed_points._implicit import Backward, fixed_point_vjp, implicit_at
from jplan.fixed_points._iterate import Solver
from jplan.fixed_points._linear import GMRES
from jplan.fixed_points._picard import Picard
from jplan.fixed_points._solution import FixedPointError, Solution, Status, raise_on_failure

__all__ = [
    "GMRES",
    "AbstractAdjoint",
    "Anderson",
    "Backward",
    "Broyden",
    "FixedPointError",
    "GradientReport",
    "Implicit",
    "OneStep",
    "Picard",
    "Safeguarded",
    "Solution",
    "Solver",
    "Status",
    "Truncated",
    "Unroll",
    "fixed_point",
    "fixed_point_vjp",
    "gradient_report",
    "implicit_at",
    "jacobian_penalty",
    "raise_on_failure",
    "spectral_radius",
]
