"""RoadmapVIN: value propagation on geometric roadmaps, with costs from equivariant messages."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, PyTree
from jplan.envs import Roadmap
from jplan.fixed_points import AbstractAdjoint, Picard, Truncated
from jplan.nn import FLOOR, EdgeCostMapper, GraphCell, GraphInputs, MaxPlusReadout, solve_cell
from jplan.planners._max_plus_vin import check_monotone
from jplan.planners._planner import PlannerOutput, broadcast_budget, constructor_arguments


class RoadmapVIN(nnx.Module):
    """Value iteration network on a roadmap: one logit for each neighbour of a node.

    Messages between the nodes tell what each edge costs, and values are propagated along the edges
    to convergence. The logits do not change when the roadmap is turned or reflected, and follow
    when its nodes are renumbered; a planner trained on small roadmaps plans on large ones. Needs
    e3nn-jax, the extra ``space``.

    Args:
      hidden: see `jplan.nn.EdgeCostMapper`.
      max_steps: budget of the iteration; None is the number of nodes, which is never too few.
      adjoint: how the iteration is differentiated; None is ``Truncated(20)``.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1.

    Attributes:
      mapper: `jplan.nn.EdgeCostMapper`, or any module from a `jplan.envs.Roadmap` to costs [N, K].
      cell: `jplan.nn.GraphCell`.
      readout: `jplan.nn.MaxPlusReadout`.

    Example:
      >>> from jplan.envs import roadmap
      >>> planner = RoadmapVIN(hidden=4, rngs=nnx.Rngs(0))
      >>> planner(roadmap(jax.random.key(0), 30)).shape
      (30, 12)

    References:
      Niu et al., Generalized value iteration networks, 2018, for value iteration networks on
      graphs; see `jplan.nn.EdgeCostMapper` for the messages.
    """

    def __init__(
        self,
        *,
        hidden: int = 8,
        max_steps: int | None = None,
        adjoint: AbstractAdjoint | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(hidden=hidden, max_steps=max_steps)
        self.hidden = hidden
        self.max_steps = max_steps
        self.adjoint = nnx.static(Truncated(20) if adjoint is None else adjoint)
        self.mapper = EdgeCostMapper(hidden=hidden, rngs=rngs)
        self.cell = GraphCell()
        self.readout = MaxPlusReadout()

    def configuration(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this planner, without its parameters."""
        return constructor_arguments(self)

    def __call__(self, graph: Roadmap) -> Array:
        """Logits of the neighbours, [..., N, K]."""
        return self.solve(graph).logits

    def solve(
        self,
        graph: Roadmap,
        *,
        solver: Picard | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """Plan, and report how the iteration went.

        Args:
          graph: a roadmap, or a batch of them with leading axes on all fields.
          solver: for this call.
          adjoint: for this call; None takes the planner's own.
          num_steps: optional traced budget, a scalar or one for each roadmap.

        Returns:
          `PlannerOutput`, with logits [..., N, K], very negative where there is no edge, and values
          [..., N], -inf out of reach.

        Raises:
          ValueError: if the fields' shapes do not belong together, the solver is not `Picard`, or
            ``num_steps`` is none.

        Differentiability: in the parameters, positions and current, by the rules of the adjoint.
        """
        lead = _check_roadmap(graph)
        check_monotone(solver)
        if num_steps is not None:
            num_steps = broadcast_budget(num_steps, lead)
        axes = len(lead)
        merge = lambda leaf: leaf.reshape(-1, *leaf.shape[axes:])
        batch = jax.tree.map(merge, graph)
        nodes = graph.positions.shape[-2]
        budget = nodes if self.max_steps is None else self.max_steps

        def prepare(graph: Roadmap) -> GraphInputs:
            return GraphInputs(
                cost=jnp.where(graph.is_open, self.mapper(graph), -2 * FLOOR),
                neighbours=graph.neighbours,
                goal=jnp.arange(nodes) == graph.goal,
            )

        def readout(value: Array, inputs: GraphInputs) -> Array:
            values = jnp.moveaxis(self.cell.action_values(value, inputs), -1, 0)
            logits = self.readout(values)
            return jnp.where(inputs.cost > -FLOOR, -1e9, logits)

        inputs = jax.vmap(prepare)(batch)
        solution = solve_cell(
            self.cell,
            inputs,
            jax.vmap(self.cell.start)(inputs),
            solver=Picard(max_steps=budget) if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
        )
        value = jnp.where(solution.value <= FLOOR / 2, -jnp.inf, solution.value)
        logits = jax.vmap(readout)(solution.value, inputs)
        out: PyTree = PlannerOutput(logits=logits, value=value, solution=solution)
        return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), out)


def _check_roadmap(graph: Roadmap) -> tuple[int, ...]:
    """The leading axes; ValueError unless all fields belong to one number of nodes."""
    *lead, nodes, dims = graph.positions.shape if graph.positions.ndim > 1 else (0, 0)
    edges = (*lead, nodes, graph.neighbours.shape[-1])
    given = [leaf.shape for leaf in jax.tree.leaves(graph)]
    by_field = {"positions": (*lead, nodes, 3), "current": (*lead, nodes, 3)}
    by_field |= {"neighbours": edges, "is_open": edges, "goal": tuple(lead)}
    if dims != 3 or any(getattr(graph, name).shape != shape for name, shape in by_field.items()):
        raise ValueError(
            f"the roadmap's fields have shapes {given}, expected positions and current "
            "[..., N, 3], neighbours and is_open [..., N, K] and goal [...]; jplan.envs.roadmap "
            "makes one."
        )
    return tuple(lead)
