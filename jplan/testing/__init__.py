"""Assertions and an oracle for those who write planners.

Each assertion raises ``AssertionError`` with what was got and what was expected; none depends on
pytest.
"""

from jplan.testing._dijkstra import dijkstra_distances
from jplan.testing._equivariance import assert_equivariant, assert_grid_equivariant
from jplan.testing._gradients import assert_gradients_agree
from jplan.testing._operators import assert_contraction, assert_monotone

__all__ = [
    "assert_contraction",
    "assert_equivariant",
    "assert_gradients_agree",
    "assert_grid_equivariant",
    "assert_monotone",
    "dijkstra_distances",
]
