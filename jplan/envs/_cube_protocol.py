"""OGBench's protocol for the cube tasks, many episodes at a time."""

import warnings
from typing import Any

import numpy as np
from rich.progress import Progress

from jplan.envs._cube_environments import import_mujoco, make_cube_environment
from jplan.envs._cube_policies import CubeActFn, CubeStartFn
from jplan.envs._cube_results import CubeResults
from jplan.envs._cube_tasks import CubeTasks, cube_targets, start_cube_episode
from jplan.envs._episode_bar import episode_bar


def evaluate_cube_policy(
    start_fn: CubeStartFn,
    tasks: CubeTasks,
    *,
    batch_size: int = 50,
    num_recorded: int = 0,
    progress: bool = True,
) -> CubeResults:
    """Run a policy through episodes of a cube environment.

    An episode ends with its first success or, without one, at the environment's cap (200 steps for
    one cube, 500 for two, 1000 for more). The policy acts for a whole batch at once.

    Args:
      start_fn: (goals [B, D]) -> act_fn, and act_fn(observations [B, D]) -> actions [B, 5], clipped
        to [-1, 1]; observations and goals are float32. Episodes that are over stay in the batch,
        with their last observation, and their actions are ignored.
      tasks: K episodes, of `draw_cube_tasks` or `load_cube_tasks`.
      batch_size: B; the last batch may be smaller.
      num_recorded: of the first so many episodes of each task pictures are kept, 120 KB a step,
        which without a GPU are slow to make. Without OpenGL there is a warning and no
        picture: see `make_cube_environment` for what must come first.
      progress: whether to show a progress bar.

    Returns:
      `CubeResults` of K episodes.

    Raises:
      ValueError: if an argument is out of range, or actions have another shape or are not finite.
      ImportError: if OGBench is not installed.

    Differentiability: none.

    Example:
      >>> from jplan.envs import draw_cube_tasks, scripted_cube_policy
      >>> tasks = draw_cube_tasks("cube-single", episodes_per_task=1)
      >>> results = evaluate_cube_policy(scripted_cube_policy("markov"), tasks, progress=False)
      >>> results.summary()[-1]["success"]
      1.0

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL", with 50
    episodes for each of 5 tasks.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
    if num_recorded < 0:
        raise ValueError(f"num_recorded: got {num_recorded}, expected at least 0")
    env = make_cube_environment(tasks.environment, render=num_recorded > 0)
    total = len(tasks.task)
    is_success, length, distance = np.zeros(total, bool), np.zeros(total, np.int32), np.zeros(total)
    recorder = _Recorder(env, [k for k in range(total) if tasks.episode[k] < num_recorded])
    with episode_bar(tasks.environment, total, enabled=progress) as bar:
        for first in range(0, total, batch_size):
            indices = range(first, min(first + batch_size, total))
            outcomes = _run_batch(env, start_fn, tasks, indices, recorder, bar)
            for index, outcome in zip(indices, outcomes, strict=True):
                is_success[index], length[index], distance[index] = outcome
    env.close()
    return CubeResults(
        task=tasks.task,
        episode=tasks.episode,
        is_success=is_success,
        length=length,
        final_distance=distance,
        frames=recorder.stacked(),
    )


def _run_batch(
    env: Any,
    start_fn: CubeStartFn,
    tasks: CubeTasks,
    indices: range,
    recorder: "_Recorder",
    bar: Progress,
) -> list[tuple[bool, int, float]]:
    """Success, steps taken and final distance of each episode."""
    mujoco = import_mujoco()
    inner, cap = env.unwrapped, env.spec.max_episode_steps
    # An environment is mostly its model, which all share: only the part that changes is swapped.
    parts, starts = [], []
    for index in indices:
        starts.append(start_cube_episode(env, tasks, index))
        recorder.record(index)
        parts.append(mujoco.MjData(inner.model))
        mujoco.mj_copyData(parts[-1], inner.model, inner.data)
    observations = np.array(starts, np.float32)
    act_fn = start_fn(tasks.goals[indices.start : indices.stop].copy())
    running = set(range(len(indices)))
    outcomes = [(False, 0, 0.0)] * len(indices)
    for step in range(1, cap + 1):
        actions = _act(act_fn, observations)
        for row in sorted(running):
            mujoco.mj_copyData(inner.data, inner.model, parts[row])
            observation, _, is_terminated, _, info = inner.step(actions[row])
            mujoco.mj_copyData(parts[row], inner.model, inner.data)
            observations[row] = observation
            recorder.record(indices[row])
            if is_terminated or step == cap:
                running.remove(row)
                targets = cube_targets(env)
                cubes = [info[f"privileged/block_{n}_pos"] for n in range(len(targets))]
                distance = np.linalg.norm(cubes - targets, axis=1).max()
                outcomes[row] = (is_terminated, step, float(distance))
                bar.advance(bar.task_ids[0])
        bar.update(bar.task_ids[0], description=f"{tasks.environment}, step {step}")
        if not running:
            break
    return outcomes


def _act(act_fn: CubeActFn, observations: np.ndarray) -> np.ndarray:
    actions = np.asarray(act_fn(observations.copy()), np.float32)
    expected = (len(observations), 5)
    if actions.shape != expected:
        raise ValueError(
            f"act_fn: got actions {list(actions.shape)}, expected {list(expected)}: one row for "
            f"each observation, also of episodes that are over"
        )
    if not np.isfinite(actions).all():
        row = int(np.argmin(np.isfinite(actions).all(axis=1)))
        raise ValueError(f"act_fn: got {actions[row]} in row {row}, expected finite actions")
    return np.clip(actions, -1, 1)


class _Recorder:
    """Pictures of chosen episodes, or a warning if there can be none."""

    def __init__(self, env: Any, indices: list[int]) -> None:
        self._env = env
        self._frames: dict[int, list[np.ndarray]] = {index: [] for index in indices}

    def record(self, index: int) -> None:
        if index not in self._frames:
            return
        try:
            self._frames[index].append(self._env.unwrapped.render())
        # Without OpenGL it may be an error of any type, by platform and driver.
        except Exception as error:
            self._frames = {}
            warnings.warn(
                f"evaluate_cube_policy: no pictures, since OpenGL does not work here "
                f"({type(error).__name__}: {error}). On Linux, install libEGL and start Python "
                f"with the environment variable MUJOCO_GL=egl, or make the first environment of "
                f"the program with make_cube_environment(name, render=True)",
                RuntimeWarning,
                stacklevel=4,
            )

    def stacked(self) -> dict[int, np.ndarray]:
        return {index: np.stack(frames) for index, frames in self._frames.items()}
