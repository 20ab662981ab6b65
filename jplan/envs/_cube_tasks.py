"""The episodes of OGBench's protocol, drawn once and kept in a file."""

import os
import pathlib
from typing import Any

import numpy as np
from flax import struct

from jplan._npz import read_npz, write_npz
from jplan.envs._cube_environments import (
    CUBE_ENVIRONMENTS,
    check_cube_environment,
    import_mujoco,
    make_cube_environment,
    quiet_boxes,
)

_NUM_TASKS = 5
_MAX_BYTES = 1 << 26


@struct.dataclass(kw_only=True)
class CubeTasks:
    """Where K episodes start and where their cubes must go.

    The arrays are NumPy's: a start in float32 would not be the same start.

    Attributes:
      environment: the name, static.
      task: int32 [K], 1 to 5.
      episode: int32 [K], number within the task, from 0.
      goals: float32 [K, D], what a policy is given: the observation of a state with all cubes at
        their targets and the arm in some pose, which does not count.
      start_qpos: float64 [K, Q], the simulator's coordinates at the start, at rest.
      targets: float64 [K, N, 3], of the N cubes, in metres.

    Example: see `draw_cube_tasks`.
    """

    environment: str = struct.field(pytree_node=False)
    task: np.ndarray
    episode: np.ndarray
    goals: np.ndarray
    start_qpos: np.ndarray
    targets: np.ndarray


def draw_cube_tasks(
    environment: str = "cube-single", *, episodes_per_task: int = 50, seed: int = 0
) -> CubeTasks:
    """Starts and goals for the five tasks of a cube environment, by OGBench's law.

    Args:
      environment: see `make_cube_environment`.
      episodes_per_task: OGBench evaluates with 50.
      seed: non-negative. An episode depends on the seed, its task and its number alone, so
        fewer episodes are the first of more.

    Returns:
      `CubeTasks` of K = 5 episodes_per_task, in the order of the tasks.

    Raises:
      ValueError: if an argument is out of range.
      ImportError: if OGBench is not installed.

    Differentiability: none.

    Example:
      >>> tasks = draw_cube_tasks("cube-single", episodes_per_task=2)
      >>> tasks.goals.shape, tasks.targets[:2, 0]
      ((10, 28), array([[ 0.425, -0.1  ,  0.02 ],
             [ 0.425, -0.1  ,  0.02 ]]))

    Note: OGBench shows goals after two random actions that cannot be seeded; here they can.
    Another version of MuJoCo may still give other numbers, so keep them with `save_cube_tasks`.

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL".
    """
    check_cube_environment(environment)
    for name, number, least in (
        ("episodes_per_task", episodes_per_task, 1),
        ("seed", seed, 0),
    ):
        if number < least:
            raise ValueError(f"{name}: got {number}, expected at least {least}")
    env = make_cube_environment(environment)
    numbers = [(t, e) for t in range(1, _NUM_TASKS + 1) for e in range(episodes_per_task)]
    goals, starts, targets = zip(*(_draw(env, seed, *number) for number in numbers), strict=True)
    env.close()
    task, episode = np.array(numbers, np.int32).T
    return CubeTasks(
        environment=environment,
        task=task,
        episode=episode,
        goals=np.array(goals, np.float32),
        start_qpos=np.array(starts),
        targets=np.array(targets),
    )


def _draw(env: Any, seed: int, task: int, episode: int) -> tuple[np.ndarray, ...]:
    mujoco = import_mujoco()
    reset, actions = np.random.SeedSequence((seed, task, episode)).spawn(2)
    inner = env.unwrapped
    with quiet_boxes():
        env.reset(seed=int(reset.generate_state(1)[0]), options={"task_id": task})
    model, data = inner.model, inner.data
    start, targets = data.qpos.copy(), cube_targets(env)
    # The goal anew, as OGBench makes it, but for the generator of the two actions.
    mujoco.mj_resetData(model, data)
    inner.initialize_arm()
    for cube, target in enumerate(targets):
        joint = data.joint(f"object_joint_{cube}")
        joint.qpos[:3], joint.qpos[3:] = target, (1, 0, 0, 0)
    mujoco.mj_forward(model, data)
    for action in np.random.default_rng(actions).uniform(-1, 1, (2, 5)):
        inner.step(action)
    return inner.compute_observation(), start, targets


def start_cube_episode(env: Any, tasks: CubeTasks, index: int) -> np.ndarray:
    """Bring an environment that was reset once to the start of an episode; its observation."""
    mujoco = import_mujoco()
    inner = env.unwrapped
    with quiet_boxes():
        env.reset(seed=0, options={"task_id": int(tasks.task[index])})
    # The reset leaves behind forces and a clock that depend on its two random actions.
    mujoco.mj_resetData(inner.model, inner.data)
    inner.data.qpos[:] = tasks.start_qpos[index]
    inner.data.mocap_pos[_target_ids(env)] = tasks.targets[index]
    inner.data.mocap_quat[_target_ids(env)] = (1, 0, 0, 0)
    mujoco.mj_forward(inner.model, inner.data)
    return inner.compute_observation()


def cube_targets(env: Any) -> np.ndarray:
    """[N, 3] in metres."""
    return env.unwrapped.data.mocap_pos[_target_ids(env)].copy()


def _target_ids(env: Any) -> list[int]:
    model = env.unwrapped.model
    names = [model.body(n).name for n in range(model.nbody)]
    cubes = sorted(name for name in names if name.startswith("object_target_"))
    return [int(model.body(name).mocapid[0]) for name in cubes]


def save_cube_tasks(path: str | os.PathLike[str], tasks: CubeTasks) -> None:
    """Write episodes to a file, which `load_cube_tasks` reads.

    Args:
      path: ends in ``.npz``; missing folders are created.
      tasks: the episodes.

    Raises:
      ValueError: if the path does not end in ``.npz``.

    Differentiability: none.

    Example: see `load_cube_tasks`.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: got {path.name!r}, expected a name that ends in .npz")
    write_npz(path, vars(tasks))


def load_cube_tasks(path: str | os.PathLike[str]) -> CubeTasks:
    """Read episodes that `save_cube_tasks` wrote.

    Args:
      path: the file; at most 2^26 bytes when unpacked.

    Returns:
      The episodes, bit for bit.

    Raises:
      ValueError: if the file is none of these, naming it, what was found and what was expected.
      FileNotFoundError: if there is no such file.

    Differentiability: none.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "tasks.npz"
      >>> save_cube_tasks(path, draw_cube_tasks("cube-single", episodes_per_task=1))
      >>> load_cube_tasks(path).task
      array([1, 2, 3, 4, 5], dtype=int32)
    """
    try:
        arrays = read_npz(path, list(CubeTasks.__dataclass_fields__), max_bytes=_MAX_BYTES)
        _check(arrays)
    except ValueError as error:
        raise ValueError(
            f"{os.fspath(path)}: not a file of cube tasks: {error}; draw the episodes again with "
            f"draw_cube_tasks and write them with save_cube_tasks"
        ) from error
    return CubeTasks(environment=str(arrays.pop("environment")), **arrays)


def _check(arrays: dict[str, np.ndarray]) -> None:
    environment = str(arrays["environment"])
    check_cube_environment(environment)
    cubes, count = CUBE_ENVIRONMENTS.index(environment) + 1, arrays["task"].size
    layout = {
        "task": (np.int32, (count,)),
        "episode": (np.int32, (count,)),
        "goals": (np.float32, (count, 19 + 9 * cubes)),
        "start_qpos": (np.float64, (count, 14 + 7 * cubes)),
        "targets": (np.float64, (count, cubes, 3)),
    }
    for name, (dtype, shape) in layout.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape:
            got = f"{array.dtype} {list(array.shape)}"
            raise ValueError(f"{name}: got {got}, expected {np.dtype(dtype)} {list(shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: got numbers that are not finite")
    if count == 0 or not ((arrays["task"] >= 1) & (arrays["task"] <= _NUM_TASKS)).all():
        raise ValueError(f"task: got {np.unique(arrays['task'])}, expected numbers from 1 to 5")
