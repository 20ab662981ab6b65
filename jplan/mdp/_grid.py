"""Shortest paths on grid maps as a Markov decision process."""

import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array, Scalar
from jplan.mdp._tabular import check_discount

MOVES = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1))
"""Offsets (dy, dx) of the actions N, W, S, E, NW, SW, SE, NE."""

VOXEL_MOVES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
"""Offsets (dz, dy, dx) of the six actions in three dimensions, back and forth along each axis."""


@struct.dataclass(kw_only=True)
class GridMDP:
    """Deterministic moves on a map with walls, towards the nearest of its goals.

    Q(y, x, a) = -cell_cost(y, x) * length(a) + discount * V(y + dy, x + dx)

    With six moves the map has three dimensions: read [D, H, W] for [H, W] and (z, y, x) for (y, x).

    A move costs its length, 1 or sqrt(2), times the cost of the cell that it *leaves*; so the
    goal's own cost never counts, and with ``cell_cost=None`` minus the value is the length of the
    shortest path. Goals have value 0. Walls, and cells from which no goal can be reached, have the
    value ``-inf``; `reachable` masks them. A goal inside a wall is no goal.

    Build it with `GridMDP.from_free`.

    Attributes:
      free: bool [H, W], True where one can stand.
      goal: bool [H, W], True at the goals.
      cell_cost: [H, W], positive and finite, cost per unit length; None for 1 everywhere.
      discount: scalar in (0, 1]; a leaf.
      moves: static; 4 (N, W, S, E), 8 (then NW, SW, SE, NE), or 6 in three dimensions, back and
        forth along z, y and x.
      corner_cutting: static; False allows a diagonal move only if both cells beside it are free
        (the MovingAI rule), True whenever its target is free.
      costs: static; "octile" gives diagonal moves the length sqrt(2), "unit" the length 1.
      wrap: static; the map is a torus, and a move over one edge comes in at the opposite one.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP
      >>> grid = GridMDP.from_free(jnp.ones((2, 3), bool), goal=(0, 0))
      >>> grid.action_values(jnp.zeros((2, 3)))[1, 1].round(3)
      Array([-1.   , -1.   ,   -inf, -1.   , -1.414,   -inf,   -inf, -1.414],      dtype=float32)
    """

    free: Array
    goal: Array
    cell_cost: Array | None = None
    discount: Scalar = 1.0
    moves: int = struct.field(pytree_node=False, default=8)
    corner_cutting: bool = struct.field(pytree_node=False, default=False)
    costs: Literal["octile", "unit"] = struct.field(pytree_node=False, default="octile")
    wrap: bool = struct.field(pytree_node=False, default=False)

    @classmethod
    def from_free(
        cls,
        free: Array,
        goal: Any,
        *,
        moves: int = 8,
        corner_cutting: bool = False,
        costs: Literal["octile", "unit"] = "octile",
        wrap: bool = False,
        cell_cost: Array | None = None,
        discount: Scalar = 1.0,
    ) -> "GridMDP":
        """Make a grid problem from a map of free cells.

        Args:
          free: bool [H, W], True where one can stand.
          goal: one cell (y, x), several [N, 2], or a bool map [H, W]; may be traced. A traced goal
            outside the map is no goal.
          moves: 4 or 8, or 6 for a map of three dimensions.
          corner_cutting: see `GridMDP`.
          costs: "octile" or "unit", see `GridMDP`.
          wrap: see `GridMDP`.
          cell_cost: [H, W], positive, cost per unit length of leaving the cell; None for 1.
          discount: in (0, 1].

        Returns:
          The problem.

        Raises:
          ValueError: if shapes, dtypes or options do not fit, or a concrete goal is off the map.

        Example:
          >>> import jax.numpy as jnp
          >>> from jplan.mdp import GridMDP
          >>> GridMDP.from_free(jnp.ones((1, 2), bool), goal=(0, 1), moves=4).goal
          Array([[False,  True]], dtype=bool)
        """
        free = jnp.asarray(free)
        _check_map(free.shape, moves)
        goal = _goal_map(free.shape, goal)
        cell_cost = None if cell_cost is None else jnp.asarray(cell_cost)
        grid = cls(
            free=free,
            goal=goal,
            cell_cost=cell_cost,
            discount=discount,
            moves=moves,
            corner_cutting=corner_cutting,
            costs=costs,
            wrap=wrap,
        )
        grid.validate()
        return grid

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return np.shape(self.free)

    @property
    def num_actions(self) -> int:
        """4, 6 or 8."""
        return self.moves

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Where each move leads, relative to its start."""
        return VOXEL_MOVES if self.moves == 6 else MOVES[: self.moves]

    @property
    def dtype(self) -> np.dtype:
        """That of ``cell_cost`` and ``discount``, at least float32: path lengths need the bits."""
        cost = 1.0 if self.cell_cost is None else self.cell_cost
        return jnp.promote_types(jnp.result_type(cost, self.discount, 1.0), jnp.float32)

    @property
    def is_terminal(self) -> Array:
        """Goals on free cells, bool [H, W]."""
        return self.goal & self.free

    @property
    def lengths(self) -> tuple[float, ...]:
        """Length of each move."""
        diagonal = math.sqrt(2) if self.costs == "octile" else 1.0
        return move_lengths(self, 1.0, diagonal)

    def validate(self) -> None:
        """Check the static facts.

        Raises:
          ValueError: if shapes, dtypes or options do not fit.
        """
        if self.costs not in ("octile", "unit"):
            raise ValueError(f"costs: got {self.costs!r}, expected 'octile' or 'unit'.")
        shape = np.shape(self.free)
        _check_map(shape, self.moves)
        for name, leaf in (("goal", self.goal), ("cell_cost", self.cell_cost)):
            if leaf is not None and np.shape(leaf) != shape:
                raise ValueError(
                    f"{name}: got shape {np.shape(leaf)}, expected {shape} as free has."
                )
        for name, leaf in (("free", self.free), ("goal", self.goal)):
            if jnp.result_type(leaf) != jnp.bool_:
                raise ValueError(
                    f"{name}: got dtype {jnp.result_type(leaf)}, expected bool; compare it, for "
                    f"instance {name} > 0.5."
                )
        if np.shape(self.discount) != ():
            raise ValueError(
                f"discount: got shape {np.shape(self.discount)}, expected a scalar; use jax.vmap."
            )
        check_discount(self.discount)

    def open_moves(self) -> Array:
        """Mask of the moves from a free cell to a free cell, bool [H, W, A]."""
        masks = []
        for offset in self.offsets:
            allowed = self.free & self.neighbour(self.free, offset, False)
            if np.count_nonzero(offset) == 2 and not self.corner_cutting:
                dy, dx = offset
                beside = self.neighbour(self.free, (dy, 0), False)
                beside = beside & self.neighbour(self.free, (0, dx), False)
                allowed = allowed & beside
            masks.append(allowed)
        return jnp.stack(masks, axis=-1)

    def neighbour(self, field: Array, offset: tuple[int, ...], outside: Any) -> Array:
        """``field[cell + offset]`` for every cell; ``outside`` where that is off the map."""
        if self.wrap:
            return jnp.roll(field, [-step for step in offset], axis=range(len(offset)))
        padded = jnp.pad(field, 1, constant_values=outside)
        return padded[
            tuple(slice(1 + d, 1 + d + n) for d, n in zip(offset, field.shape, strict=True))
        ]

    def action_values(self, value: Array) -> Array:
        """Q [H, W, A] from V [H, W]; 0 at goals, ``-inf`` where a move is not open."""
        return grid_action_values(self, value, self.lengths, self.discount)

    def log_action_values(self, value: Array) -> Array:
        """As `action_values` without discount: moves are certain, so log E exp V = V."""
        return grid_action_values(self, value, self.lengths, 1.0)


def grid_action_values(
    grid: GridMDP, value: Array, lengths: tuple[float, ...], discount: Scalar
) -> Array:
    """Q [H, W, A] for moves of the given lengths, in whatever unit these have."""
    value = jnp.where(grid.is_terminal, 0, value)
    # Both sides of each `where` are finite, or the gradient to discount would be 0 * inf.
    lost = jnp.isneginf(value)
    future = discount * jnp.where(lost, 0, value)
    open_moves = grid.open_moves()
    cost = None if grid.cell_cost is None else grid.cell_cost.astype(grid.dtype)
    columns = []
    for action, offset in enumerate(grid.offsets):
        reward = -lengths[action] if cost is None else -lengths[action] * cost
        allowed = open_moves[..., action] & ~grid.neighbour(lost, offset, True)
        columns.append(jnp.where(allowed, reward + grid.neighbour(future, offset, 0), -jnp.inf))
    q = jnp.stack(columns, axis=-1)
    return jnp.where(grid.is_terminal[..., None], 0, q).astype(grid.dtype)


def reachable(value: Array) -> Array:
    """Mask of the states that have a plan.

    Args:
      value: [...], a value function of any problem of this package.

    Returns:
      bool [...], False where the value is ``-inf`` (or NaN): walls, cells that reach no goal,
      states without an allowed action.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import reachable
      >>> reachable(jnp.array([0.0, -jnp.inf]))
      Array([ True, False], dtype=bool)
    """
    return value > -jnp.inf


def move_lengths(grid: GridMDP, straight: float, diagonal: float) -> tuple[float, ...]:
    """Length of each move of a grid, if straight and diagonal ones have these."""
    return tuple(straight if np.count_nonzero(o) == 1 else diagonal for o in grid.offsets)


def _check_map(shape: tuple[int, ...], moves: int) -> None:
    if moves not in (4, 6, 8):
        raise ValueError(
            f"moves: got {moves}, expected 4 or 8, or 6 for a map of three dimensions."
        )
    wanted = "[D, H, W]" if moves == 6 else "[H, W]"
    if len(shape) != (3 if moves == 6 else 2) or 0 in shape:
        raise ValueError(
            f"free: got shape {shape}, expected {wanted} with at least one cell for {moves} moves; "
            "functions take one map, so use jax.vmap for a batch."
        )


def _goal_map(shape: tuple[int, ...], goal: Any) -> Array:
    goal = goal if hasattr(goal, "dtype") else np.asarray(goal)
    if goal.dtype == jnp.bool_:
        return jnp.asarray(goal)
    dims, names = len(shape), "(y, x)" if len(shape) == 2 else "(z, y, x)"
    if (
        goal.ndim not in (1, 2)
        or goal.shape[-1] != dims
        or not jnp.issubdtype(goal.dtype, jnp.integer)
    ):
        raise ValueError(
            f"goal: got shape {goal.shape} and dtype {goal.dtype}, expected integers {names} or "
            f"[N, {dims}], or a bool map {shape}."
        )
    cells = goal.reshape(-1, dims)
    if isinstance(cells, np.ndarray):
        outside = (cells < 0) | (cells >= np.array([shape]))
        if outside.any():
            raise ValueError(
                f"goal: got {goal.tolist()}, expected {names} from 0 on and below {shape}; the row "
                "comes first."
            )
    # Comparing, unlike indexing, does not wrap a coordinate that is off the map.
    hits = jnp.ones((len(cells), *shape), bool)
    for axis, side in enumerate(shape):
        along = jnp.arange(side)[None] == cells[:, axis : axis + 1]
        lines = [side if other == axis else 1 for other in range(dims)]
        hits = hits & along.reshape(len(cells), *lines)
    return jnp.any(hits, axis=0)
