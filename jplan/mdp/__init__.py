"""Planning problems, Bellman operators, exact solvers and measures of plans.

A problem is data (`TabularMDP`, `GridMDP`); operators are pure functions of a problem and a value
function; solvers hand an operator to the fixed-point engine. All take one problem, so use
``jax.vmap`` for many (on CPU ``jax.lax.map`` is the faster way to solve many large grids).
"""

from jplan.mdp._bellman import (
    action_values,
    evaluation_backup,
    max_plus_backup,
    optimality_backup,
    soft_backup,
    sparse_backup,
)
from jplan.mdp._bounds import value_bounds
from jplan.mdp._contract import MDP
from jplan.mdp._graph import GraphMDP
from jplan.mdp._grid import MOVES, VOXEL_MOVES, GridMDP, reachable
from jplan.mdp._measures import PlanMeasures, plan_measures
from jplan.mdp._occupancy import maxent_irl_loss, occupancy_measure
from jplan.mdp._paths import Path, extract_path
from jplan.mdp._policies import greedy_policy, optimal_actions, soft_policy, sparse_policy
from jplan.mdp._solvers import (
    evaluate_policy,
    modified_policy_iteration,
    policy_iteration,
    soft_value_iteration,
    sparse_value_iteration,
    value_iteration,
)
from jplan.mdp._tabular import TabularMDP

__all__ = [
    "MDP",
    "MOVES",
    "VOXEL_MOVES",
    "GraphMDP",
    "GridMDP",
    "Path",
    "PlanMeasures",
    "TabularMDP",
    "action_values",
    "evaluate_policy",
    "evaluation_backup",
    "extract_path",
    "greedy_policy",
    "max_plus_backup",
    "maxent_irl_loss",
    "modified_policy_iteration",
    "occupancy_measure",
    "optimal_actions",
    "optimality_backup",
    "plan_measures",
    "policy_iteration",
    "reachable",
    "soft_backup",
    "soft_policy",
    "soft_value_iteration",
    "sparse_backup",
    "sparse_policy",
    "sparse_value_iteration",
    "value_bounds",
    "value_iteration",
]
