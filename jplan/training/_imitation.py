"""Imitation of optimal plans: all optimal actions as targets, hopeless cells masked."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jplan import mdp
from jplan._typing import Array, PyTree
from jplan.envs import GridTask, as_map
from jplan.planners import MappedPlanner


@struct.dataclass(kw_only=True)
class ImitationBatch:
    """Maps with their optimal actions; in three dimensions read [D, H, W] for [H, W].

    Attributes:
      maps: [B, H, W, C] input of the planner.
      optimal: bool [B, H, W, A], every optimal action of a cell.
      mask: bool [B, H, W], cells that count: free, able to reach the goal, and not the goal.
      grid: `jplan.mdp.GridMDP` [B, ...] that was solved.
      value: [B, H, W] exact negative cost-to-go, -inf where the goal is out of reach.
    """

    maps: Array
    optimal: Array
    mask: Array
    grid: mdp.GridMDP
    value: Array


def imitation_batch(
    task: GridTask,
    *,
    moves: int = 4,
    costs: Literal["octile", "unit"] = "unit",
    corner_cutting: bool = True,
    wrap: bool = False,
) -> ImitationBatch:
    """Solve a batch of tasks exactly and keep the optimal actions.

    Many states of a maze have several optimal actions and many of its cells are walls, so both the
    ties and the mask matter.

    Args:
      task: batch of grid tasks, [B, ...].
      moves: static, 4 or 8, or 6 for maps [D, H, W].
      costs: static, of diagonal moves: "unit" as in VIN's and GPPN's worlds, or "octile".
      corner_cutting: static, whether a diagonal move may pass the corner of a wall.
      wrap: static, whether the maps are tori.

    Returns:
      `ImitationBatch`.

    Example:
      >>> from jplan.envs import maze
      >>> tasks = jax.jit(jax.vmap(lambda k: maze(k, 9)))(jax.random.split(jax.random.key(0), 3))
      >>> imitation_batch(tasks).optimal.shape
      (3, 9, 9, 4)
    """

    def solve(task: GridTask) -> tuple[mdp.GridMDP, Array, Array]:
        grid = mdp.GridMDP.from_free(
            task.free,
            goal=task.goal,
            moves=moves,
            corner_cutting=corner_cutting,
            costs=costs,
            wrap=wrap,
        )
        value = mdp.value_iteration(grid).value
        return grid, value, mdp.optimal_actions(grid, value)

    grid, value, optimal = jax.vmap(solve)(task)
    mask = jnp.isfinite(value) & (value < 0)
    return ImitationBatch(maps=as_map(task), optimal=optimal, mask=mask, grid=grid, value=value)


def imitation_loss(logits: Array, batch: ImitationBatch) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy to the uniform distribution over all optimal actions of a cell.

    Mean over the cells of ``batch.mask``; 0 if there is none.

    Args:
      logits: [B, H, W, A].
      batch: the targets.

    Returns:
      The loss, and the metrics ``accuracy``, the share of cells whose greedy action is optimal, and
      ``success``, the share from which the greedy policy reaches the goal. A cell with a NaN logit
      has no action.

    Raises:
      ValueError: if the logits do not have the shape of the targets.

    Differentiability: every mode.

    Example:
      >>> from jplan.envs import maze
      >>> tasks = jax.jit(jax.vmap(lambda k: maze(k, 9)))(jax.random.split(jax.random.key(0), 3))
      >>> batch = imitation_batch(tasks)
      >>> loss, _ = imitation_loss(20.0 * batch.optimal, batch)
      >>> bool(loss < 1e-6 + jnp.log(4))
      True
    """
    _check_logits(logits, batch.optimal)
    loss, accuracy = _cross_entropy(logits, batch.optimal, batch.mask)
    measures = jax.vmap(lambda grid, *plan: mdp.plan_measures(grid, plan[0], value=plan[1]))(
        batch.grid, greedy_actions(logits), batch.value
    )
    return loss, {"accuracy": accuracy, "success": jnp.nanmean(measures.success)}


def mapped_imitation_loss(
    model: MappedPlanner,
    observations: PyTree,
    task: GridTask,
    batch: ImitationBatch,
    *,
    map_weight: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """`imitation_loss` of a planner behind a mapper, and binary cross-entropy of the mapper's map.

    Args:
      model: the mapper and the planner.
      observations: what the mapper reads, a pytree with a leading axis B.
      task: the true tasks, [B, ...].
      batch: their targets.
      map_weight: of the map's loss, beside 1 of the plan's.

    Returns:
      The loss, and the metrics of `imitation_loss` with ``map_accuracy``, the share of the map's
      cells that are right.

    Raises:
      ValueError: as `imitation_loss`.

    Differentiability: as the planner's adjoint has it.

    Example:
      >>> from flax import nnx
      >>> from jplan.envs import maze
      >>> from jplan.planners import VIN
      >>> tasks = jax.jit(jax.vmap(lambda k: maze(k, 9)))(jax.random.split(jax.random.key(0), 3))
      >>> model = MappedPlanner(
      ...     lambda free: 9.0 * free - 4.5,
      ...     VIN(4, 2, hidden=4, q_channels=4, rngs=nnx.Rngs(0)),
      ... )
      >>> measure = jax.jit(mapped_imitation_loss)
      >>> _, metrics = measure(model, tasks.free, tasks, imitation_batch(tasks))
      >>> print(f"{metrics['map_accuracy']:.3f}")
      1.000
    """
    map_logits = model.map(observations)
    loss, metrics = imitation_loss(model.plan(map_logits, task.goal).logits, batch)
    of_map = optax.sigmoid_binary_cross_entropy(map_logits, task.free).mean()
    right = jnp.mean((map_logits > 0) == task.free)
    return loss + map_weight * of_map, metrics | {"map_accuracy": right}


def sampled_imitation_loss(
    policy: Callable[[Array, Array], Array],
    batch: ImitationBatch,
    key: Array,
    *,
    positions: int = 8,
) -> tuple[Array, dict[str, Array]]:
    """`imitation_loss` in a few random cells of each map, for a policy that sees one at a time.

    Args:
      policy: maps [B, H, W, C] and cells [B, 2], (y, x), to logits [B, A], such as
        `jplan.planners.CNN.policy`.
      batch: the targets.
      key: consumed; draws cells of ``batch.mask``, with replacement.
      positions: static, cells a map.

    Returns:
      The mean loss, 0 if no cell counts, and the metric ``accuracy``.

    Raises:
      ValueError: if the logits are not [B, A].

    Differentiability: every mode.

    Example:
      >>> from jplan.envs import maze
      >>> tasks = jax.jit(jax.vmap(lambda k: maze(k, 9)))(jax.random.split(jax.random.key(0), 3))
      >>> uniform = lambda maps, position: jnp.zeros((len(maps), 4))
      >>> loss, _ = sampled_imitation_loss(uniform, imitation_batch(tasks), jax.random.key(1))
      >>> loss.round(3)
      Array(1.386, dtype=float32)
    """
    count, height, width = batch.mask.shape
    chances = jnp.where(batch.mask.reshape(count, -1), 0.0, -jnp.inf)
    cells = jax.random.categorical(key, chances, shape=(positions, count))
    pick = lambda field: field.reshape(count, height * width, -1)[jnp.arange(count), cells]
    position = jnp.stack([cells // width, cells % width], axis=-1)
    logits = jax.vmap(policy, (None, 0))(batch.maps, position)
    optimal, mask = pick(batch.optimal), pick(batch.mask)[..., 0]
    _check_logits(logits, optimal)
    loss, accuracy = _cross_entropy(logits, optimal, mask)
    return loss, {"accuracy": accuracy}


def greedy_actions(logits: Array) -> Array:
    """Best action of [..., A] logits, [...]; -1, which is no action, where one of them is NaN."""
    return jnp.where(jnp.isnan(logits).any(-1), -1, logits.argmax(-1))


def _cross_entropy(logits: Array, optimal: Array, mask: Array) -> tuple[Array, Array]:
    """Mean loss, and share of greedy actions that are optimal, where the mask is set."""
    target = optimal / jnp.maximum(optimal.sum(-1, keepdims=True), 1)
    # What does not count is cut off before the loss: its gradient would be NaN at infinite logits.
    logits = jnp.where(mask[..., None], logits, 0)
    losses = optax.losses.safe_softmax_cross_entropy(logits, target)
    greedy = jax.nn.one_hot(greedy_actions(logits), logits.shape[-1], dtype=bool)
    correct = (greedy & optimal).any(-1)
    total = jnp.maximum(mask.sum(), 1)
    mean = lambda values: jnp.where(mask, values, 0).sum() / total
    return mean(losses), mean(correct)


def _check_logits(logits: Array, optimal: Array) -> None:
    if logits.shape != optimal.shape:
        raise ValueError(
            f"logits have shape {list(logits.shape)}, expected {list(optimal.shape)}; give the "
            "planner as many actions as the targets have."
        )
