import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan import mdp
from jplan.envs import roadmap, roadmap_mdp

draw = jax.jit(roadmap, static_argnums=1)


@pytest.fixture(scope="module")
def graph():
    return draw(jax.random.key(0), 150)


def test_neighbours_are_the_nearest_nodes(graph):
    positions = np.asarray(graph.positions, np.float64)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 9 * np.eye(150)
    nearest = np.sort(apart, axis=-1)[:, :12]
    chosen = np.take_along_axis(apart, np.asarray(graph.neighbours), axis=-1)
    np.testing.assert_allclose(chosen, nearest, rtol=1e-4)
    assert positions.min() >= 0
    assert positions.max() <= 1


def test_open_ways_are_open_both_ways_and_closed_ones_exist(graph):
    neighbours, is_open = np.asarray(graph.neighbours), np.asarray(graph.is_open)
    assert 0.5 < is_open.mean() < 1
    pairs = 0
    for i, row in enumerate(neighbours):
        for k, j in enumerate(row):
            back = np.flatnonzero(neighbours[j] == i)
            if len(back):
                pairs += 1
                assert is_open[i, k] == is_open[j, back[0]]
    assert pairs > 500


def test_straight_ways_of_open_edges_are_as_free_as_the_nodes():
    # What is free is not in the data, but nodes are: none lies in a ball, so where many nodes are,
    # a closed edge passes through a hole between them.
    graph = draw(jax.random.key(2), 1500)
    positions, closed = np.asarray(graph.positions), ~np.asarray(graph.is_open)
    ends = positions[np.asarray(graph.neighbours)]
    middle = (positions[:, None] + ends) / 2
    gap = lambda points: np.linalg.norm(points[:, None] - positions[None], axis=-1).min(-1).mean()
    assert gap(middle[closed][:300]) > 1.1 * gap(middle[~closed][:300])


def test_costs_follow_the_current(graph):
    assert float(jnp.linalg.norm(graph.current, axis=-1).max()) < 0.5
    problem = roadmap_mdp(graph)
    step = graph.positions[graph.neighbours] - graph.positions[:, None]
    length = np.linalg.norm(step, axis=-1)
    assert (problem.cost > 0.5 * length).all()
    assert (problem.cost < 1.5 * length).all()
    i, k = 7, 2
    j = int(graph.neighbours[i, k])
    mean = (np.asarray(graph.current)[i] + np.asarray(graph.current)[j]) / 2
    by_hand = length[i, k] - np.asarray(step)[i, k] @ mean
    np.testing.assert_allclose(problem.cost[i, k], by_hand, rtol=1e-5)
    value = mdp.value_iteration(problem).value
    assert value[graph.goal] == 0
    assert np.isfinite(value).mean() > 0.8


def test_mistakes_get_advice():
    with pytest.raises(ValueError, match="more nodes than neighbours"):
        roadmap(jax.random.key(0), 12)
    with pytest.raises(ValueError, match=r"jax.vmap\(roadmap\)"):
        roadmap(jax.random.split(jax.random.key(0)), 50)
