"""The parts of the roadmap planner: equivariant edge costs, and value propagation on a graph."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from jplan._checks import check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array
from jplan.nn._e3nn import import_e3nn
from jplan.nn._max_plus import FLOOR
from jplan.nn._solve_cell import AbstractCell


class EdgeCostMapper(nnx.Module):
    """Network from a roadmap to the cost of its edges, invariant to rotations and reflections.

        m_ij = Y(r_ij) (x) w_j,  h_i = mean_j A [Y(r_ij), m_ij]
        cost_ij = |r_ij| softplus(network(products of Y(r_ij) with w_i, w_j, h_i and h_j))

    for edges ``r_ij`` and the current ``w``.

    One round of messages makes scalars, vectors and tensors of second order at the nodes
    (``0e + 1o + 2e``); their products with the spherical harmonics ``Y`` of an edge's direction are
    the invariants that a small network turns into the cost of a unit of length. Only directions
    enter, so what is learnt on sparse roadmaps holds on dense ones. Needs e3nn-jax, the extra
    ``space``.

    Args:
      hidden: fields of each order in the nodes, and an eighth of the network's width.
      rngs: for the initial parameters.

    Raises:
      ValueError: if ``hidden`` is below 1.

    Example:
      >>> from jplan.envs import roadmap
      >>> graph = roadmap(jax.random.key(0), 30)
      >>> EdgeCostMapper(hidden=4, rngs=nnx.Rngs(0))(graph).shape
      (30, 12)

    References:
      Thomas et al., Tensor field networks, 2018; Geiger and Smidt, e3nn: Euclidean neural
      networks, 2022.
    """

    def __init__(self, *, hidden: int, rngs: nnx.Rngs) -> None:
        check_sizes(hidden=hidden)
        self.hidden = hidden
        # Harmonics have one field of each order, and products with a vector 1, 2 and 1.
        self.mix = nnx.List(
            [nnx.Param(draw_weights(rngs, (1 + products, hidden))) for products in (1, 2, 1)]
        )
        width = 8 * hidden
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.first = linear(2 + 6 * hidden, width)
        self.second = linear(width, width)
        self.last = linear(width, 1)

    def __call__(self, graph: Any) -> Array:
        """Cost of each edge of a `jplan.envs.Roadmap`, [N, K]; also of those that are not open."""
        e3nn = import_e3nn()
        step = graph.positions[graph.neighbours] - graph.positions[:, None]
        orders = "0e + 1o + 2e"
        harmonics = e3nn.spherical_harmonics(orders, e3nn.IrrepsArray("1o", step), normalize=True)
        beyond = e3nn.IrrepsArray("1o", graph.current[graph.neighbours])
        messages = e3nn.tensor_product(beyond, harmonics, filter_ir_out=orders)
        share = graph.is_open / jnp.maximum(graph.is_open.sum(-1, keepdims=True), 1)
        along = harmonics.chunks  # of each order, [N, K, 1, 2 l + 1]
        invariants = [
            jnp.sum(current * along[1][:, :, 0], axis=-1, keepdims=True)
            for current in (graph.current[:, None], beyond.array)
        ]
        for sent, message, mix in zip(along, messages.chunks, self.mix, strict=True):
            fields = jnp.concatenate([sent, message], axis=-2)
            node = jnp.einsum("nk,nkfm,fh->nhm", share, fields, mix[...])
            invariants += [
                jnp.einsum("nhm,nkm->nkh", node, sent[:, :, 0]),
                jnp.einsum("nkhm,nkm->nkh", node[graph.neighbours], sent[:, :, 0]),
            ]
        hidden = jnp.concatenate(invariants, axis=-1)
        hidden = jax.nn.silu(self.second(jax.nn.silu(self.first(hidden))))
        return jnp.linalg.norm(step, axis=-1) * jax.nn.softplus(self.last(hidden)[..., 0])


@struct.dataclass(kw_only=True)
class GraphInputs:
    """What `GraphCell` reads in every step.

    Attributes:
      cost: [N, K]; where an edge is not open, more than the floor is deep.
      neighbours: integers [N, K].
      goal: bool [N].

    Example:
      >>> neighbours, goal = jnp.array([[1], [0]]), jnp.array([True, False])
      >>> GraphInputs(cost=jnp.ones((2, 1)), neighbours=neighbours, goal=goal).cost.shape
      (2, 1)
    """

    cost: Array
    neighbours: Array
    goal: Array


class GraphCell(AbstractCell):
    """One step of value propagation on a graph, on a negative cost-to-go.

        Q(i, k) = U(neighbours(i, k)) - cost(i, k)
        U(i)   <- 0 at the goal, elsewhere max(floor, max_k Q(i, k))

    The graph's version of `MaxPlusCell`: monotone, with one fixed point above the floor, which
    Picard iteration reaches in as many steps as the longest shortest path has edges.

    Example:
      >>> cell = GraphCell()
      >>> neighbours = jnp.array([[1], [0]])
      >>> goal = jnp.array([True, False])
      >>> inputs = GraphInputs(cost=jnp.ones((2, 1)), neighbours=neighbours, goal=goal)
      >>> cell(cell.start(inputs), inputs)
      Array([ 0., -1.], dtype=float32)
    """

    def start(self, inputs: GraphInputs) -> Array:
        """The floor everywhere but at the goal, [N]."""
        return jnp.where(inputs.goal, 0.0, FLOOR).astype(inputs.cost.dtype)

    def action_values(self, value: Array, inputs: GraphInputs) -> Array:
        """Q, [N] -> [N, K]."""
        return value[inputs.neighbours] - inputs.cost

    def __call__(self, value: Array, inputs: GraphInputs) -> Array:
        """One step, [N] -> [N]."""
        best = jnp.maximum(self.action_values(value, inputs).max(-1), FLOOR)
        return jnp.where(inputs.goal, 0, best)
