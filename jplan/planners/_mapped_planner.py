"""A planner behind a mapper: from observations to actions, trained as one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._typing import Array, PyTree
from jplan.envs import GridTask, as_map
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput


class MappedPlanner(nnx.Module):
    """A map planner whose map is what a mapper makes of an observation.

    The mapper tells how likely each cell is free; this and the goal are the planner's map. The
    gradient of a plan reaches the mapper through the solve, by the planner's adjoint.

    Args:
      mapper: module, or function, from one observation to the logits [H, W] of free cells, such as
        `jplan.nn.PanoramaMapper` or `jplan.nn.WorkspaceMapper`.
      planner: any planner of maps [..., H, W, 2].

    Example:
      >>> from jplan.nn import WorkspaceMapper
      >>> from jplan.planners import VIN
      >>> rngs = nnx.Rngs(0)
      >>> mapper = WorkspaceMapper(bins=9, size=24, hidden=4, rngs=rngs)
      >>> planner = MappedPlanner(mapper, VIN(4, 2, hidden=4, padding="wrap", rngs=rngs))
      >>> planner(jnp.zeros((5, 24, 24, 1)), jnp.zeros((5, 2), jnp.int32)).shape
      (5, 9, 9, 4)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 4 (mapper layer) and appendix D.1.
    """

    def __init__(self, mapper: Callable[[Any], Array], planner: AbstractMapPlanner) -> None:
        self.mapper = mapper
        self.planner = planner

    def map(self, observations: PyTree) -> Array:
        """Logits of free cells, [B, H, W], of observations with one batch axis."""
        if not isinstance(self.mapper, nnx.Module):
            return jax.vmap(self.mapper)(observations)
        graphdef, state = nnx.split(self.mapper)
        return jax.vmap(lambda observation: nnx.merge(graphdef, state)(observation))(observations)

    def hardened(self) -> "MappedPlanner":
        """The same mapper, and the planner in its hard stage; see `MaxPlusVIN.hardened`."""
        planner: Any = self.planner
        return MappedPlanner(self.mapper, planner.hardened())

    def plan(self, map_logits: Array, goals: Array) -> PlannerOutput:
        """Plan on the mapper's map.

        Args:
          map_logits: [B, H, W], logits of free cells.
          goals: int32 [B, 2], (y, x).

        Returns:
          `PlannerOutput`.

        Raises:
          ValueError: if the shapes do not belong together.
        """
        shape = jnp.zeros(map_logits.shape, bool)
        goal = as_map(GridTask(free=shape, goal=goals))[..., 1].astype(map_logits.dtype)
        return self.planner.solve(jnp.stack([jax.nn.sigmoid(map_logits), goal], axis=-1))

    def __call__(self, observations: PyTree, goals: Array) -> Array:
        """Logits of the actions, [B, H, W, A]."""
        return self.plan(self.map(observations), goals).logits
