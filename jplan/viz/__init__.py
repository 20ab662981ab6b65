"""Figures of maps, values, plans and training runs.

Functions take arrays and an optional matplotlib ``Axes``, draw, and return the ``Axes``. matplotlib
is imported when the first figure is drawn.
"""

from jplan.viz._curves import plot_curves
from jplan.viz._map import plot_map
from jplan.viz._residuals import plot_residuals
from jplan.viz._save import save_figure

__all__ = ["plot_curves", "plot_map", "plot_residuals", "save_figure"]
