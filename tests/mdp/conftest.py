import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.csgraph import dijkstra

from jplan.mdp import TabularMDP

# An independent copy of the convention N, W, S, E, NW, SW, SE, NE.
OFFSETS = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)]


def _random_mdp(seed, states=6, actions=3, discount=0.9, dtype=np.float64, **flags):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    transition[rng.random(transition.shape) < 0.3] = 0
    transition[..., 0] += 1e-3
    transition /= transition.sum(-1, keepdims=True)
    return TabularMDP(
        transition=jnp.asarray(transition, dtype),
        reward=jnp.asarray(rng.normal(size=(states, actions)), dtype),
        discount=discount,
        **flags,
    )


def _distances(free, goals, *, moves=8, corner_cutting=False, unit=False, wrap=False, cost=None):
    """Cost-to-go by SciPy's Dijkstra on an explicitly built graph; inf where unreachable."""
    height, width = free.shape
    edges = []
    for y, x in np.argwhere(free):
        for dy, dx in OFFSETS[:moves]:
            v, u = y + dy, x + dx
            if wrap:
                v, u = v % height, u % width
            if not (0 <= v < height and 0 <= u < width and free[v, u]):
                continue
            if dy and dx and not corner_cutting and not (free[y, u] and free[v, x]):
                continue
            length = np.sqrt(2) if dy and dx and not unit else 1.0
            length *= 1.0 if cost is None else cost[y, x]
            edges.append((v * width + u, y * width + x, length))  # reversed: from the goal
    tail, head, length = np.array(edges).T if edges else np.zeros((3, 0))
    graph = sparse.csr_matrix((length, (tail.astype(int), head.astype(int))), (free.size,) * 2)
    sources = [y * width + x for y, x in goals if free[y, x]]
    if not sources:
        return np.full(free.shape, np.inf)
    return dijkstra(graph, indices=sources).min(0).reshape(free.shape)


@pytest.fixture(scope="session")
def random_mdp():
    return _random_mdp


@pytest.fixture(scope="session")
def distances():
    return _distances


@pytest.fixture(scope="session")
def random_map():
    def make(seed, height=9, width=11, density=0.3):
        free = np.random.default_rng(seed).random((height, width)) > density
        goal = tuple(int(i) for i in np.argwhere(free)[seed % free.sum()])
        return free, goal

    return make


@pytest.fixture(scope="session")
def central_difference():
    """Gradient of a scalar function of one array by central differences."""

    def difference(function, x, step=1e-6):
        x = np.asarray(x, np.float64)
        gradient = np.zeros_like(x)
        for index in np.ndindex(*x.shape):
            shift = np.zeros_like(x)
            shift[index] = step
            up, down = function(jnp.asarray(x + shift)), function(jnp.asarray(x - shift))
            gradient[index] = (up - down) / (2 * step)
        return gradient

    return difference
