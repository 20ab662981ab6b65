"""Trainings of several stages."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import optax
from flax import nnx

from jplan._typing import Array, PyTree
from jplan.training._step import LossFn, TrainState
from jplan.training._train import train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a training: what it makes of the module so far, and how it trains that.

    Attributes:
      num_steps: training steps; a stage of none only begins.
      batch_fn: see `train`.
      loss_fn: see `train`.
      optimizer: see `train`.
      begin_fn: from the module as the last stage left it to the one that is trained, such as
        ``MaxPlusVIN.hardened``; None trains the same module on.
      settings: see `fit`.
      data: arguments of ``batch_fn`` after the key, see `scan_steps`.

    Example: see `train_stages`.
    """

    num_steps: int
    batch_fn: Callable[..., PyTree]
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    begin_fn: Callable[[Any], nnx.Module] | None = None
    settings: Mapping[str, Any] | None = None
    data: tuple[PyTree, ...] = ()


def train_stages(
    module: nnx.Module,
    scan_fn: Callable[..., tuple[TrainState, dict[str, Array]]],
    stages: Mapping[str, Stage],
    *,
    keys: Array,
    directory: str | pathlib.Path | None = None,
    steps_per_call: int = 20,
    checkpoint_every: int = 200,
    progress: bool = True,
) -> tuple[Any, dict[str, list[dict[str, float]]]]:
    """`train` one stage after the other, each resuming a folder of its own.

    The planners of the max-plus family are trained so: soft first, then hardened.

    Args:
      module: where the first stage begins; it is not changed.
      scan_fn: see `train`.
      stages: by name, in order. The name is the folder in ``directory`` and the label of the bar.
      keys: [number of stages], consumed.
      directory: where the folders are; None keeps nothing.
      steps_per_call: see `train`.
      checkpoint_every: see `fit`.
      progress: see `fit`.

    Returns:
      The module as the last stage left it, and the log of each stage; that of no steps is empty.

    Raises:
      ValueError: as `fit`, or if there are not as many keys as stages.

    Differentiability: not intended.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> from jplan.training import SCAN_STATIC, cosine_adam, scan_steps
      >>> batch_fn = lambda key: jax.random.uniform(key, (2, 7, 7, 2))
      >>> loss_fn = lambda planner, maps, key: ((planner(maps) ** 2).mean(), {})
      >>> common = {"batch_fn": batch_fn, "loss_fn": loss_fn, "optimizer": cosine_adam(1e-2, 2)}
      >>> planner, logs = train_stages(
      ...     jp.planners.MaxPlusVIN(4, 2, hidden=4, rngs=nnx.Rngs(0)),
      ...     jax.jit(scan_steps, static_argnames=SCAN_STATIC),
      ...     {
      ...         "soft": Stage(num_steps=2, **common),
      ...         "hard": Stage(num_steps=2, begin_fn=jp.planners.MaxPlusVIN.hardened, **common),
      ...     },
      ...     keys=jax.random.split(jax.random.key(0), 2),
      ...     steps_per_call=2,
      ...     progress=False,
      ... )
      >>> planner.hard, {name: log[-1]["step"] for name, log in logs.items()}
      (True, {'soft': 2, 'hard': 2})
    """
    if keys.shape != (len(stages),):
        raise ValueError(
            f"keys have shape {list(keys.shape)}, expected [{len(stages)}], one for each stage; "
            "split one with jax.random.split."
        )
    logs: dict[str, list[dict[str, float]]] = {}
    for (name, stage), key in zip(stages.items(), keys, strict=True):
        module = module if stage.begin_fn is None else stage.begin_fn(module)
        logs[name] = []
        if stage.num_steps:
            module, logs[name] = train(
                module,
                scan_fn,
                *stage.data,
                batch_fn=stage.batch_fn,
                loss_fn=stage.loss_fn,
                optimizer=stage.optimizer,
                key=key,
                num_steps=stage.num_steps,
                steps_per_call=steps_per_call,
                directory=None if directory is None else pathlib.Path(directory) / name,
                settings=stage.settings,
                checkpoint_every=checkpoint_every,
                label=name,
                progress=progress,
            )
    return module, logs
