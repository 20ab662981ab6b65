"""How a solve converged."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jplan._typing import Array
from jplan.viz._axes import axes_or_new, finish_curves, line_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_residuals(
    history: Array | Mapping[str, Array], *, tol: float | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw the residual of each step of one or several solves, on a logarithmic scale.

    A dot marks where a solve ended. Residuals of exactly 0 have no place on the scale and are left
    out.

    Args:
      history: ``Solution.history`` [K], NaN after the last step; or several by label.
      tol: tolerance, drawn as a line.
      ax: where to draw; None makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: if a history is None or no vector.
      ImportError: if matplotlib is not installed.

    Differentiability: none.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.fixed_points import fixed_point
      >>> halve = lambda p, z: 0.5 * z + p
      >>> solution = fixed_point(halve, jnp.ones(3), jnp.zeros(3), history=True)
      >>> plot_residuals(solution.history, tol=1e-5).get_yscale()
      'log'
    """
    histories = history if isinstance(history, Mapping) else {"": history}
    checked = {label: _check(label, values) for label, values in histories.items()}
    ax = axes_or_new(ax, (6, 3.8))
    from matplotlib.ticker import MaxNLocator

    for (label, residual), style in zip(checked.items(), line_styles(), strict=False):
        drawn = np.flatnonzero(np.isfinite(residual) & (residual > 0))
        ax.plot(drawn, residual[drawn], label=label or None, linewidth=1.6, **style)
        ax.plot(drawn[-1:], residual[drawn[-1:]], "o", color=style["color"], markersize=5)
    if tol is not None:
        ax.axhline(tol, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label=f"tol = {tol:.1g}")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish_curves(ax, "step", "residual")
    return ax


def _check(label: str, history: Array) -> np.ndarray:
    if history is None:
        raise ValueError(
            f"plot_residuals: got None{f' for {label!r}' if label else ''}, expected residuals "
            "[K]; solve with fixed_point(..., history=True)"
        )
    residual = np.asarray(history, np.float64)
    if residual.ndim != 1:
        raise ValueError(
            f"plot_residuals: got shape {residual.shape}{f' for {label!r}' if label else ''}, "
            "expected one solve [K]; for a batch pass a dict of its rows by label"
        )
    return residual
