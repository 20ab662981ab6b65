"""A map with what was planned on it."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jplan._typing import Array
from jplan.viz._axes import axes_or_new, import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Offsets (dy, dx) of N, W, S, E, NW, SW, SE, NE.
_OFFSETS = np.array([(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)])
_WALL, _LOST, _OPEN, _PATH, _GOAL = "#30343B", "#B9BDC4", "#FFFFFF", "#FF6FB0", "#E8481C"
# Size of a new map; the smallest cell that has its own arrow; the size of a block on bigger maps.
_INCHES, _INCHES_PER_CELL, _INCHES_PER_BLOCK = 6.0, 0.09, 0.17


def plot_map(
    free: Array,
    *,
    goal: Any = None,
    start: Any = None,
    value: Array | None = None,
    actions: Array | None = None,
    path: Array | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a map, and on it values, a policy, a path, the start and the goal.

    Walls are dark. Free cells have the colour of their value, and grey where it is not finite. On
    a big map one arrow stands for a block of cells: it is that of the cell nearest to the middle
    that has one.

    Args:
      free: bool [H, W], True where one can stand.
      goal: one cell (y, x), several [N, 2], or a bool map [H, W].
      start: likewise.
      value: [H, W]; ``-inf`` and NaN are unreachable.
      actions: integers [H, W] in the order N, W, S, E, NW, SW, SE, NE; -1 draws none, and walls
        and goals have none.
      path: integers [T, 2], cells (y, x); rows of -1 are skipped, so it may be
        the ``positions`` of a `jplan.mdp.Path`. Between cells that are no neighbours the line
        breaks, as where a path leaves a torus over one edge and comes in at the other.
      title: above the map.
      ax: where to draw; None makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: if shapes or dtypes do not fit each other.
      ImportError: if matplotlib is not installed.

    Differentiability: none.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, greedy_policy, value_iteration
      >>> grid = GridMDP.from_free(jnp.ones((4, 6), bool), goal=(0, 0))
      >>> value = value_iteration(grid).value
      >>> ax = plot_map(
      ...     grid.free, goal=(0, 0), value=value, actions=greedy_policy(grid, value), title="open"
      ... )
      >>> ax.get_title()
      'open'
    """
    is_free = np.asarray(free)
    if is_free.ndim != 2 or is_free.dtype != np.bool_ or is_free.size == 0:
        raise ValueError(
            f"plot_map: got free of shape {is_free.shape} and dtype {is_free.dtype}, expected a "
            "non-empty bool [H, W]; compare it (free > 0.5), and draw one map at a time"
        )
    goals, starts = _as_cells(is_free, goal, "goal"), _as_cells(is_free, start, "start")
    values = None if value is None else _as_field(is_free, value, "value").astype(np.float64)
    moves = None if actions is None else _as_actions(is_free, actions)
    steps = None if path is None else _as_steps(path)

    height, width = is_free.shape
    scale = _INCHES / max(height, width)
    ax = axes_or_new(ax, (max(width * scale, 2.5) + 1, max(height * scale, 1.5) + 0.6))
    _draw_cells(ax, is_free, values)
    _frame(ax, is_free, title)
    if steps is not None:
        _draw_path(ax, steps, 72 * _inches_per_cell(ax, is_free))
    if moves is not None:
        _draw_arrows(ax, is_free, moves, goals)
    _draw_marker(ax, starts, "start", marker="o", s=80, facecolor=_OPEN)
    _draw_marker(ax, goals, "goal", marker="*", s=230, facecolor=_GOAL)
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=len(labels),
            frameon=False,
            handletextpad=0.6,
            columnspacing=1.4,
        )
    return ax


def _as_field(free: np.ndarray, field: Any, name: str) -> np.ndarray:
    values = np.asarray(field)
    if values.shape != free.shape:
        raise ValueError(
            f"plot_map: got {name} of shape {values.shape}, expected {free.shape} as free has"
        )
    return values


def _as_actions(free: np.ndarray, actions: Any) -> np.ndarray:
    moves = _as_field(free, actions, "actions")
    if not np.issubdtype(moves.dtype, np.integer) or moves.min() < -1 or moves.max() > 7:
        raise ValueError(
            f"plot_map: got actions of dtype {moves.dtype} from {moves.min()} to {moves.max()}, "
            "expected integers from -1 to 7; take the argmax of logits"
        )
    return moves


def _as_cells(free: np.ndarray, cells: Any, name: str) -> np.ndarray:
    """The cells as integers [N, 2]."""
    if cells is None:
        return np.zeros((0, 2), int)
    pairs = np.asarray(cells)
    if pairs.dtype == np.bool_:
        return np.argwhere(_as_field(free, pairs, name))
    if not np.issubdtype(pairs.dtype, np.integer) or pairs.shape[-1:] != (2,) or pairs.ndim > 2:
        raise ValueError(
            f"plot_map: got {name} of shape {pairs.shape} and dtype {pairs.dtype}, expected "
            f"integers (y, x) or [N, 2], or a bool map {free.shape}"
        )
    pairs = pairs.reshape(-1, 2)
    if (pairs < 0).any() or (pairs >= free.shape).any():
        raise ValueError(
            f"plot_map: got {name} {pairs.tolist()}, expected (y, x) on a map of {free.shape}; the "
            "row comes first"
        )
    return pairs


def _as_steps(path: Any) -> np.ndarray:
    steps = np.asarray(path)
    if steps.ndim != 2 or steps.shape[1] != 2:
        raise ValueError(
            f"plot_map: got path of shape {steps.shape}, expected cells [T, 2]; pass the "
            "positions of a jplan.mdp.Path"
        )
    return steps[(steps >= 0).all(axis=1)]


def _draw_cells(ax: "Axes", free: np.ndarray, value: np.ndarray | None) -> None:
    from matplotlib.colors import ListedColormap, to_rgb

    base = np.where(free[..., None], to_rgb(_OPEN), to_rgb(_WALL))
    if value is None:
        ax.imshow(base, interpolation="nearest")
        return
    is_lost = free & ~np.isfinite(value)
    base[is_lost] = to_rgb(_LOST)
    ax.imshow(base, interpolation="nearest")
    if is_lost.any():
        empty: list[float] = []
        ax.scatter(empty, empty, s=90, marker="s", facecolor=_LOST, label="unreachable")
    shown = np.ma.masked_where(~free | is_lost, value)
    if shown.count() == 0:
        return
    # Without its darkest third, on which dark arrows and walls would not stand out.
    colours = ListedColormap(import_pyplot().get_cmap("viridis")(np.linspace(0.3, 1, 256)))
    image = ax.imshow(shown, cmap=colours, interpolation="nearest")
    bar = ax.inset_axes((1.02, 0.0, 0.03, 1.0))
    ax.figure.colorbar(image, cax=bar, label="value")


def _frame(ax: "Axes", free: np.ndarray, title: str | None) -> None:
    height, width = free.shape
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(_WALL)
    if title is not None:
        ax.set_title(title)


def _inches_per_cell(ax: "Axes", free: np.ndarray) -> float:
    box, (height, width) = ax.get_window_extent(), free.shape
    return min(box.width / width, box.height / height) / ax.figure.dpi


def _draw_arrows(ax: "Axes", free: np.ndarray, actions: np.ndarray, goals: np.ndarray) -> None:
    inches = _inches_per_cell(ax, free)
    stride = 1 if inches >= _INCHES_PER_CELL else math.ceil(_INCHES_PER_BLOCK / inches)
    has_arrow = free & (actions >= 0)
    has_arrow[goals[:, 0], goals[:, 1]] = False
    cells = _thin(has_arrow, stride)
    if not len(cells):
        return
    offset = _OFFSETS[actions[cells[:, 0], cells[:, 1]]]
    arrow = 0.7 * stride * offset / np.hypot(*offset.T)[:, None]
    ax.quiver(
        cells[:, 1],
        cells[:, 0],
        arrow[:, 1],
        arrow[:, 0],
        angles="xy",
        scale_units="xy",
        scale=1,
        pivot="mid",
        units="xy",
        width=0.09 * stride,
        headwidth=4,
        headlength=4,
        headaxislength=3.5,
        color="#101418",
        zorder=4,
    )


def _thin(mask: np.ndarray, stride: int) -> np.ndarray:
    """In each block of stride x stride the True cell nearest to its middle, [N, 2].

    Cells in the outer half of a block do not count: the arrows of two blocks would touch.
    """
    cells = np.argwhere(mask)
    offset = np.abs(cells % stride - (stride - 1) / 2)
    is_inner = offset.max(axis=1) <= max(stride / 4, 0.5)
    cells, offset = cells[is_inner], offset[is_inner]
    cells = cells[np.argsort(offset.sum(axis=1), kind="stable")]
    _, first = np.unique(cells // stride, axis=0, return_index=True)
    return cells[first]


def _draw_path(ax: "Axes", steps: np.ndarray, points_per_cell: float) -> None:
    from matplotlib.patheffects import Normal, Stroke

    linewidth = min(max(0.3 * points_per_cell, 2.5), 9)
    # On a torus a step may lead over the edge: the line ends there and goes on at the other side.
    is_jump = np.abs(np.diff(steps, axis=0)).max(axis=1, initial=0) > 1
    line = np.insert(steps.astype(float), np.flatnonzero(is_jump) + 1, np.nan, axis=0)
    ax.plot(
        line[:, 1],
        line[:, 0],
        color=_PATH,
        linewidth=linewidth,
        solid_joinstyle="round",
        label="path",
        zorder=3,
        path_effects=[Stroke(linewidth=linewidth + 1.6, foreground=_WALL), Normal()],
    )


def _draw_marker(ax: "Axes", cells: np.ndarray, label: str, **style: Any) -> None:
    if len(cells):
        ax.scatter(
            cells[:, 1],
            cells[:, 0],
            label=label,
            edgecolor="black",
            linewidth=1.1,
            zorder=5,
            clip_on=False,
            **style,
        )
