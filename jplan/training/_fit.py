"""The training loop: progress, metrics, checkpoints, resumption."""

import csv
import json
import math
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jplan._typing import Array
from jplan.training._checkpoint import CheckpointFolder
from jplan.training._progress import ProgressBar
from jplan.training._step import TrainState


def fit(
    advance_fn: Callable[[TrainState], tuple[TrainState, dict[str, Array]]],
    state: TrainState,
    *,
    num_steps: int,
    directory: str | pathlib.Path | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint_every: int = 200,
    label: str = "training",
    progress: bool = True,
) -> tuple[TrainState, list[dict[str, float]]]:
    """Run a training function to a given step, and go on where a stopped run left off.

    What a step does depends on the state alone, so a run that was killed and started again gives
    the same numbers as one that was not (same machine, same versions).

    Args:
      advance_fn: ``state -> (state, metrics)``, some steps further; usually a jitted `scan_steps`.
        Jit it once and use it for several seeds.
      state: where to begin.
      num_steps: the step at which to end.
      directory: where to keep ``training.csv`` and checkpoints; None keeps nothing. If it holds
        checkpoints the newest one replaces ``state``.
      settings: what makes this run what it is, as JSON has it; kept in the directory, and a
        directory with other settings is refused instead of resumed.
      checkpoint_every: steps between checkpoints; there is always one at the end.
      label: shown beside the progress bar.
      progress: whether to show the bar.

    Returns:
      The state at ``num_steps``, and one dict for each call with ``step``, ``seconds`` and the
      metrics, those before a resumption included.

    Raises:
      ValueError: if ``advance_fn`` does not count steps up, steps over ``num_steps`` or returns
        metrics that are no scalars or not always the same ones, if the directory belongs to a run
        with other settings or to a longer one, or one of its files is damaged.

    Warns:
      RuntimeWarning: at the first ``loss`` that is not finite, and not again after a resumption.

    Example:
      >>> import functools
      >>> import jax, optax
      >>> from flax import nnx
      >>> from jplan import planners, training
      >>> planner = planners.ConvGPPN(4, 2, hidden=4, max_steps=9, rngs=nnx.Rngs(0))
      >>> optimizer = optax.adam(1e-2)
      >>> graphdef, state = training.init_state(planner, optimizer, jax.random.key(0))
      >>> advance = functools.partial(
      ...     training.scan_steps,
      ...     graphdef=graphdef,
      ...     optimizer=optimizer,
      ...     batch_fn=lambda key: jax.random.uniform(key, (2, 7, 7, 2)),
      ...     loss_fn=lambda planner, maps, key: ((planner(maps) ** 2).mean(), {}),
      ...     num_steps=2,
      ... )
      >>> state, rows = fit(jax.jit(advance), state, num_steps=4, progress=False)
      >>> planner = nnx.merge(graphdef, state.params)
      >>> [row["step"] for row in rows]
      [2, 4]
    """
    folder = None if directory is None else pathlib.Path(directory)
    checkpoints: CheckpointFolder | None = None
    rows: list[dict[str, float]] = []
    if folder is not None:
        _claim(folder, dict(settings or {}))
        checkpoints = CheckpointFolder(folder / "checkpoints")
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
            rows = [row for row in _read_rows(folder) if row["step"] <= int(state.step)]
            if not rows or rows[-1]["step"] != int(state.step):
                raise ValueError(
                    f"{folder / 'training.csv'} has no row of step {int(state.step)}, where the "
                    f"newest checkpoint is; it is damaged. Restore it, or delete {folder} to start "
                    "afresh."
                )
    first = step = saved = int(state.step)
    if first > num_steps:
        raise ValueError(
            f"the run begins at step {first}, expected at most {num_steps}; raise num_steps or "
            "give a new directory."
        )
    spent = rows[-1]["seconds"] if rows else 0.0
    begin = time.perf_counter()
    with ProgressBar(label, num_steps, start=first, enabled=progress) as bar:
        while step < num_steps:
            state, numbers = _advance(advance_fn, state, num_steps)
            step = int(state.step)
            _check_names(numbers, rows)
            seconds = time.perf_counter() - begin
            rows.append({"step": step, "seconds": round(spent + seconds, 3), **numbers})
            _check_loss(rows, label)
            bar.update(step, rate=(step - first) / seconds, metrics=numbers)
            due = step - saved >= checkpoint_every or step == num_steps
            if folder is not None and checkpoints is not None and due:
                # Rows first: a kill in between leaves rows that the next start cuts off.
                _write_rows(folder, rows)
                checkpoints.save(step, state)
                saved = step
    return state, rows


def _advance(
    advance_fn: Callable[[TrainState], tuple[TrainState, dict[str, Array]]],
    state: TrainState,
    num_steps: int,
) -> tuple[TrainState, dict[str, float]]:
    """One call, its metrics as numbers; ValueError if it did not do what `fit` asks of it."""
    before = int(state.step)
    state, metrics = advance_fn(state)
    step = int(state.step)
    if step <= before:
        raise ValueError(
            f"advance_fn went from step {before} to step {step}, expected a later one; return the "
            "new state with its step counted up."
        )
    if step > num_steps:
        raise ValueError(
            f"advance_fn went on to step {step}, expected to stop at {num_steps}; make num_steps a "
            "multiple of the steps of one call."
        )
    for name, value in metrics.items():
        if jax.numpy.ndim(value) > 0:
            raise ValueError(
                f"the metric {name} has shape {list(value.shape)}, expected a scalar; average it."
            )
    return state, {name: float(value) for name, value in metrics.items()}


def _check_names(numbers: dict[str, float], rows: list[dict[str, float]]) -> None:
    """ValueError unless a call has the metrics of the one before it."""
    expected = rows[-1].keys() - {"step", "seconds"} if rows else numbers.keys()
    if numbers.keys() != expected:
        raise ValueError(
            f"advance_fn returns the metrics {sorted(numbers)}, expected {sorted(expected)} as in "
            "the calls before."
        )


def _check_loss(rows: list[dict[str, float]], label: str) -> None:
    """Warn of the first loss that is not finite."""
    last = rows[-1].get("loss", 0.0)
    if not math.isfinite(last) and all(math.isfinite(row["loss"]) for row in rows[:-1]):
        warnings.warn(
            f"{label}: the loss is {last} at step {rows[-1]['step']}; lower the learning rate, "
            "clip the gradient, or leave such steps out with optax.apply_if_finite.",
            RuntimeWarning,
            stacklevel=3,
        )


def _claim(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new run, or refuse the directory of a different one."""
    file, text = folder / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
    if file.exists() and file.read_text() != text:
        raise ValueError(
            f"{folder} holds a run with other settings:\n{file.read_text()}\nexpected\n{text}\n"
            "Give another directory, or delete this one to start afresh."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _read_rows(folder: pathlib.Path) -> list[dict[str, float]]:
    path = folder / "training.csv"
    try:
        with open(path, newline="") as file:
            return [
                {
                    name: int(value) if name == "step" else float(value)
                    for name, value in row.items()
                }
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); it is damaged. Restore it, or delete {folder} to "
            "start afresh."
        ) from error


def _write_rows(folder: pathlib.Path, rows: list[dict[str, float]]) -> None:
    partial = folder / "training.csv.partial"
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(folder / "training.csv")
