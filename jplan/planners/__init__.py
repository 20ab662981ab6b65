"""Named planners, each a short assembly of a cell, an engine and a read-out."""

from jplan.planners._conv_gppn import ConvGPPN
from jplan.planners._descent_planner import DescentEnergy, DescentPlanner
from jplan.planners._forward_search import SearchValues, forward_search
from jplan.planners._gppn import GPPN
from jplan.planners._gradient_plan import gradient_plan
from jplan.planners._ilqr_plan import ilqr_plan
from jplan.planners._lifted_plan import lifted_plan
from jplan.planners._mapped_planner import MappedPlanner
from jplan.planners._max_plus_vin import MaxPlusVIN
from jplan.planners._mcts_plan import mcts_plan
from jplan.planners._plan import Plan, PlanStatus
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput
from jplan.planners._planning_as_descent import LatentPlan, planning_as_descent
from jplan.planners._policy_plan import policy_plan
from jplan.planners._pursue import Pursuit, extend_past, first_past, pursue
from jplan.planners._reactive_cnn import CNN
from jplan.planners._reactive_fcn import FCN
from jplan.planners._receding_horizon import Episode, PlanFn, receding_horizon
from jplan.planners._roadmap_vin import RoadmapVIN
from jplan.planners._sampling_plans import cem_plan, mppi_plan
from jplan.planners._spt import SPT
from jplan.planners._sym_gppn import SymGPPN
from jplan.planners._sym_max_plus_vin import SymMaxPlusVIN
from jplan.planners._sym_vin import SymVIN
from jplan.planners._vin import VIN
from jplan.planners._voxel_vin import VoxelVIN

__all__ = [
    "CNN",
    "FCN",
    "GPPN",
    "SPT",
    "VIN",
    "AbstractMapPlanner",
    "ConvGPPN",
    "DescentEnergy",
    "DescentPlanner",
    "Episode",
    "LatentPlan",
    "MappedPlanner",
    "MaxPlusVIN",
    "Plan",
    "PlanFn",
    "PlanStatus",
    "PlannerOutput",
    "Pursuit",
    "RoadmapVIN",
    "SearchValues",
    "SymGPPN",
    "SymMaxPlusVIN",
    "SymVIN",
    "VoxelVIN",
    "cem_plan",
    "extend_past",
    "first_past",
    "forward_search",
    "gradient_plan",
    "ilqr_plan",
    "lifted_plan",
    "mcts_plan",
    "mppi_plan",
    "planning_as_descent",
    "policy_plan",
    "pursue",
    "receding_horizon",
]
