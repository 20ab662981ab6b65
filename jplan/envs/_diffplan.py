"""The published maze sets of GPPN and of the implicit planners that followed it."""

import os
import zipfile

import jax.numpy as jnp
import numpy as np

from jplan.envs._grid_tasks import GridTask

_MAX_CELLS = 2**28


def load_diffplan_mazes(path: str | os.PathLike[str], *, split: str) -> GridTask:
    """Read one part of a maze set in the format of DiffPlan.

    The file holds ``SPLIT_maps`` (1 where free) and ``SPLIT_goals`` (1 at the goal), both
    [N, H, W]. The labels that may be beside them are not read: they exist on walls too, and name
    one of several optimal actions; `jplan.training.imitation_batch` finds all of them.

    Args:
      path: an ``.npz`` file.
      split: which part, such as "train", "valid" or "test".

    Returns:
      `GridTask` with a leading axis N.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not such a set or a map in it has no single goal on a free cell; the
        message names the map. Pickled content is never loaded.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "set.npz"
      >>> maps, goals = np.ones((5, 3, 3), np.uint8), np.zeros((5, 3, 3), np.uint8)
      >>> goals[:, 1, 2] = 1
      >>> np.savez(path, valid_maps=maps, valid_goals=goals)
      >>> load_diffplan_mazes(path, split="valid").goal.shape
      (5, 2)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 5; Lee et al., Gated path planning networks, 2018.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            wanted = [f"{split}_maps", f"{split}_goals"]
            missing = [key for key in wanted if key not in file.files]
            if missing:
                raise ValueError(f"it has no {' and no '.join(missing)}, only {file.files}")
            maps, goals = (file[key] for key in wanted)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{name}: {error}; expected an .npz file with the arrays {split}_maps and "
            f"{split}_goals, [N, H, W]. Check the split, or download the file again."
        ) from error
    if maps.ndim != 3 or maps.shape != goals.shape or not 0 < maps.size <= _MAX_CELLS:
        raise ValueError(
            f"{name}: got maps {list(maps.shape)} and goals {list(goals.shape)}, expected two "
            f"equal shapes [N, H, W] with at most {_MAX_CELLS} cells in all."
        )
    for key, field in (("maps", maps), ("goals", goals)):
        if not np.isin(field, (0, 1)).all():
            raise ValueError(f"{name}: {split}_{key} holds other numbers than 0 and 1.")
    flat = goals.reshape(len(goals), -1)
    wrong = (flat.sum(1) != 1) | ((flat * (1 - maps.reshape(flat.shape))).sum(1) != 0)
    if wrong.any():
        raise ValueError(
            f"{name}: map {int(wrong.argmax())} of {split} has {int(flat[wrong.argmax()].sum())} "
            "goals or one in a wall, expected a single goal on a free cell."
        )
    goal = np.stack(np.unravel_index(flat.argmax(1), maps.shape[1:]), axis=-1)
    return GridTask(free=jnp.asarray(maps != 0), goal=jnp.asarray(goal, jnp.int32))
