"""Named planners, each a short assembly of a cell, an engine and a read-out."""

from jplan.planners._conv_gppn import ConvGPPN
from jplan.planners._max_plus_vin import MaxPlusVIN
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput

__all__ = ["AbstractMapPlanner", "ConvGPPN", "MaxPlusVIN", "PlannerOutput"]
