"""Differentiable planning in JAX: planners that are pure functions and can be trained through.

One engine solves ``z = f(params, z)`` with a solver and an adjoint of your choice; exact planning
and learned planners are functions handed to it. The other refines plans by descent on an objective.
"""

from jplan import descent, envs, fixed_points, mdp, nn, planners, relax, testing, training, viz
from jplan.descent import Box, Product, Simplex, refine
from jplan.fixed_points import (
    GMRES,
    Anderson,
    Broyden,
    Implicit,
    OneStep,
    Picard,
    Safeguarded,
    Solution,
    Status,
    Truncated,
    Unroll,
    fixed_point,
    fixed_point_vjp,
    implicit_at,
    raise_on_failure,
)
from jplan.planners import gradient_plan, planning_as_descent

__version__ = "0.1.0"

__all__ = [
    "GMRES",
    "Anderson",
    "Box",
    "Broyden",
    "Implicit",
    "OneStep",
    "Picard",
    "Product",
    "Safeguarded",
    "Simplex",
    "Solution",
    "Status",
    "Truncated",
    "Unroll",
    "descent",
    "envs",
    "fixed_point",
    "fixed_point_vjp",
    "fixed_points",
    "gradient_plan",
    "implicit_at",
    "mdp",
    "nn",
    "planners",
    "planning_as_descent",
    "raise_on_failure",
    "refine",
    "relax",
    "testing",
    "training",
    "viz",
]
