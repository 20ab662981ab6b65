"""The training loop: scanned steps, progress, metrics, checkpoints, resumption."""

import csv
import functools
import pathlib
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jplan._typing import Array, PyTree
from jplan.training._checkpoint import CheckpointFolder
from jplan.training._progress import ProgressBar
from jplan.training._step import LossFn, TrainState, init_state, train_step

Module = TypeVar("Module", bound=nnx.Module)


def fit(
    module: Module,
    batch_fn: Callable[[Array], PyTree],
    loss_fn: LossFn,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    key: Array,
    steps_per_call: int = 20,
    directory: str | pathlib.Path | None = None,
    checkpoint_every: int = 200,
    label: str = "training",
    progress: bool = True,
) -> tuple[Module, list[dict[str, float]]]:
    """Train a module, and go on where a stopped run left off.

    Data, randomness and parameters of a step depend on the key and the step alone, so a run that
    was killed and started again gives the same numbers as one that was not (same machine, same
    versions). Steps are scanned ``steps_per_call`` at a time on the device; the key data, the
    parameters and the optimiser state are in each checkpoint.

    Args:
      module: NNX module; left unchanged.
      batch_fn: pure, ``batch_fn(key) -> batch``; traced into the training step.
      loss_fn: ``loss_fn(module, batch, key) -> (loss, metrics)``.
      optimizer: optax optimiser.
      num_steps: number of steps.
      key: consumed.
      steps_per_call: steps between two looks at the metrics; divides ``num_steps``.
      directory: where to keep ``training.csv`` and checkpoints; None keeps nothing. A directory
        with checkpoints of the same configuration is resumed.
      checkpoint_every: steps between checkpoints, a multiple of ``steps_per_call``.
      label: shown beside the progress bar.
      progress: whether to show the bar.

    Returns:
      The trained module, and the metrics averaged over each call: a list of dicts with ``step``,
      ``seconds`` and the metrics of ``loss_fn``. After a resumption the list has the rows of
      ``training.csv`` as well.

    Raises:
      ValueError: if the numbers of steps do not fit each other, or a checkpoint is damaged.

    Example:
      >>> from jplan import planners, training
      >>> planner = planners.ConvGPPN(4, 2, hidden=4, max_steps=9, rngs=nnx.Rngs(0))
      >>> maps_fn = lambda key: jax.random.uniform(key, (2, 7, 7, 2))
      >>> loss_fn = lambda planner, maps, key: ((planner(maps) ** 2).mean(), {})
      >>> planner, rows = fit(
      ...     planner,
      ...     maps_fn,
      ...     loss_fn,
      ...     optimizer=optax.adam(1e-2),
      ...     num_steps=4,
      ...     steps_per_call=2,
      ...     key=jax.random.key(0),
      ...     progress=False,
      ... )
      >>> [row["step"] for row in rows]
      [2, 4]
    """
    if num_steps % steps_per_call or checkpoint_every % steps_per_call:
        raise ValueError(
            f"num_steps is {num_steps} and checkpoint_every {checkpoint_every}, expected multiples "
            f"of steps_per_call, {steps_per_call}."
        )
    data_key, run_key = jax.random.split(key)
    graphdef, state = init_state(module, optimizer, run_key)
    step_fn = functools.partial(
        train_step, graphdef=graphdef, optimizer=optimizer, loss_fn=loss_fn
    )

    # The caller's functions are fixed for the whole run, so this compiles once.
    @jax.jit
    def advance(state: TrainState, data_key: Array) -> tuple[TrainState, dict[str, Array]]:
        def body(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
            return step_fn(state, batch_fn(jax.random.fold_in(data_key, state.step)))

        state, metrics = jax.lax.scan(body, state, None, length=steps_per_call)
        return state, jax.tree.map(jnp.mean, metrics)

    folder = None if directory is None else pathlib.Path(directory)
    checkpoints = None if folder is None else CheckpointFolder(folder / "checkpoints")
    rows: list[dict[str, float]] = []
    if checkpoints is not None and checkpoints.latest_step() is not None:
        state = checkpoints.restore(state)
        rows = [row for row in _read_rows(folder) if row["step"] <= int(state.step)]
    first = int(state.step)
    spent = rows[-1]["seconds"] if rows else 0.0
    begin = time.perf_counter()
    with ProgressBar(label, num_steps, start=first, enabled=progress) as bar:
        for step in range(first + steps_per_call, num_steps + 1, steps_per_call):
            state, metrics = advance(state, data_key)
            metrics = {name: float(value) for name, value in metrics.items()}
            seconds = time.perf_counter() - begin
            rows.append({"step": step, "seconds": round(spent + seconds, 3), **metrics})
            bar.update(step, rate=(step - first) / seconds, metrics=metrics)
            if checkpoints is not None and (step % checkpoint_every == 0 or step == num_steps):
                # Rows first: a kill in between leaves rows that the next start cuts off.
                _write_rows(folder, rows)
                checkpoints.save(step, state)
    return nnx.merge(graphdef, state.params), rows


def _read_rows(folder: pathlib.Path) -> list[dict[str, float]]:
    with open(folder / "training.csv", newline="") as file:
        return [
            {name: int(value) if name == "step" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _write_rows(folder: pathlib.Path, rows: list[dict[str, float]]) -> None:
    partial = folder / "training.csv.partial"
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(folder / "training.csv")
