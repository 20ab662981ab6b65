"""OGBench's cube tasks: a robot arm that moves one to four cubes to their targets."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from ctypes.util import find_library
from typing import Any

import numpy as np

CUBE_ENVIRONMENTS = ("cube-single", "cube-double", "cube-triple", "cube-quadruple")
"""Names of the cube environments, by the number of cubes from 1 to 4."""


def make_cube_environment(name: str = "cube-single", *, render: bool = False, **options) -> Any:
    """A cube environment of OGBench, an arm with a gripper at 20 steps a second.

    Observations are float64 [19 + 9 n] for n cubes: 6 joint angles (rad), 6 joint velocities
    (rad/s), the hand's position, the cosine and sine of its yaw, the opening of the gripper times
    3, its contact, and per cube the position, the quaternion and the cosine and sine of the yaw.
    Positions are 10 ((x, y, z) - (0.425, 0, 0)) with x, y, z in metres. Actions are float32 [5] in
    [-1, 1]: 5 cm of motion along each axis, 0.3 rad of yaw, the opening of the gripper.

    MuJoCo reads the environment variable MUJOCO_GL when it is first imported. If it is unset, it
    is set here: to "disabled" if no pictures are wanted, or on Linux to "egl", which needs no
    display. So a program that wants pictures says ``render=True`` for its first environment.

    Args:
      name: "cube-single", "cube-double", "cube-triple" or "cube-quadruple".
      render: whether ``render()`` will be called.
      **options: of OGBench's environment, such as ``mode="data_collection"``.

    Returns:
      A `gymnasium.Env`; ``reset(options={"task_id": 1})`` starts the first of five tasks.

    Raises:
      ImportError: if OGBench is not installed.
      ValueError: if there is no such environment.

    Differentiability: none.

    Example:
      >>> env = make_cube_environment("cube-single")
      >>> env.spec.id, env.spec.max_episode_steps
      ('cube-single-v0', 200)

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL".
    """
    check_cube_environment(name)
    import_ogbench(render=render)
    import gymnasium

    with quiet_boxes():
        # The checker draws from the environment's generators and complains of infinite bounds.
        return gymnasium.make(f"{name}-v0", disable_env_checker=True, **options)


def check_cube_environment(name: str) -> None:
    """ValueError unless there is such an environment."""
    if name not in CUBE_ENVIRONMENTS:
        raise ValueError(
            f"cube environment: got {name!r}, expected one of {', '.join(CUBE_ENVIRONMENTS)}"
        )


def import_ogbench(*, render: bool = False) -> None:
    """OGBench, whose environments register themselves, or ImportError with the extra."""
    if not os.environ.get("MUJOCO_GL"):
        if not render or (sys.platform == "linux" and not find_library("EGL")):
            os.environ["MUJOCO_GL"] = "disabled"
        elif sys.platform == "linux":
            os.environ["MUJOCO_GL"] = "egl"
    try:
        import ogbench  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "cube tasks need OGBench; install it with: python -m pip install 'jplan[ogbench]'"
        ) from error


def import_mujoco() -> Any:
    """MuJoCo, once an environment is there; its names are unknown to type checkers."""
    import mujoco

    return mujoco


@contextlib.contextmanager
def quiet_boxes() -> Iterator[None]:
    """No warning that OGBench's action space is rounded to float32, given at each reset."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Box (low|high)'s precision", UserWarning)
        yield


@contextlib.contextmanager
def global_numpy_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator, from which OGBench's oracles draw, seeded and then put back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
