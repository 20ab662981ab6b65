"""From an untrained module to a trained one in one call."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import optax
from flax import nnx

from jplan._typing import Array, PyTree
from jplan.training._averages import AverageState
from jplan.training._fit import fit
from jplan.training._step import LossFn, TrainState, init_state


@functools.cache
def cosine_adam(
    learning_rate: float, num_steps: int, *, max_norm: float = 1.0
) -> optax.GradientTransformation:
    """Adam whose step decays as a cosine to zero, on gradients that are clipped by their norm.

    Equal arguments give the same object, so that `train` compiles its steps once for several seeds.

    Args:
      learning_rate: at the start.
      num_steps: of the whole training.
      max_norm: of the gradient of all parameters together.

    Returns:
      The optimiser.

    Example:
      >>> cosine_adam(1e-2, 100) is cosine_adam(1e-2, 100)
      True
    """
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    return optax.chain(optax.clip_by_global_norm(max_norm), adam)


Module = TypeVar("Module", bound=nnx.Module)

SCAN_STATIC = ("batch_fn", "graphdef", "optimizer", "loss_fn", "num_steps")
"""The arguments of `scan_steps` that are static under ``jit``."""


def train(
    module: Module,
    scan_fn: Callable[..., tuple[TrainState, dict[str, Array]]],
    *data: PyTree,
    batch_fn: Callable[..., PyTree],
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    key: Array,
    num_steps: int,
    steps_per_call: int = 20,
    directory: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint_every: int = 200,
    label: str = "training",
    progress: bool = True,
) -> tuple[Module, list[dict[str, float]]]:
    """Train all variables of a module, data made on the device.

    `fit` over `scan_steps`, which the caller jits. For several seeds pass the same functions and
    the same optimiser, and the steps are compiled once.

    Args:
      module: any NNX module; it is not changed.
      scan_fn: ``jax.jit(scan_steps, static_argnames=SCAN_STATIC)``, made once.
      *data: see `scan_steps`.
      batch_fn: pure, ``batch_fn(key, *data) -> batch``.
      loss_fn: ``loss_fn(module, batch, key) -> (loss, metrics)``.
      optimizer: optax optimiser.
      key: consumed; the randomness of the run.
      num_steps: training steps in all, a multiple of ``steps_per_call``.
      steps_per_call: steps between two looks at the progress.
      directory: see `fit`.
      settings: see `fit`.
      checkpoint_every: see `fit`.
      label: see `fit`.
      progress: see `fit`.

    Returns:
      The trained module, with the averaged parameters under `keep_average`, and one dict for each
      call with ``step``, ``seconds`` and the metrics.

    Raises:
      ValueError: as `fit`, and if `keep_average` is inside another optimiser.

    Differentiability: not intended.

    Example:
      >>> import jplan as jp
      >>> from jplan.training import scan_steps
      >>> planner = jp.planners.ConvGPPN(4, 2, hidden=4, max_steps=9, rngs=nnx.Rngs(0))
      >>> planner, rows = train(
      ...     planner,
      ...     jax.jit(scan_steps, static_argnames=SCAN_STATIC),
      ...     batch_fn=lambda key: jax.random.uniform(key, (2, 7, 7, 2)),
      ...     loss_fn=lambda planner, maps, key: ((planner(maps) ** 2).mean(), {}),
      ...     optimizer=optax.adam(1e-2),
      ...     key=jax.random.key(0),
      ...     num_steps=4,
      ...     steps_per_call=2,
      ...     progress=False,
      ... )
      >>> [row["step"] for row in rows]
      [2, 4]
    """
    graphdef, state = init_state(module, optimizer, key)
    is_average = lambda node: isinstance(node, AverageState)
    parts = jax.tree.leaves(state.opt_state, is_leaf=is_average)
    if any(map(is_average, parts)) and not is_average(state.opt_state):
        raise ValueError("keep_average is inside another optimiser, expected around all others.")

    def advance(state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        return scan_fn(
            state,
            *data,
            batch_fn=batch_fn,
            graphdef=graphdef,
            optimizer=optimizer,
            loss_fn=loss_fn,
            num_steps=steps_per_call,
        )

    state, rows = fit(
        advance,
        state,
        num_steps=num_steps,
        directory=directory,
        settings=settings,
        checkpoint_every=checkpoint_every,
        label=label,
        progress=progress,
    )
    kept = state.opt_state
    params = kept.average if isinstance(kept, AverageState) else state.params
    return nnx.merge(graphdef, params), rows
