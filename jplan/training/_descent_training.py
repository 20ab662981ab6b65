"""The training of a planner by descent, from recorded episodes."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from jplan._typing import Array
from jplan.nn import StateEncoder
from jplan.planners import DescentPlanner
from jplan.training._averages import keep_average
from jplan.training._denoising import decoder_loss, denoising_loss, inverse_loss
from jplan.training._hindsight import (
    HindsightBatch,
    TransitionBatch,
    hindsight_batch,
    transition_batch,
)
from jplan.training._offline_data import OfflineData
from jplan.training._step import LossFn, TrainState
from jplan.training._train import cosine_adam, train


def train_descent_planner(
    planner: DescentPlanner,
    scan_fn: Callable[..., tuple[TrainState, dict[str, Array]]],
    data: OfflineData,
    *,
    key: Array,
    num_steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    average_decay: float = 0.995,
    loss_fn: LossFn = denoising_loss,
    steps_per_call: int = 20,
    directory: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> tuple[DescentPlanner, list[dict[str, float]]]:
    """Train all but the inverse dynamics on windows of episodes; no actions are needed.

    AdamW with gradients clipped at norm 1 and weight decay 0.01, whose rate rises over a tenth of
    the training, at most 1,000 steps, and falls as a cosine after it. `train_descent_heads` has to
    follow before the planner acts.

    Args:
      planner: where to begin; it is not changed.
      scan_fn: see `train`.
      data: the episodes.
      key: consumed.
      num_steps: training steps in all, a multiple of ``steps_per_call``.
      batch_size: windows in a step.
      learning_rate: at its highest.
      average_decay: of the average of the parameters that is returned, see `keep_average`.
      loss_fn: `denoising_loss`, or the same with other options through `functools.partial`. For
        several seeds pass the same object, and the steps are compiled once.
      steps_per_call: see `train`.
      directory: see `fit`.
      settings: what else makes the run what it is, see `fit`. The planner's configuration, numbers
        of its parameters and of the data, the arguments above and, of a ``functools.partial``, the
        options of the loss are added.
      checkpoint_every: see `fit`.
      progress: see `fit`.

    Returns:
      The planner, and one dict for each call with ``step``, ``seconds`` and the metrics of
      `denoising_loss`.

    Raises:
      ValueError: if the data have other widths than the planner or no episode that is longer than
        its horizon, or as `fit`, `keep_average` and `denoising_loss`.

    Differentiability: not intended.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jplan import training
      >>> walk = np.cumsum(np.ones((40, 2)), axis=0)
      >>> data = training.offline_data(walk, np.ones((40, 1)), np.arange(40) == 39)
      >>> small = {"width": 4, "hidden": 8, "heads": 2, "layers": 1, "network_hidden": 8}
      >>> small |= {"horizon": 8, "max_past": 4, "num_steps": 1}
      >>> planner = DescentPlanner(2, 1, **small, rngs=nnx.Rngs(0))
      >>> scan_fn = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
      >>> options = {"num_steps": 20, "progress": False}
      >>> planner, rows = train_descent_planner(
      ...     *(planner, scan_fn, data), key=jax.random.key(0), batch_size=4, **options
      ... )
      >>> planner, _ = train_descent_heads(
      ...     *(planner, scan_fn, data), key=jax.random.key(1), **options
      ... )
      >>> plan = planner.plan(data.states[:4], data.states[10], jax.random.key(2), candidates=4)
      >>> planner.first_actions(plan, data.states[:4], 2).shape
      (2, 1)

    References: Planning as Descent, arXiv 2512.17846, algorithm 1; the optimiser is a guess there.
    """
    _check_fit(planner, data, planner.horizon)
    settings = {
        "planner": planner.configuration(),
        "parameters": _numbers_of(planner),
        "data": _fingerprint(data),
        "key": jax.random.key_data(key).tolist(),
        "loss": {name: str(option) for name, option in getattr(loss_fn, "keywords", {}).items()},
        "num_steps": num_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "average_decay": average_decay,
    } | dict(settings or {})
    return train(
        *(planner, scan_fn, data),
        batch_fn=_draw_windows(batch_size, planner.horizon, planner.max_past),
        loss_fn=loss_fn,
        optimizer=keep_average(_warm_adam(learning_rate, num_steps), decay=average_decay),
        key=key,
        num_steps=num_steps,
        steps_per_call=steps_per_call,
        directory=directory,
        settings=settings,
        checkpoint_every=checkpoint_every,
        label="energy",
        progress=progress,
    )


def train_descent_heads(
    planner: DescentPlanner,
    scan_fn: Callable[..., tuple[TrainState, dict[str, Array]]],
    data: OfflineData,
    *,
    key: Array,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    steps_per_call: int = 20,
    directory: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> tuple[DescentPlanner, dict[str, list[dict[str, float]]]]:
    """Train inverse dynamics and decoder on latents of an encoder that stays as it is.

    Args:
      planner: of `train_descent_planner`; it is not changed.
      scan_fn: see `train`.
      data: episodes with actions, which may be other and fewer ones than those of the energy.
      key: consumed.
      num_steps: of each of the two, a multiple of ``steps_per_call``.
      batch_size: steps of episodes in a step of the training.
      learning_rate: of `cosine_adam`.
      steps_per_call: see `train`.
      directory: of the folders of both, ``inverse`` and ``decoder``; None keeps nothing.
      settings: see `fit`. Numbers of the planner's parameters and of the data, and the arguments
        above are added.
      checkpoint_every: see `fit`.
      progress: see `fit`.

    Returns:
      The planner with both, and the rows of `train` of each.

    Raises:
      ValueError: if the data have other widths than the planner, or as `fit`.

    Differentiability: not intended.

    Example: see `train_descent_planner`.
    """
    _check_fit(planner, data, 1)
    settings = {
        "parameters": _numbers_of(planner),
        "data": _fingerprint(data),
        "key": jax.random.key_data(key).tolist(),
        "num_steps": num_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    } | dict(settings or {})
    planner = nnx.merge(*nnx.split(planner))
    losses: dict[str, LossFn] = {"inverse": inverse_loss, "decoder": decoder_loss}
    rows: dict[str, list[dict[str, float]]] = {}
    for (name, loss_fn), head_key in zip(losses.items(), jax.random.split(key), strict=True):
        head, rows[name] = train(
            *(getattr(planner, name), scan_fn, data, planner.encoder),
            batch_fn=_draw_transitions(batch_size),
            loss_fn=loss_fn,
            optimizer=cosine_adam(learning_rate, num_steps),
            key=head_key,
            num_steps=num_steps,
            steps_per_call=steps_per_call,
            directory=None if directory is None else pathlib.Path(directory) / name,
            settings=settings,
            checkpoint_every=checkpoint_every,
            label=name,
            progress=progress,
        )
        setattr(planner, name, head)
    return planner, rows


def _check_fit(planner: DescentPlanner, data: OfflineData, horizon: int) -> None:
    """ValueError unless the data are of the planner's widths and some episode is long enough."""
    got = data.states.shape[1], data.actions.shape[1]
    if got != (planner.inputs, planner.actions):
        raise ValueError(
            f"states and actions have widths {got}, expected those of the planner, "
            f"{(planner.inputs, planner.actions)}."
        )
    longest = int(data.lengths.max())
    if longest <= horizon:
        raise ValueError(
            f"the longest episode has {longest} states, expected more than {horizon}, the horizon; "
            "make a planner with a shorter one."
        )


def _fingerprint(data: OfflineData) -> dict[str, Any]:
    """Numbers by which other data are told from these."""
    mean, deviation = data.standard_numbers()
    return {
        "states": len(data.states),
        "episodes": len(data.lengths),
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
    }


def _numbers_of(planner: DescentPlanner) -> list[str]:
    """Norm and sum of the parameters, by which other ones are told from these."""
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(nnx.state(planner))]
    values = np.concatenate(leaves)
    # Six digits: machines differ in the last ones of random numbers.
    return [f"{number:.6g}" for number in (np.linalg.norm(values), values.sum())]


# Cached: a function with another identity would be compiled anew.
@functools.cache
def _draw_windows(
    batch_size: int, horizon: int, max_past: int
) -> Callable[[Array, OfflineData], HindsightBatch]:
    sizes = {"batch_size": batch_size, "horizon": horizon, "max_past": max_past}
    return lambda key, data: hindsight_batch(data, key, **sizes)


@functools.cache
def _draw_transitions(
    batch_size: int,
) -> Callable[[Array, OfflineData, StateEncoder], tuple[StateEncoder, TransitionBatch]]:
    return lambda key, data, encoder: (
        encoder,
        transition_batch(data, key, batch_size=batch_size),
    )


@functools.cache
def _warm_adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    warm = min(1000, num_steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warm, num_steps)
    trained = lambda params: jax.tree_util.tree_map_with_path(
        lambda path, _: path[0] != jax.tree_util.DictKey("inverse"), params
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01, mask=trained)
    )
