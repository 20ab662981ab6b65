"""Data sets of the cube tasks, read as the untrusted files that they are."""

import os

import numpy as np
from flax import struct

from jplan.envs._cube_environments import CUBE_ENVIRONMENTS
from jplan.envs._npz import read_npz

_MAX_BYTES = 1 << 33
_DATA = ("observations", "actions", "terminals")


@struct.dataclass(kw_only=True)
class CubeData:
    """N episodes of T states each, as NumPy arrays.

    Attributes:
      observations: float32 [N, T, D], see `make_cube_environment`.
      actions: float32 [N, T, 5] in [-1, 1]; the last of an episode has no next state.

    Example: see `load_cube_data`.
    """

    observations: np.ndarray
    actions: np.ndarray


def load_cube_data(path: str | os.PathLike[str]) -> CubeData:
    """Read a data set of a cube task, ours or one of OGBench.

    Args:
      path: an ``.npz`` file; at most 2^33 bytes when unpacked. ``x-val.npz`` is the other half.

    Returns:
      `CubeData`, whole episodes with their last state, which OGBench's own loader drops.

    Raises:
      FileNotFoundError: if there is no such file, with the command that makes one.
      ValueError: if the file is no such data set, naming it, what was found and what was expected.

    Differentiability: none.

    Example:
      >>> import pathlib, tempfile
      >>> from jplan.envs import generate_cube_data
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.npz"
      >>> generate_cube_data(path, num_episodes=2, num_validation=1, num_states=4, progress=False)
      >>> load_cube_data(path).observations.shape
      (2, 4, 28)

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL".
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        # Both halves of a data set come from one command.
        folder, name = os.path.split(path)
        target = os.path.join(folder, name.replace("-val.npz", ".npz"))
        kind = "play" if "play" in name else "noisy"
        environment = next((e for e in CUBE_ENVIRONMENTS if name.startswith(e)), "cube-single")
        raise FileNotFoundError(
            f"{path}: no such file; make it, in about 25 minutes, with python "
            f"experiments/pad_cube/data.py --environment {environment} --kind {kind} --out {target}"
        )
    try:
        arrays = read_npz(path, _DATA, max_bytes=_MAX_BYTES)
        num_states = _check(**arrays)
    except ValueError as error:
        raise ValueError(
            f"{path}: not a data set of a cube task: {error}; remove it and make it anew with "
            f"generate_cube_data"
        ) from error
    observations, actions = arrays["observations"], arrays["actions"]
    return CubeData(
        observations=observations.reshape(-1, num_states, observations.shape[1]),
        actions=actions.reshape(-1, num_states, 5),
    )


def _check(observations: np.ndarray, actions: np.ndarray, terminals: np.ndarray) -> int:
    """The number of states of an episode, which is the same for all."""
    count = terminals.size
    dims = observations.shape[-1] if observations.ndim == 2 else 0
    if observations.shape != (count, dims) or dims < 28 or (dims - 19) % 9:
        raise ValueError(
            f"observations: got {list(observations.shape)}, expected [{count}, 19 + 9 cubes]"
        )
    if actions.shape != (count, 5):
        raise ValueError(f"actions: got {list(actions.shape)}, expected [{count}, 5]")
    for name, array in (("observations", observations), ("actions", actions)):
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"{name}: got {array.dtype}, expected finite float32")
    ends = np.flatnonzero(terminals) + 1
    if not len(ends) or ends[0] < 2 or (ends != ends[0] * np.arange(1, len(ends) + 1)).any():
        raise ValueError("terminals: got episodes of several lengths, expected one length")
    if ends[-1] != count:
        raise ValueError(f"terminals: got a last episode without an end at row {count - 1}")
    return int(ends[0])
