"""Following a policy on a grid: one path, or the fate of every cell at once."""

import math

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jplan._typing import Array
from jplan.mdp._contract import check_value
from jplan.mdp._grid import GridMDP
from jplan.mdp._policies import greedy_policy
from jplan.mdp._sweeps import exact_lengths


@struct.dataclass(kw_only=True)
class Path:
    """A path on a grid.

    Attributes:
      positions: int32 [T + 1, 2], (y, x) from the start on, or [T + 1, 3] in three dimensions; -1
        after the end.
      num_straight: int32, number of straight steps.
      num_diagonal: int32, number of diagonal steps.
      reached: bool, whether the path ends at a goal.
    """

    positions: Array
    num_straight: Array
    num_diagonal: Array
    reached: Array

    @property
    def num_steps(self) -> Array:
        """Number of steps of either kind."""
        return self.num_straight + self.num_diagonal

    @property
    def length(self) -> np.ndarray:
        """Octile length, straight + sqrt(2) * diagonal, in float64 on the host."""
        straight = np.asarray(self.num_straight, np.float64)
        return straight + math.sqrt(2) * np.asarray(self.num_diagonal, np.float64)


def extract_path(grid: GridMDP, plan: Array, start: Array, *, max_length: int) -> Path:
    """Path that a value function or a policy takes from a start.

    s_{t+1} = s_t + move(pi(s_t)), until a goal, a closed move, or ``max_length`` steps

    Args:
      grid: the map and its goals.
      plan: a value function [H, W] (floats), followed greedily, or actions [H, W] (integers, -1
        for none).
      start: (y, x), or (z, y, x) in three dimensions; may be traced.
      max_length: static, largest number of steps T.

    Returns:
      `Path`. From a wall, from off the map, and where the plan is stuck or runs in a circle,
      ``reached`` is False.

    Raises:
      ValueError: if shapes or dtypes disagree, or ``max_length`` is negative.

    Differentiability: none (integers).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, extract_path, value_iteration
      >>> grid = GridMDP.from_free(jnp.ones((2, 3), bool), goal=(0, 0))
      >>> path = extract_path(grid, value_iteration(grid).value, (1, 2), max_length=4)
      >>> path.positions.tolist(), float(path.length.round(3))
      ([[1, 2], [1, 1], [0, 0], [-1, -1], [-1, -1]], 2.414)

    References: Sturtevant 2012, "Benchmarks for grid-based pathfinding", section II (octile costs).
    """
    plan = check_value(grid, plan)
    start = jnp.asarray(start, jnp.int32)
    if start.shape != (grid.free.ndim,) or max_length < 0:
        raise ValueError(
            f"start, max_length: got shape {start.shape} and {max_length}, expected one cell "
            f"[{grid.free.ndim}] and a number of steps >= 0; use jax.vmap for several starts."
        )
    actions = plan if jnp.issubdtype(plan.dtype, jnp.integer) else greedy_policy(grid, plan)
    legal = legal_moves(grid, actions)
    offsets = jnp.array(grid.offsets, jnp.int32)
    is_diagonal = jnp.sum(offsets != 0, axis=-1) > 1
    on_map = jnp.all((start >= 0) & (start < jnp.array(grid.state_shape)))
    first = jnp.where(on_map, start, 0)
    zero = jnp.zeros((), jnp.int32)
    # A legal move leaves the map only where it is a torus.
    world = (actions, legal, offsets, is_diagonal, jnp.array(grid.state_shape, jnp.int32))
    (_, last, _, straight, diagonal), rest = lax.scan(
        _step, (world, first, on_map, zero, zero), None, length=max_length
    )
    return Path(
        positions=jnp.concatenate([jnp.where(on_map, start, -1)[None], rest]),
        num_straight=straight,
        num_diagonal=diagonal,
        reached=on_map & grid.is_terminal[tuple(last)],
    )


# On module level, with what it reads in the carry, or each eager call would trace the scan anew.
def _step(carry: tuple, _: None) -> tuple[tuple, Array]:
    world, position, alive, straight, diagonal = carry
    actions, legal, offsets, is_diagonal, shape = world
    moving = alive & legal[tuple(position)]
    action = actions[tuple(position)]
    position = jnp.where(moving, (position + offsets[action]) % shape, position)
    straight = straight + (moving & ~is_diagonal[action])
    diagonal = diagonal + (moving & is_diagonal[action])
    return (world, position, moving, straight, diagonal), jnp.where(moving, position, -1)


def legal_moves(grid: GridMDP, actions: Array) -> Array:
    """Whether the chosen action moves, bool [H, W]; it never does at a goal."""
    known = (actions >= 0) & (actions < grid.moves)
    chosen = jnp.where(known, actions, 0)[..., None]
    is_open = jnp.take_along_axis(grid.open_moves(), chosen, axis=-1)[..., 0]
    return is_open & known & ~grid.is_terminal


def follow_everywhere(grid: GridMDP, actions: Array) -> tuple[Array, Array, Array]:
    """Cost, number of steps, and whether a goal is reached, for all cells at once, [H, W].

    By pointer doubling: after k rounds each cell knows the end and the cost of 2^k steps. Lengths
    are added as whole numbers, so equal lengths are equal.
    """
    legal = legal_moves(grid, actions)
    action = jnp.where(legal, actions, 0)
    offsets = jnp.moveaxis(jnp.array(grid.offsets, jnp.int32)[action], -1, 0)
    here = jnp.indices(grid.state_shape, jnp.int32)
    following = jnp.zeros_like(action, jnp.int32)
    for at, offset, side in zip(here, offsets, grid.state_shape, strict=True):
        following = following * side + jnp.where(legal, at + offset, at) % side
    following, action, legal = following.ravel(), action.ravel(), legal.ravel()
    lengths = exact_lengths(grid)
    cost = jnp.where(legal, jnp.array(lengths, grid.dtype)[action], 0)
    if grid.cell_cost is not None:
        cost = cost * grid.cell_cost.ravel().astype(grid.dtype)

    rounds = max(grid.free.size - 1, 1).bit_length()
    following, cost, steps = lax.fori_loop(
        0, rounds, _double, (following, cost, legal.astype(jnp.int32))
    )
    reached = grid.is_terminal.ravel()[following]
    fields = (cost / lengths[0], steps, reached)
    return tuple(field.reshape(grid.state_shape) for field in fields)  # pyright: ignore


# On module level, or each eager call would trace the loop anew.
def _double(_: int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    following, cost, steps = carry
    return following[following], cost + cost[following], steps + steps[following]
