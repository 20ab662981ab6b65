"""Measures of a planner on many tasks."""

from collections.abc import Callable
from typing import Literal

import jax

from jplan import mdp
from jplan._batches import map_batches
from jplan._typing import Array, PyTree
from jplan.envs import GridTask, as_map, random_free_cell
from jplan.training._imitation import greedy_actions


def evaluate(
    planner: Callable[[PyTree], Array],
    tasks: GridTask,
    key: Array,
    *,
    inputs: PyTree = None,
    moves: int = 4,
    costs: Literal["octile", "unit"] = "unit",
    corner_cutting: bool = True,
    wrap: bool = False,
    batch_size: int = 32,
) -> mdp.PlanMeasures:
    """Measure a planner on grid tasks, on device; jit it.

    Each map is planned once, its greedy policy followed from all cells, and one start drawn for
    the single-start figure. Tasks are taken ``batch_size`` at a time, so memory does not grow with
    their number.

    Args:
      planner: maps [B, H, W, 2] -> logits [B, H, W, A]; a cell with a NaN logit has no action.
      tasks: `GridTask` with a leading axis N.
      key: consumed; draws the single starts.
      inputs: what the planner reads in place of the maps, such as pictures; a pytree with a
        leading axis N. None gives it the maps.
      moves: static, 4 or 8, or 6 for maps [D, H, W]; the planner's A.
      costs: static, of diagonal moves.
      corner_cutting: static.
      wrap: static, whether the maps are tori.
      batch_size: static.

    Returns:
      `jplan.mdp.PlanMeasures` with a leading axis N; NaN for a task in which no cell can reach the
      goal, so average with ``jnp.nanmean``.

    Raises:
      ValueError: if the planner does not return one logit a move, tasks or inputs have no leading
        axis N, or ``batch_size`` is below 1.

    Differentiability: none.

    Example:
      >>> from jplan.envs import maze
      >>> tasks = jax.jit(jax.vmap(lambda k: maze(k, 9)))(jax.random.split(jax.random.key(0), 3))
      >>> constant = lambda maps: jax.numpy.zeros((*maps.shape[:-1], 4))
      >>> run = jax.jit(lambda tasks, key: evaluate(constant, tasks, key))
      >>> run(tasks, jax.random.key(1)).success.shape
      (3,)
    """

    def measure(planned: tuple[GridTask, Array, Array]) -> mdp.PlanMeasures:
        task, actions, key = planned
        grid = mdp.GridMDP.from_free(
            task.free,
            goal=task.goal,
            moves=moves,
            corner_cutting=corner_cutting,
            costs=costs,
            wrap=wrap,
        )
        value = mdp.value_iteration(grid).value
        start = random_free_cell(key, mdp.reachable(value) & ~grid.is_terminal)
        return mdp.plan_measures(grid, actions, start=start, value=value)

    def batch(chunk: tuple[GridTask, Array, PyTree]) -> mdp.PlanMeasures:
        task, keys, inputs = chunk
        logits = planner(as_map(task) if inputs is None else inputs)
        if logits.shape[-1] != moves:
            raise ValueError(
                f"the planner returns {logits.shape[-1]} logits a cell, expected {moves}, one for "
                "each move; set moves or build the planner with that many actions."
            )
        return jax.vmap(lambda *planned: measure(planned))(task, greedy_actions(logits), keys)

    if tasks.free.ndim != tasks.goal.shape[-1] + 1 or batch_size < 1:
        raise ValueError(
            f"tasks.free has shape {list(tasks.free.shape)} and batch_size is {batch_size}, "
            "expected [N, H, W], or [N, D, H, W] with goals [N, 3], and a whole number from 1 on."
        )
    count = tasks.free.shape[0]
    given = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(inputs)}
    if given - {count}:
        raise ValueError(f"inputs have leading axes {list(given)}, expected {count}, one a task.")
    keys = jax.random.split(key, count)
    return map_batches(batch, (tasks, keys, inputs), min(batch_size, max(count, 1)))
