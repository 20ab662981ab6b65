"""Flax NNX modules: planner cells, mappers and read-outs, parts that can be swapped."""

from jplan.nn._conv_gru import ConvGRUCell
from jplan.nn._convolution import loop_convolution
from jplan.nn._max_plus import (
    FLOOR,
    MaxPlusCell,
    MaxPlusInputs,
    MaxPlusReadout,
    MoveCostMapper,
    MoveCosts,
)
from jplan.nn._solve_cell import solve_cell

__all__ = [
    "FLOOR",
    "ConvGRUCell",
    "MaxPlusCell",
    "MaxPlusInputs",
    "MaxPlusReadout",
    "MoveCostMapper",
    "MoveCosts",
    "loop_convolution",
    "solve_cell",
]
