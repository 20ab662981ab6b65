"""What all map planners share: the call, the result, the batch axes, the configuration."""

import abc
import inspect
from typing import Any

import jax
from flax import nnx, struct

from jplan._typing import Array, PyTree
from jplan.fixed_points import Solution


@struct.dataclass
class PlannerOutput:
    """Result of `solve` of a map planner.

    Attributes:
      logits: [..., H, W, A], unnormalised log-probabilities of the actions.
      value: [..., H, W], the planner's value of each cell.
      solution: `Solution` of the inner solve; residual, step count and status are [...], one for
        each map.
    """

    logits: Array
    value: Array
    solution: Solution


class AbstractMapPlanner(nnx.Module):
    """A planner from maps to action logits; each subclass is final.

    A subclass keeps every constructor argument but ``rngs`` as an attribute of the same name, so
    that `configuration` can rebuild it.
    """

    channels: int

    @abc.abstractmethod
    def solve(self, maps: Array, *, num_steps: Any = None) -> PlannerOutput:
        """Plan, and report how the iteration went.

        Args:
          maps: [..., H, W, C], floating point.
          num_steps: optional traced budget that lowers the solver's.

        Returns:
          `PlannerOutput`.

        Raises:
          ValueError: if the maps have another shape or an integer dtype.
        """

    def __call__(self, maps: Array) -> Array:
        """Logits, [..., H, W, C] -> [..., H, W, A]."""
        return self.solve(maps).logits

    def configuration(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this planner, without its parameters."""
        names = list(inspect.signature(type(self).__init__).parameters)
        return {name: getattr(self, name) for name in names if name not in ("self", "rngs")}


def check_maps(maps: Array, channels: int) -> None:
    """ValueError unless ``maps`` is [..., H, W, channels] and floating point."""
    shape = list(maps.shape)
    if maps.ndim < 3 or maps.shape[-1] != channels or 0 in maps.shape[-3:-1]:
        raise ValueError(
            f"maps have shape {shape}, expected [..., H, W, {channels}], channel last and not "
            "empty; jplan.envs.as_map makes the two channels of a grid task."
        )
    if not jax.numpy.issubdtype(maps.dtype, jax.numpy.floating):
        raise ValueError(
            f"maps have dtype {maps.dtype}, expected floating point; cast them with "
            ".astype(jnp.float32)."
        )


def flatten_batch(maps: Array) -> Array:
    """[..., H, W, C] -> [B, H, W, C]."""
    return maps.reshape((-1, *maps.shape[-3:]))


def restore_batch(tree: PyTree, maps: Array) -> PyTree:
    """Undo `flatten_batch` on every leaf of a result."""
    lead = maps.shape[:-3]
    return jax.tree.map(lambda leaf: leaf.reshape((*lead, *leaf.shape[1:])), tree)
