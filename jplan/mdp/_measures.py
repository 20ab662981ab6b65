"""Measures of a plan on a grid, over all starts at once and on device."""

import jax.numpy as jnp
from flax import struct

from jplan._typing import Array
from jplan.mdp._contract import check_value
from jplan.mdp._grid import GridMDP, reachable
from jplan.mdp._paths import follow_everywhere
from jplan.mdp._policies import greedy_policy
from jplan.mdp._solvers import value_iteration


@struct.dataclass(kw_only=True)
class PlanMeasures:
    """How good a policy is on one grid task.

    Attributes:
      success: share of the counted cells from which the policy reaches a goal.
      optimality: share of the counted cells from which it does so on a shortest path.
      spl: success weighted by path length, mean of ``success * shortest / length``.
      single_start_success: 1 or 0, whether the given start reaches a goal in at most twice the
        expert's number of steps; NaN without a start that counts.
      num_states: int32, number of counted cells: all that can reach a goal and are none. Where it
        is 0 the shares are NaN.
    """

    success: Array
    optimality: Array
    spl: Array
    single_start_success: Array
    num_states: Array


def plan_measures(
    grid: GridMDP, actions: Array, *, start: Array | None = None, value: Array | None = None
) -> PlanMeasures:
    """Success, optimality, SPL and single-start success of a policy on a grid.

    spl = 1/N sum_i success_i * shortest_i / max(length_i, shortest_i)

    Every cell that can reach a goal counts once, walls, goals and the rest do not. The policy's
    paths from all cells are followed by pointer doubling, in log2(H W) rounds. A closed move means
    to stay, so it never arrives.

    Args:
      grid: the map and its goals, undiscounted.
      actions: integers [H, W], -1 for none; for logits take the argmax.
      start: (y, x) of the single start, or None.
      value: [H, W], the exact optimal value if it is at hand; None solves for it.

    Returns:
      `PlanMeasures`.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: none.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, plan_measures
      >>> grid = GridMDP.from_free(jnp.ones((1, 4), bool), goal=(0, 0), moves=4)
      >>> measures = plan_measures(grid, jnp.array([[1, 1, 1, 3]]), start=(0, 3))
      >>> print(f"{measures.success:.3f} {measures.single_start_success:.0f}")
      0.667 0

    References: Anderson et al. 2018, "On evaluation of embodied navigation agents", eq. 1 (SPL);
    Tamar et al. 2016, section 5 (single start).
    """
    actions = check_value(grid, actions)
    if not jnp.issubdtype(actions.dtype, jnp.integer):
        raise ValueError(
            f"actions: got dtype {actions.dtype}, expected integers [H, W]; take "
            "jnp.argmax(logits, axis=-1)."
        )
    best = value_iteration(grid).value if value is None else check_value(grid, value)
    return _measure(grid, actions, best, None if start is None else jnp.asarray(start, jnp.int32))


def _measure(grid: GridMDP, actions: Array, best: Array, start: Array | None) -> PlanMeasures:
    counted = reachable(best) & ~grid.is_terminal
    cost, steps, reached = follow_everywhere(grid, actions)
    success = reached & counted
    shortest = jnp.where(counted, -best, 1)
    slack = 32 * jnp.finfo(grid.dtype).eps
    optimal = success & (cost <= shortest * (1 + slack))
    efficiency = jnp.where(success, shortest / jnp.maximum(cost, shortest), 0)

    count = jnp.sum(counted)
    share = lambda field: jnp.sum(field.astype(grid.dtype)) / count
    return PlanMeasures(
        success=share(success),
        optimality=share(optimal),
        spl=share(efficiency),
        single_start_success=_single_start(grid, best, counted, success, steps, start),
        num_states=count.astype(jnp.int32),
    )


def _single_start(
    grid: GridMDP,
    value: Array,
    counted: Array,
    success: Array,
    steps: Array,
    start: Array | None,
) -> Array:
    if start is None:
        return jnp.full((), jnp.nan, grid.dtype)
    _, expert_steps, _ = follow_everywhere(grid, greedy_policy(grid, value))
    on_map = jnp.all((start >= 0) & (start < jnp.array(grid.state_shape)))
    cell = tuple(jnp.where(on_map, start, 0))
    passed = success[cell] & (steps[cell] <= 2 * expert_steps[cell])
    return jnp.where(on_map & counted[cell], passed.astype(grid.dtype), jnp.nan)
