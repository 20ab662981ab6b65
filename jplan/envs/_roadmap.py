"""Geometric roadmaps: random configurations in space, joined where the way is free."""

import jax
import jax.numpy as jnp
from flax import struct

from jplan import mdp
from jplan._typing import Array
from jplan.envs._grid_tasks import check_single_key

_BALLS = 8


@struct.dataclass(kw_only=True)
class Roadmap:
    """A graph of configurations in the unit cube, a current that helps or hinders, and a goal.

    Attributes:
      positions: [N, 3], (x, y, z) of the nodes.
      current: [N, 3], at the nodes, as a share of the speed of travel; shorter than 1/2.
      neighbours: int32 [N, K], the nearest nodes, nearest first.
      is_open: bool [N, K], whether the straight way there is free of collision.
      goal: int32 [], a node.

    Example:
      >>> roadmap(jax.random.key(0), 50).neighbours.shape
      (50, 12)
    """

    positions: Array
    current: Array
    neighbours: Array
    is_open: Array
    goal: Array


def roadmap(key: Array, num_nodes: int, *, num_neighbours: int = 12) -> Roadmap:
    """Draw a probabilistic roadmap in the unit cube.

    Eight balls are in the way, their centres uniform and their radii ~ U(0.05, 0.2). Nodes are
    uniform outside of the balls, and each is joined to its nearest ones if the segment between
    them meets no ball. The current is a uniform flow and a vortex around a random axis through the
    centre, together shorter than 1/2. The goal is a random node.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      num_nodes: static, N.
      num_neighbours: static, K.

    Returns:
      `Roadmap`; nodes that no free way leads to are possible.

    Raises:
      ValueError: if N is not larger than K, or ``key`` is not a single key.

    Example:
      >>> graph = roadmap(jax.random.key(0), 200)
      >>> bool(graph.is_open.mean() > 0.5)
      True

    References: Kavraki et al., Probabilistic roadmaps for path planning in high-dimensional
      configuration spaces, 1996.
    """
    check_single_key(key, "roadmap")
    if not 0 < num_neighbours < num_nodes:
        raise ValueError(
            f"roadmap: got num_nodes {num_nodes} and num_neighbours {num_neighbours}, expected "
            "more nodes than neighbours, and at least one of these"
        )
    ball_key, radius_key, node_key, flow_key, axis_key, goal_key = jax.random.split(key, 6)
    uniform = lambda key, *shape, **limits: jax.random.uniform(key, shape, jnp.float32, **limits)
    centres = uniform(ball_key, _BALLS, 3)
    radii = uniform(radius_key, _BALLS, minval=0.05, maxval=0.2)
    # Four candidates a node are enough even where all balls lie apart inside the cube.
    candidates = uniform(node_key, 4 * num_nodes, 3)
    gaps = jnp.sum((candidates[:, None] - centres[None]) ** 2, axis=-1)
    inside = jnp.any(gaps <= radii[None] ** 2, axis=-1)
    positions = candidates[jnp.argsort(inside, stable=True)[:num_nodes]]

    apart = jnp.sum((positions[:, None] - positions[None]) ** 2, axis=-1)
    apart = apart + jnp.diag(jnp.full(num_nodes, jnp.inf))
    neighbours = jax.lax.top_k(-apart, num_neighbours)[1].astype(jnp.int32)
    ends = positions[neighbours]
    along = (ends - positions[:, None])[:, :, None]
    towards = centres[None, None] - positions[:, None, None]
    share = jnp.sum(towards * along, axis=-1) / jnp.sum(along**2, axis=-1)
    nearest = jnp.clip(share, 0, 1)[..., None] * along
    meets = jnp.sum((towards - nearest) ** 2, axis=-1) <= radii[None, None] ** 2

    direction = lambda key: _unit(jax.random.normal(key, (3,), jnp.float32))
    flow = 0.25 * direction(flow_key)
    # A vortex of speed at most 0.24, reached at the corners of the cube.
    vortex = 0.24 / 0.75**0.5 * jnp.cross(direction(axis_key)[None], positions - 0.5)
    return Roadmap(
        positions=positions,
        current=flow[None] + vortex,
        neighbours=neighbours,
        is_open=~jnp.any(meets, axis=-1),
        goal=jax.random.randint(goal_key, (), 0, num_nodes, jnp.int32),
    )


def _unit(vector: Array) -> Array:
    return vector / jnp.linalg.norm(vector)


def roadmap_mdp(graph: Roadmap) -> mdp.GraphMDP:
    """The exact problem of a roadmap.

    cost(i, j) = |r| - r . (current_i + current_j) / 2,  r = position_j - position_i

    Args:
      graph: one roadmap.

    Returns:
      `jplan.mdp.GraphMDP`, whose actions are the neighbours.

    Example:
      >>> problem = roadmap_mdp(roadmap(jax.random.key(0), 50))
      >>> bool((mdp.value_iteration(problem).value <= 0).all())
      True
    """
    step = graph.positions[graph.neighbours] - graph.positions[:, None]
    current = (graph.current[graph.neighbours] + graph.current[:, None]) / 2
    cost = jnp.linalg.norm(step, axis=-1) - jnp.sum(step * current, axis=-1)
    return mdp.GraphMDP(
        neighbours=graph.neighbours,
        cost=cost,
        is_open=graph.is_open,
        goal=jnp.arange(len(graph.positions)) == graph.goal,
    )
