"""Engine 2: refine points by descent on an objective, many at once, and keep the best.

The objective, the optimiser, the projection and the way in which the result is differentiated are
independent choices. Action spaces say what a planner may descend on, models what follows from it.
"""

from jplan.descent._action_spaces import AbstractActionSpace, Box, Product, Simplex
from jplan.descent._gradient_step import GradientStep
from jplan.descent._refine import AcceptFn, Gradient, Refinement, refine, refine_candidates
from jplan.descent._rollout import Rollout, rollout
from jplan.descent._select import Selection, select, select_soft, select_top, shift_plan

__all__ = [
    "AbstractActionSpace",
    "AcceptFn",
    "Box",
    "Gradient",
    "GradientStep",
    "Product",
    "Refinement",
    "Rollout",
    "Selection",
    "Simplex",
    "refine",
    "refine_candidates",
    "rollout",
    "select",
    "select_soft",
    "select_top",
    "shift_plan",
]
