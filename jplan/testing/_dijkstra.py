"""Shortest paths on a grid the plain way, to check others against."""

import heapq
import itertools
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
      free: bool [H, W], or [D, H, W] with six moves; True where one can stand.
      goal: one cell (y, x), several [N, 2], or a bool map [H, W]; a goal in a wall is none.
      moves: 4 or 8, or 6 in three dimensions.
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
    dims = 3 if moves == 6 else 2
    if is_free.ndim != dims or is_free.dtype != np.bool_:
        raise ValueError(
            f"dijkstra_distances: got free of shape {is_free.shape} and dtype {is_free.dtype}, "
            f"expected bool {'[D, H, W]' if dims == 3 else '[H, W]'} for {moves} moves; compare it "
            "(free > 0.5), and pass one map at a time"
        )
    if moves not in (4, 6, 8) or costs not in ("octile", "unit"):
        raise ValueError(
            f"dijkstra_distances: got moves {moves} and costs {costs!r}, expected 4, 6 or 8, and "
            "'octile' or 'unit'"
        )
    goals = np.asarray(goal)
    goals = np.argwhere(goals) if goals.dtype == np.bool_ else goals.reshape(-1, dims)
    shape = is_free.shape
    if (goals < 0).any() or (goals >= shape).any():
        raise ValueError(
            f"dijkstra_distances: got goal {goals.tolist()}, expected cells, row before column, on "
            f"a map of {' x '.join(map(str, shape))}"
        )
    distance = np.full(is_free.shape, np.inf)
    queue = [(0.0, tuple(int(i) for i in cell)) for cell in goals if is_free[tuple(cell)]]
    steps = [step for step in itertools.product((-1, 0, 1), repeat=dims) if any(step)]
    steps = [step for step in steps if moves == 8 or sum(map(abs, step)) == 1]
    while queue:
        here, cell = heapq.heappop(queue)
        if here >= distance[cell]:
            continue
        distance[cell] = here
        for step in steps:
            there = tuple(i + d for i, d in zip(cell, step, strict=True))
            if wrap:
                there = tuple(i % n for i, n in zip(there, shape, strict=True))
            if not all(0 <= i < n for i, n in zip(there, shape, strict=True)) or not is_free[there]:
                continue
            is_diagonal = sum(map(abs, step)) == 2
            if is_diagonal and not corner_cutting:
                (y, x), (v, u) = cell, there
                if not (is_free[v, x] and is_free[y, u]):
                    continue
            length = math.sqrt(2) if is_diagonal and costs == "octile" else 1.0
            heapq.heappush(queue, (here + length, there))
    return distance
