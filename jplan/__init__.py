"""Differentiable planning in JAX: planners that are pure functions and can be trained through."""

from jplan import envs, fixed_points, mdp, nn, planners, relax, training
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

__version__ = "0.1.0"
