"""States and actions that somebody recorded, in episodes of unequal length."""

import pathlib

import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._npz import read_npz
from jplan._typing import Array

_NAMES = "observations", "actions", "terminals"
_MAX_BYTES = 1 << 36  # of what is read; a small file can unpack to any size


@struct.dataclass(kw_only=True)
class OfflineData:
    """Episodes, one after the other.

    Attributes:
      states: [S, D], all of them, those of an episode in order.
      actions: [S, A], taken in the states; that of an episode's last state means nothing.
      firsts: [E] int32, row of the first state of each episode.
      lengths: [E] int32, states of each episode.
    """

    states: Array
    actions: Array
    firsts: Array
    lengths: Array

    def standard_numbers(self, *, floor: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the states, [D] each.

        Args:
          floor: least deviation, as a share of the median one; what hardly moves is not blown up.
            What does not move at all is not among those that the median is of.
        """
        states = np.asarray(self.states, np.float64)
        deviation = states.std(0)
        moving = deviation[deviation > 0]
        least = floor * float(np.median(moving)) if len(moving) else 1.0
        return states.mean(0), np.maximum(deviation, least)

    def first_episodes(self, count: int) -> "OfflineData":
        """The first so many episodes; ValueError if there are not as many."""
        if not 1 <= count <= len(self.firsts):
            raise ValueError(f"count is {count}, expected 1 to {len(self.firsts)}.")
        rows = int(self.firsts[count - 1] + self.lengths[count - 1])
        return OfflineData(
            states=self.states[:rows],
            actions=self.actions[:rows],
            firsts=self.firsts[:count],
            lengths=self.lengths[:count],
        )


def offline_data(states: np.ndarray, actions: np.ndarray, terminals: np.ndarray) -> OfflineData:
    """Episodes from plain arrays.

    Args:
      states: [S, D], all finite.
      actions: [S, A], all finite.
      terminals: [S], true in the last row of each episode.

    Returns:
      `OfflineData` in float32.

    Raises:
      ValueError: if shapes do not fit, a number is not finite, there are no states, the last row
        ends no episode, or an episode has a single state.

    Example:
      >>> data = offline_data(np.zeros((5, 2)), np.zeros((5, 1)), np.array([0, 1, 0, 0, 1]))
      >>> data.firsts.tolist(), data.lengths.tolist()
      ([0, 2], [2, 3])
    """
    states, actions = np.asarray(states, np.float32), np.asarray(actions, np.float32)
    ends = np.asarray(terminals).astype(bool)
    if states.ndim != 2 or actions.ndim != 2 or not len(states) == len(actions) == len(ends):
        raise ValueError(
            f"states, actions and terminals have shapes {list(states.shape)}, "
            f"{list(actions.shape)} and {list(ends.shape)}, expected [S, D], [S, A] and [S]."
        )
    if not len(states):
        raise ValueError("there are no states, expected one episode or more.")
    for name, rows in (("states", states), ("actions", actions)):
        if not np.isfinite(rows).all():
            row = int(np.argmin(np.isfinite(rows).all(1)))
            raise ValueError(
                f"{name} have a number in row {row} that is not finite; mend or drop the episode."
            )
    if ends.ndim != 1 or not ends[-1]:
        raise ValueError(
            "the last row is no terminal, expected a true entry in the last row of each episode; "
            "the file is cut off or marks ends otherwise."
        )
    last = np.flatnonzero(ends)
    firsts = np.concatenate([[0], last[:-1] + 1])
    lengths = last - firsts + 1
    if lengths.min() < 2:
        raise ValueError(
            f"the episode that begins in row {firsts[lengths.argmin()]} has one state, expected 2 "
            "or more."
        )
    return OfflineData(
        states=jnp.asarray(states),
        actions=jnp.asarray(actions),
        firsts=jnp.asarray(firsts, jnp.int32),
        lengths=jnp.asarray(lengths, jnp.int32),
    )


def load_offline_data(path: str | pathlib.Path) -> OfflineData:
    """Episodes from an ``.npz`` file, OGBench's or one's own.

    It holds ``observations`` [S, D], ``actions`` [S, A] and ``terminals`` [S], which is true in the
    last row of each episode. OGBench's compact form, which has ``valids`` too, ends an episode
    where these are false. What else the file holds is not read.

    Args:
      path: of the file.

    Returns:
      `OfflineData` in float32.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, lacks one of the arrays, or as `offline_data`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     ends = np.array([False, False, True])
      ...     arrays = {"observations": np.zeros((3, 2)), "actions": np.zeros((3, 1))}
      ...     np.savez(f"{folder}/data.npz", terminals=ends, **arrays)
      ...     load_offline_data(f"{folder}/data.npz").lengths.tolist()
      [3]

    References: Park et al. 2025, "OGBench: Benchmarking offline goal-conditioned RL".
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file; jplan.envs.generate_cube_data makes those of OGBench's cube "
            "tasks, as does experiments/pad_cube/data.py."
        )
    try:
        arrays = read_npz(path, _NAMES, optional=["valids"], max_bytes=_MAX_BYTES)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; expected plain arrays observations [S, D], actions [S, A] and "
            "terminals [S]. Fetch or make the file again."
        ) from error
    try:
        ends = ~arrays["valids"].astype(bool) if "valids" in arrays else arrays["terminals"]
        return offline_data(arrays["observations"], arrays["actions"], ends)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def from_episodes(states: Array, actions: Array) -> OfflineData:
    """Episodes of equal length, such as those of `collect`.

    Args:
      states: [B, T + 1, D].
      actions: [B, T, A].

    Returns:
      `OfflineData`, with an action of zeros after the last of each episode.

    Raises:
      ValueError: if the shapes do not fit.

    Example:
      >>> from_episodes(jnp.ones((4, 10, 3)), jnp.ones((4, 9, 2))).states.shape
      (40, 3)
    """
    if states.ndim != 3 or actions.ndim != 3 or states.shape[1] != actions.shape[1] + 1:
        raise ValueError(
            f"states and actions have shapes {list(states.shape)} and {list(actions.shape)}, "
            "expected [B, T + 1, D] and [B, T, A]."
        )
    count, length, _ = states.shape
    padded = jnp.pad(actions, ((0, 0), (0, 1), (0, 0)))
    flat = lambda leaf: leaf.reshape(-1, leaf.shape[-1])
    return OfflineData(
        states=flat(states),
        actions=flat(padded),
        firsts=length * jnp.arange(count, dtype=jnp.int32),
        lengths=jnp.full(count, length, jnp.int32),
    )
