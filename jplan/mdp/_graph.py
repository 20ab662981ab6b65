"""Shortest paths on graphs as a Markov decision process."""

import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array, Scalar
from jplan.mdp._tabular import check_discount


@struct.dataclass(kw_only=True)
class GraphMDP:
    """Deterministic moves along the edges of a graph, towards the nearest of its goals.

    Q(s, a) = -cost(s, a) + discount * V(neighbours(s, a))

    Action ``a`` takes the edge to the a-th neighbour. Goals have value 0; nodes from which no goal
    can be reached have the value ``-inf``.

    Attributes:
      neighbours: integers [S, A], the nodes that edges lead to; any where there is no edge.
      cost: [S, A], non-negative and finite, of each edge.
      is_open: bool [S, A], whether there is such an edge.
      goal: bool [S].
      discount: scalar in (0, 1]; a leaf.

    Example:
      >>> from jplan.mdp import value_iteration
      >>> graph = GraphMDP(
      ...     neighbours=jnp.array([[1, 2], [0, 2], [0, 1]]),
      ...     cost=jnp.array([[1.0, 5.0], [1.0, 2.0], [5.0, 2.0]]),
      ...     is_open=jnp.ones((3, 2), bool),
      ...     goal=jnp.array([True, False, False]),
      ... )
      >>> value_iteration(graph).value
      Array([ 0., -1., -3.], dtype=float32)
    """

    neighbours: Array
    cost: Array
    is_open: Array
    goal: Array
    discount: Scalar = 1.0

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(S,)."""
        return np.shape(self.goal)

    @property
    def num_actions(self) -> int:
        """Largest number of edges of a node."""
        return np.shape(self.neighbours)[1]

    @property
    def dtype(self) -> np.dtype:
        """That of the cost and the discount, at least float32."""
        return jnp.promote_types(jnp.result_type(self.cost, self.discount), jnp.float32)

    @property
    def is_terminal(self) -> Array:
        """The goals, bool [S]."""
        return self.goal

    def validate(self) -> None:
        """Check the static facts.

        Raises:
          ValueError: if shapes or dtypes do not fit.
        """
        shape = np.shape(self.neighbours)
        given = {name: np.shape(getattr(self, name)) for name in ("cost", "is_open", "goal")}
        if len(shape) != 2 or given != {"cost": shape, "is_open": shape, "goal": shape[:1]}:
            raise ValueError(
                f"neighbours and the rest: got shapes {shape} and {given}, expected [S, A] for "
                "neighbours, cost and is_open and [S] for goal; use jax.vmap for a batch."
            )
        kinds = {"neighbours": jnp.integer, "is_open": jnp.bool_, "goal": jnp.bool_}
        for name, kind in kinds.items():
            dtype = jnp.result_type(getattr(self, name))
            if not jnp.issubdtype(dtype, kind):
                raise ValueError(f"{name}: got dtype {dtype}, expected {kind.__name__}.")
        check_discount(self.discount)

    def action_values(self, value: Array) -> Array:
        """Q [S, A] from V [S]; 0 at goals, ``-inf`` where there is no edge."""
        return self._action_values(value, self.discount)

    def log_action_values(self, value: Array) -> Array:
        """As `action_values` without discount: moves are certain, so log E exp V = V."""
        return self._action_values(value, 1.0)

    def _action_values(self, value: Array, discount: Scalar) -> Array:
        value = jnp.where(self.goal, 0, value)
        # Both sides of each `where` are finite, or gradients would be 0 * inf.
        lost = jnp.isneginf(value)
        future = discount * jnp.where(lost, 0, value)[self.neighbours]
        allowed = self.is_open & ~lost[self.neighbours]
        q = jnp.where(allowed, future - jnp.where(allowed, self.cost, 0), -jnp.inf)
        return jnp.where(self.goal[:, None], 0, q).astype(self.dtype)
