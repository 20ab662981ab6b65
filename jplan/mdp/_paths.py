"""Following a policy on a grid: one path, or the fate of every cell at once."""

import math

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jplan._typing import Array
from jplan.mdp._contract import check_value
from jplan.mdp._grid import MOVES, GridMDP
from jplan.mdp._policies import greedy_policy
from jplan.mdp._sweeps import exact_lengths


@struct.dataclass(kw_only=True)
class Path:
    """A path on a grid.

    Attributes:
      positions: int32 [T + 1, 2], (y, x) from the start on; (-1, -1) after the end.
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
      start: (y, x), may be traced.
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
    if start.shape != (2,) or max_length < 0:
        raise ValueError(
            f"start, max_length: got shape {start.shape} and {max_length}, expected one (y, x) and "
            "a number of steps >= 0; use jax.vmap for several starts."
        )
    actions = plan if jnp.issubdtype(plan.dtype, jnp.integer) else greedy_policy(grid, plan)
    legal = legal_moves(grid, actions)
    offsets = jnp.array(MOVES[: grid.moves], jnp.int32)
    on_map = jnp.all((start >= 0) & (start < jnp.array(grid.state_shape)))
    first = jnp.where(on_map, start, 0)
    zero = jnp.zeros((), jnp.int32)
    # A legal move leaves the map only where it is a torus.
    world = (actions, legal, offsets, jnp.array(grid.state_shape, jnp.int32))
    (_, last, _, straight, diagonal), rest = lax.scan(
        _step, (world, first, on_map, zero, zero), None, length=max_length
    )
    return Path(
        positions=jnp.concatenate([jnp.where(on_map, start, -1)[None], rest]),
        num_straight=straight,
        num_diagonal=diagonal,
        reached=on_map & grid.is_terminal[last[0], last[1]],
    )


# On module level, with what it reads in the carry, or each eager call would trace the scan anew.
def _step(carry: tuple, _: None) -> tuple[tuple, Array]:
    world, position, alive, straight, diagonal = carry
    actions, legal, offsets, shape = world
    y, x = position
    moving = alive & legal[y, x]
    action = actions[y, x]
    position = jnp.where(moving, (position + offsets[action]) % shape, position)
    straight = straight + (moving & (action < 4))
    diagonal = diagonal + (moving & (action >= 4))
    return (world, position, moving, straight, diagonal), jnp.where(moving, position, -1)


def legal_moves(grid: GridMDP, actions: Array) -> Array:
    """Whether the chosen action moves, bool [H, W]; it never does at a goal."""
    known = (actions >= 0) & (actions < grid.moves)
    chosen = jnp.where(known, actions, 0)[..., None]
    is_open = jnp.take_along_axis(grid.open_moves(), chosen, axis=-1)[..., 0]
    return is_open & known & ~grid.is_terminal


def follow_everywhere(grid: GridMDP, actions: Array) -> tuple[Array, Array, Array]:
    """Cost, number of steps, and whether a goal is reached, for every cell at once, [H, W].

    By pointer doubling: after k rounds each cell knows the end and the cost of 2^k steps. Lengths
    are added as whole numbers, so equal lengths are equal.
    """
    height, width = grid.state_shape
    legal = legal_moves(grid, actions).ravel()
    action = jnp.where(legal, actions.ravel(), 0)
    offsets = jnp.array(MOVES[: grid.moves], jnp.int32)[action]
    here = jnp.arange(height * width, dtype=jnp.int32)
    y, x = here // width + offsets[:, 0], here % width + offsets[:, 1]
    following = jnp.where(legal, y % height * width + x % width, here)
    lengths = exact_lengths(grid)
    cost = jnp.where(legal, jnp.array(lengths, grid.dtype)[action], 0)
    if grid.cell_cost is not None:
        cost = cost * grid.cell_cost.ravel().astype(grid.dtype)

    rounds = max(height * width - 1, 1).bit_length()
    following, cost, steps = lax.fori_loop(
        0, rounds, _double, (following, cost, legal.astype(jnp.int32))
    )
    reached = grid.is_terminal.ravel()[following]
    fields = (cost / lengths[0], steps, reached)
    return tuple(field.reshape(height, width) for field in fields)  # pyright: ignore


# On module level, or each eager call would trace the loop anew.
def _double(_: int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    following, cost, steps = carry
    return following[following], cost + cost[following], steps + steps[following]
