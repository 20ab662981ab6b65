"""Figures to files."""

import os
import pathlib
from typing import TYPE_CHECKING

from jplan.viz._axes import import_pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> pathlib.Path:
    """Write a figure as a PNG and close it.

    Needs no display. The file depends on the figure alone, not on the time.

    Args:
      figure: what ``ax.figure`` gives.
      path: ends in ``.png``; missing folders are created.

    Returns:
      The path.

    Raises:
      ValueError: if the path does not end in ``.png``.
      ImportError: if matplotlib is not installed.

    Differentiability: none.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> from jplan.viz import plot_map
      >>> ax = plot_map(np.ones((3, 3), bool))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_figure(ax.figure, f"{folder}/maps/open.png").name
      'open.png'
    """
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"save_figure: got {path.name!r}, expected a name that ends in .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    import_pyplot().close(figure)
    return path
