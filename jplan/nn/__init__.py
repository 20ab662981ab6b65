"""Flax NNX modules: planner cells, mappers and read-outs, parts that can be swapped."""

from jplan.nn._attention import AttentionCell, position_encoding
from jplan.nn._conv_gru import ConvGRUCell
from jplan.nn._conv_model import ConvModel
from jplan.nn._convolution import loop_convolution
from jplan.nn._grid_groups import SteerableKernel, group_action, group_elements
from jplan.nn._latents import InverseDynamics, LatentProjector, StateDecoder, StateEncoder
from jplan.nn._mappers import KernelMapper, RewardMapper
from jplan.nn._max_bellman import BellmanInputs, MaxBellmanCell, TransitionKernel
from jplan.nn._max_plus import (
    FLOOR,
    MaxPlusCell,
    MaxPlusInputs,
    MaxPlusReadout,
    MoveCostMapper,
    MoveCosts,
)
from jplan.nn._mlp_model import MLPModel, PReLUStack
from jplan.nn._motion_model import MotionModel, MotionState
from jplan.nn._observation_mappers import PanoramaMapper, ResidualBlock, WorkspaceMapper
from jplan.nn._path_lstm import PathLSTMCell
from jplan.nn._polar_mapper import PolarMapper
from jplan.nn._policies import ActionHead, ConvPolicy, MLPPolicy
from jplan.nn._regular_bellman import (
    RegularBellmanCell,
    RegularRewardMapper,
    RegularTransitionKernel,
)
from jplan.nn._roadmap import EdgeCostMapper, GraphCell, GraphInputs
from jplan.nn._solve_cell import AbstractCell, solve_cell
from jplan.nn._steerable_costs import SteerableCostMapper, VoxelCostMapper
from jplan.nn._steerable_gru import SteerableGRU
from jplan.nn._trajectory_energy import TrajectoryEnergy
from jplan.nn._world_model import (
    AbstractWorldModel,
    Prediction,
    as_model_fn,
    ensemble_model_fn,
)

__all__ = [
    "FLOOR",
    "AbstractCell",
    "AbstractWorldModel",
    "ActionHead",
    "AttentionCell",
    "BellmanInputs",
    "ConvGRUCell",
    "ConvModel",
    "ConvPolicy",
    "EdgeCostMapper",
    "GraphCell",
    "GraphInputs",
    "InverseDynamics",
    "KernelMapper",
    "LatentProjector",
    "MLPModel",
    "MLPPolicy",
    "MaxBellmanCell",
    "MaxPlusCell",
    "MaxPlusInputs",
    "MaxPlusReadout",
    "MotionModel",
    "MotionState",
    "MoveCostMapper",
    "MoveCosts",
    "PReLUStack",
    "PanoramaMapper",
    "PathLSTMCell",
    "PolarMapper",
    "Prediction",
    "RegularBellmanCell",
    "RegularRewardMapper",
    "RegularTransitionKernel",
    "ResidualBlock",
    "RewardMapper",
    "StateDecoder",
    "StateEncoder",
    "SteerableCostMapper",
    "SteerableGRU",
    "SteerableKernel",
    "TrajectoryEnergy",
    "TransitionKernel",
    "VoxelCostMapper",
    "WorkspaceMapper",
    "as_model_fn",
    "ensemble_model_fn",
    "group_action",
    "group_elements",
    "loop_convolution",
    "position_encoding",
    "solve_cell",
]
