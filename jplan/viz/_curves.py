"""How training runs went."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jplan.viz._axes import axes_or_new, finish_curves, line_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curves(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    metric: str,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a metric against the training step, thin for each seed and thick for their mean.

    The mean is drawn at the steps that all seeds have, and breaks where one of them is not finite:
    a diverged run shows, it is not averaged away.

    Args:
      runs: for each label one list of rows for each seed; rows as `jplan.training.fit` returns
        them, with "step" and the metric.
      metric: name of the metric.
      ax: where to draw; None makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: if a label has no runs, or a row lacks the step or the metric.
      ImportError: if matplotlib is not installed.

    Differentiability: none.

    Example:
      >>> seed = lambda k: [{"step": 1, "loss": 2.0 + k}, {"step": 2, "loss": 1.0 + k}]
      >>> ax = plot_curves({"VIN": [seed(0), seed(1)]}, "loss")
      >>> ax.get_lines()[-1].get_ydata().tolist()
      [2.5, 1.5]
    """
    curves = {
        label: [_curve(label, rows, metric) for rows in seeds] for label, seeds in runs.items()
    }
    for label, seeds in curves.items():
        if not seeds:
            raise ValueError(f"plot_curves: got no runs for {label!r}, expected at least one seed")
    ax = axes_or_new(ax, (6, 3.8))
    for (label, seeds), style in zip(curves.items(), line_styles(), strict=False):
        if len(seeds) > 1:
            for curve in seeds:
                ax.plot(list(curve), list(curve.values()), linewidth=0.8, alpha=0.45, **style)
        shared = sorted(set.intersection(*map(set, seeds)))
        with np.errstate(invalid="ignore"):
            mean = [np.mean([curve[step] for curve in seeds]) for step in shared]
        ax.plot(shared, mean, linewidth=2.2, label=label, **style)
    finish_curves(ax, "step", metric)
    return ax


def _curve(label: str, rows: Sequence[Mapping[str, float]], metric: str) -> dict[float, float]:
    for row in rows:
        if "step" not in row or metric not in row:
            raise ValueError(
                f"plot_curves: got a row of {label!r} with {sorted(row)}, expected 'step' and "
                f"{metric!r}"
            )
    return {row["step"]: float(row[metric]) for row in rows}
