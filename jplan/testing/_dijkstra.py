"""Shortest paths on a grid the plain way, to check others against."""

import heapq
import math
from typing import Any, Literal

import numpy as np

from jplan._typing import Array


def dijkstra_distances(
    free: Array,
    goal: Any,
    *,
    moves: int,
    corner_cutting: bool,
    costs: Literal["octile", "unit"] = "octile",
    wrap: bool = False,
) -> np.ndarray:
    """Length of the shortest path from each cell to the nearest goal, by Dijkstra's algorithm.

    d(goal) = 0,  d(s) = min_a [length(a) + d(s + a)]

    It runs on the host and shares no code with `jplan.mdp`, so that one can be tested by the
    other. The moves have no default for the same reason: say which task you mean.

    Args:
      free: bool [H, W], True where one can stand.
      goal: one cell (y, x), several [N, 2], or a bool map [H, W]; a goal in a wall is none.
      moves: 4 or 8.
      corner_cutting: False allows a diagonal move only if both cells beside it are free.
      costs: "octile" gives diagonal moves the length sqrt(2), "unit" the length 1.
      wrap: the map is a torus.

    Returns:
      float64 [H, W] on the host; ``inf`` at walls and where no goal can be reached.

    Raises:
      ValueError: if a shape or an option does not fit, or a goal is off the map.

    Differentiability: none.

    Example:
      >>> free = np.array([[True, True], [False, True]])
      >>> dijkstra_distances(free, (0, 0), moves=8, corner_cutting=False)
      array([[ 0.,  1.],
             [inf,  2.]])

    References: Dijkstra 1959, "A note on two problems in connexion with graphs", problem 2.
    """
    is_free = np.asarray(free)
    if is_free.ndim != 2 or is_free.dtype != np.bool_:
        raise ValueError(
            f"dijkstra_distances: got free of shape {is_free.shape} and dtype {is_free.dtype}, "
            "expected bool [H, W]; compare it (free > 0.5), and pass one map at a time"
        )
    if moves not in (4, 8) or costs not in ("octile", "unit"):
        raise ValueError(
            f"dijkstra_distances: got moves {moves} and costs {costs!r}, expected 4 or 8, and "
            "'octile' or 'unit'"
        )
    goals = np.asarray(goal)
    goals = np.argwhere(goals) if goals.dtype == np.bool_ else goals.reshape(-1, 2)
    height, width = is_free.shape
    if (goals < 0).any() or (goals >= (height, width)).any():
        raise ValueError(
            f"dijkstra_distances: got goal {goals.tolist()}, expected (y, x) on a map of "
            f"{height} x {width}"
        )
    distance = np.full(is_free.shape, np.inf)
    queue = [(0.0, int(y), int(x)) for y, x in goals if is_free[y, x]]
    while queue:
        here, y, x = heapq.heappop(queue)
        if here >= distance[y, x]:
            continue
        distance[y, x] = here
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                is_diagonal = dy != 0 and dx != 0
                if (dy == dx == 0) or (is_diagonal and moves == 4):
                    continue
                v, u = y + dy, x + dx
                if wrap:
                    v, u = v % height, u % width
                if not (0 <= v < height and 0 <= u < width and is_free[v, u]):
                    continue
                beside = is_free[v, x] and is_free[y, u]
                if is_diagonal and not corner_cutting and not beside:
                    continue
                length = math.sqrt(2) if is_diagonal and costs == "octile" else 1.0
                heapq.heappush(queue, (here + length, v, u))
    return distance
