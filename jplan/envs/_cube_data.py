"""Data sets of the cube tasks, in the files of OGBench."""

import json
import multiprocessing
import os
import pathlib
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.progress import Progress

from jplan._npz import read_npz, write_npz
from jplan.envs._cube_environments import check_cube_environment, import_ogbench
from jplan.envs._cube_episodes import COLUMNS, KINDS, Recipe, collect_episode, make_collector
from jplan.envs._episode_bar import episode_bar

_MAX_BYTES = 1 << 33


def generate_cube_data(
    path: str | os.PathLike[str],
    *,
    environment: str = "cube-single",
    kind: str = "play",
    num_episodes: int = 1000,
    num_validation: int = 100,
    num_states: int = 1001,
    seed: int = 0,
    processes: int = 1,
    shard_size: int = 20,
    progress: bool = True,
) -> None:
    """Write a data set of a cube task in the format of OGBench.

    ``x.npz`` gets the first episodes and ``x-val.npz`` the rest, each with ``observations``,
    ``actions``, ``qpos`` and ``qvel`` (float32 [N T, ...], T states an episode) and ``terminals``
    (bool [N T], True at the last state of an episode). Episodes go to shards in the folder
    ``x.parts`` first, so that the same call continues a run that was stopped; the folder is
    removed at the end.

    Args:
      path: ends in ``.npz``; missing folders are created.
      environment: see `make_cube_environment`.
      kind: "play", open-loop plans with noise, or "noisy", a closed loop with stronger noise and
        random actions.
      num_episodes: in the first file. OGBench has 1000 for one or two cubes, 3000 for three, 5000
        for four.
      num_validation: in the second file. OGBench has a tenth.
      num_states: of an episode, T; the data set has T - 1 transitions for each.
      seed: non-negative. An episode depends on the seed and its number alone, not on the other
        episodes, the processes or the shards.
      processes: how many work at once. More than one needs a main module that can be imported.
      shard_size: episodes in a shard; a process that is stopped loses at most one shard.
      progress: whether to show a progress bar.

    Raises:
      ValueError: if an argument is out of range, or a stopped run has left parts of other data.
      FileExistsError: if there is such a data set already.
      ImportError: if OGBench is not installed.
      RuntimeError: if one of several processes fails; the others are stopped.

    Differentiability: none.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.npz"
      >>> generate_cube_data(path, num_episodes=2, num_validation=1, num_states=4, progress=False)
      >>> data = np.load(path, allow_pickle=False)
      >>> data["observations"].shape, data["actions"].shape
      ((8, 28), (8, 5))

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL", and
    ``data_gen_scripts/generate_manipspace.py`` in its repository, with ``p_random_action`` 0.1 for
    "noisy". The random streams are our own, so the numbers are not those of the published files.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: got {path.name!r}, expected a name that ends in .npz")
    check_cube_environment(environment)
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    least = {
        "num_episodes": (num_episodes, 1),
        "num_validation": (num_validation, 1),
        "num_states": (num_states, 2),
        "seed": (seed, 0),
        "processes": (processes, 1),
        "shard_size": (shard_size, 1),
    }
    for name, (number, minimum) in least.items():
        if number < minimum:
            raise ValueError(f"{name}: got {number}, expected at least {minimum}")
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it to make the data set anew")
    import_ogbench()

    recipe = Recipe(environment, kind, seed, num_states)
    total = num_episodes + num_validation
    folder = path.with_suffix(".parts")
    _claim(folder, recipe, total, shard_size)
    shards = {
        folder / f"{first:06d}.npz": range(first, min(first + shard_size, total))
        for first in range(0, total, shard_size)
    }
    missing = {part: numbers for part, numbers in shards.items() if not _is_whole(part)}
    with episode_bar(path.stem, total, enabled=progress) as bar:
        bar.update(bar.task_ids[0], completed=total - sum(map(len, missing.values())))
        if processes == 1:
            _write_shards(recipe, missing, lambda: bar.advance(bar.task_ids[0]))
        else:
            _write_in_processes(recipe, missing, processes, bar)
    validation = path.with_name(f"{path.stem}-val.npz")
    # The data set exists once its first file does, so that one comes last.
    write_npz(validation, _gather(shards, recipe, range(num_episodes, total)))
    write_npz(path, _gather(shards, recipe, range(num_episodes)))
    shutil.rmtree(folder)


def _claim(folder: pathlib.Path, recipe: Recipe, total: int, shard_size: int) -> None:
    """Make the folder of the parts, or see that what is in it belongs to the same data set."""
    # Another simulator gives other episodes.
    versions = {name: version(name) for name in ("ogbench", "mujoco")}
    wanted = recipe._asdict() | {"episodes": total, "shard_size": shard_size} | versions
    label = folder / "recipe.json"
    folder.mkdir(parents=True, exist_ok=True)
    if label.exists():
        found = json.loads(label.read_text())
        differ = [name for name in wanted if found.get(name) != wanted[name]]
        if differ:
            raise ValueError(
                f"{folder}: got parts of a stopped run with other {', '.join(differ)}, expected "
                f"those of this call; finish that run first, or remove the folder"
            )
    else:
        scratch = label.with_name(f"{label.name}.{os.getpid()}.tmp")
        scratch.write_text(json.dumps(wanted, indent=1) + "\n")
        os.replace(scratch, label)


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a shard is there and can be read; a full disk, say, leaves one that cannot."""
    try:
        read_npz(path, COLUMNS, max_bytes=_MAX_BYTES)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _write_shards(
    recipe: Recipe, shards: dict[pathlib.Path, range], on_episode: Callable[[], None] | None = None
) -> None:
    if not shards:
        return
    env, oracle = make_collector(recipe)
    for path, numbers in shards.items():
        episodes = []
        for number in numbers:
            episodes.append(collect_episode(env, oracle, recipe, number))
            if on_episode is not None:
                on_episode()
        write_npz(path, {n: np.concatenate([e[n] for e in episodes]) for n in COLUMNS})
    env.close()


def _write_in_processes(
    recipe: Recipe, shards: dict[pathlib.Path, range], processes: int, bar: Progress
) -> None:
    parts = [dict(list(shards.items())[n::processes]) for n in range(processes)]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_shards, args=(recipe, p), daemon=True) for p in parts]
    done = bar.tasks[0].completed
    try:
        for worker in workers:
            worker.start()
        is_over = False
        while not is_over:
            time.sleep(0.2)
            is_over = not any(worker.is_alive() for worker in workers)
            finished = sum(len(numbers) for path, numbers in shards.items() if path.exists())
            bar.update(bar.task_ids[0], completed=done + finished)
            if any(worker.exitcode for worker in workers):
                raise RuntimeError(
                    "generate_cube_data: a process failed, for the reason printed above; the same "
                    "call continues from the shards that are complete"
                )
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()


def _gather(
    shards: dict[pathlib.Path, range], recipe: Recipe, wanted: range
) -> dict[str, np.ndarray]:
    """Columns of the episodes with the wanted numbers, allocated once."""
    columns: dict[str, Any] = {}
    for path, numbers in shards.items():
        common = range(max(numbers.start, wanted.start), min(numbers.stop, wanted.stop))
        if not common:
            continue
        source = [(n - numbers.start) * recipe.num_states for n in (common.start, common.stop)]
        target = [(n - wanted.start) * recipe.num_states for n in (common.start, common.stop)]
        for name, rows in read_npz(path, COLUMNS, max_bytes=_MAX_BYTES).items():
            if name not in columns:
                shape = (len(wanted) * recipe.num_states, *rows.shape[1:])
                columns[name] = np.empty(shape, rows.dtype)
            columns[name][slice(*target)] = rows[slice(*source)]
    return columns
