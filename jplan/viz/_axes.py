"""What all figures share: the late import, new axes, line styles."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, "Color universal design"; told apart with every common colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")


def import_pyplot() -> Any:
    """``matplotlib.pyplot``, or ImportError that says what to install."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "jplan.viz draws with matplotlib: install it with pip install 'jplan[experiments]'"
        ) from error
    return pyplot


def axes_or_new(ax: "Axes | None", figsize: tuple[float, float]) -> "Axes":
    """``ax``, or the axes of a new figure of this size in inches."""
    pyplot = import_pyplot()
    return pyplot.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def line_styles() -> Iterator[dict[str, Any]]:
    """Another colour and another dash for each line, so that lines on top of each other show."""
    pairs = zip(itertools.cycle(_COLOURS), itertools.cycle(_DASHES), strict=False)
    return ({"color": colour, "linestyle": dash} for colour, dash in pairs)


def finish_curves(ax: "Axes", xlabel: str, ylabel: str) -> None:
    """Labels, a faint grid, and a legend if a line has a name."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False)
