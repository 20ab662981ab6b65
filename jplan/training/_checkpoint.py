"""Checkpoints; the one file that imports Orbax.

A checkpoint is a directory that is written under a temporary name and renamed when it is whole, so
a kill at any moment leaves the previous one.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from flax import nnx

import jplan.fixed_points
from jplan import planners
from jplan._typing import PyTree
from jplan.planners import AbstractMapPlanner, DescentPlanner


def save(path: str | pathlib.Path, planner: AbstractMapPlanner | DescentPlanner) -> None:
    """Save a planner: its class, its configuration and its parameters.

    Args:
      path: directory to create; an existing checkpoint there is replaced once the new one is whole.
      planner: any of `jplan.planners` but `MappedPlanner`, whose parts are anybody's.

    Raises:
      ValueError: if the planner is not one of `jplan.planners` or has a part that its constructor
        does not make, or if the path holds anything but a checkpoint.

    Example:
      >>> import tempfile
      >>> planner = planners.ConvGPPN(4, 2, hidden=4, rngs=nnx.Rngs(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/planner", planner)
      ...     load(f"{folder}/planner").hidden
      4
    """
    import orbax.checkpoint as ocp

    name = type(planner).__name__
    known = getattr(planners, name, None) is type(planner)
    if not known or not hasattr(planner, "configuration"):
        raise ValueError(
            f"got a planner of type {name}, expected one of jplan.planners; save the state of "
            "your own modules with jplan.training.CheckpointFolder."
        )
    configuration = {key: _encode(value) for key, value in planner.configuration().items()}
    graphdef, state = nnx.split(planner)
    dtypes = [leaf.dtype.name for leaf in jax.tree.leaves(nnx.to_pure_dict(state))]
    header = {"type": name, "configuration": configuration, "dtypes": dtypes}
    header = json.loads(json.dumps(header))
    if nnx.split(_build(header))[0] != graphdef:
        raise ValueError(
            f"got a {name} with a part or an attribute that was changed after construction, which "
            "a checkpoint could not rebuild; save its state with jplan.training.CheckpointFolder."
        )
    path = pathlib.Path(path).absolute()
    if path.exists() and not (path / "_CHECKPOINT_METADATA").exists():
        raise ValueError(f"{path} exists and is no checkpoint, expected a name that is free.")
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            partial,
            args=ocp.args.Composite(
                planner=ocp.args.JsonSave(header),
                params=ocp.args.StandardSave(nnx.to_pure_dict(state)),
            ),
        )
    old = _old(path)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _old(path: pathlib.Path) -> pathlib.Path:
    """Where the previous checkpoint is while a new one takes its place."""
    return path.with_name(f"{path.name}.old")


def load(path: str | pathlib.Path) -> Any:
    """Load a planner that `save` wrote; needs no training data and no configuration.

    Args:
      path: the directory given to `save`.

    Returns:
      The planner, its parameters in the dtypes they were saved in.

    Raises:
      FileNotFoundError: if there is no such directory.
      ValueError: if it is not a planner checkpoint, is damaged, or does not fit this version.

    Example: see `save`.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(path).absolute()
    if not path.exists() and _old(path).is_dir():
        path = _old(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a directory, expected one that save wrote.")
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            header = checkpointer.restore(
                path, args=ocp.args.Composite(planner=ocp.args.JsonRestore())
            )["planner"]
            planner = _build(header)
            graphdef, state = nnx.split(planner)
            leaves, treedef = jax.tree.flatten(nnx.to_pure_dict(state))
            typed = zip(leaves, header["dtypes"], strict=True)
            pure = treedef.unflatten([leaf.astype(dtype) for leaf, dtype in typed])
            restored = checkpointer.restore(
                path, args=ocp.args.Composite(params=ocp.args.StandardRestore(pure))
            )["params"]
    except Exception as error:  # Orbax and its storage raise many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as a planner checkpoint ({type(error).__name__}: "
            f"{_first_line(error)}); it is damaged, incomplete or of another version. Load an "
            "older one, or train again."
        ) from error
    nnx.replace_by_pure_dict(state, restored)
    return nnx.merge(graphdef, state)


class CheckpointFolder:
    """Numbered checkpoints of a run, the newest few kept.

    Args:
      directory: created if missing.
      keep: how many of the newest are kept.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     checkpoints = CheckpointFolder(folder)
      ...     checkpoints.save(3, {"x": jax.numpy.ones(2)})
      ...     checkpoints.restore({"x": jax.numpy.zeros(2)})["x"]
      Array([1., 1.], dtype=float32)
    """

    def __init__(self, directory: str | pathlib.Path, *, keep: int = 2) -> None:
        import orbax.checkpoint as ocp

        self._directory = pathlib.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: PyTree) -> None:
        """Write a pytree of arrays and keys as the checkpoint of a step; blocks until done."""
        import orbax.checkpoint as ocp

        self._manager.save(step, args=ocp.args.StandardSave(_unwrap_keys(state)))

    def restore(self, like: PyTree) -> PyTree:
        """Read the newest checkpoint into the structure of ``like``.

        Raises:
          FileNotFoundError: if there is no checkpoint.
          ValueError: if the newest is damaged or has another structure; no file is changed, and
            the message names the older ones.
        """
        import orbax.checkpoint as ocp

        step = self.latest_step()
        if step is None:
            raise FileNotFoundError(f"{self._directory} holds no checkpoint.")
        try:
            plain = self._manager.restore(step, args=ocp.args.StandardRestore(_unwrap_keys(like)))
        except Exception as error:
            older = [s for s in self._manager.all_steps() if s != step]
            raise ValueError(
                f"{self._directory / str(step)} cannot be restored ({type(error).__name__}: "
                f"{_first_line(error)}); it is damaged or belongs to another configuration. "
                f"Older checkpoints: {older or 'none'}; delete the folder {step} to go on from "
                "the newest of them."
            ) from error
        return jax.tree.map(_wrap_like, like, plain)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrap_keys(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _wrap_like(like: Any, leaf: Any) -> Any:
    if not _is_key(like):
        return leaf
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))


def _encode(value: Any) -> Any:
    """Solvers and adjoints as {"type", "fields"}, anything else as JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    if isinstance(value, (jax.Array, np.generic)):
        return value.item()
    return value


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get("type") not in jplan.fixed_points.__all__:
        raise ValueError(f"unknown type {value.get('type')!r} in the configuration")
    fields = {name: _decode(inner) for name, inner in value["fields"].items()}
    return getattr(jplan.fixed_points, value["type"])(**fields)


def _build(header: dict[str, Any]) -> Any:
    # The file may come from anywhere: only names that jplan exports are ever looked up.
    if header.get("type") not in planners.__all__:
        raise ValueError(f"unknown planner {header.get('type')!r}")
    options = {name: _decode(value) for name, value in header["configuration"].items()}
    return getattr(planners, header["type"])(**options, rngs=nnx.Rngs(0))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
