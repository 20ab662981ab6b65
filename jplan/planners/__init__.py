"""Named planners, each a short assembly of a cell, an engine and a read-out."""

from jplan.planners._conv_gppn import ConvGPPN
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput

__all__ = ["AbstractMapPlanner", "ConvGPPN", "PlannerOutput"]
