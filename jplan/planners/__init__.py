"""Named planners, each a short assembly of a cell, an engine and a read-out."""

from jplan.planners._conv_gppn import ConvGPPN
from jplan.planners._gppn import GPPN
from jplan.planners._max_plus_vin import MaxPlusVIN
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput
from jplan.planners._reactive_cnn import CNN
from jplan.planners._reactive_fcn import FCN
from jplan.planners._spt import SPT
from jplan.planners._sym_gppn import SymGPPN
from jplan.planners._sym_vin import SymVIN
from jplan.planners._vin import VIN

__all__ = [
    "CNN",
    "FCN",
    "GPPN",
    "SPT",
    "VIN",
    "AbstractMapPlanner",
    "ConvGPPN",
    "MaxPlusVIN",
    "PlannerOutput",
    "SymGPPN",
    "SymVIN",
]
