"""Graph problems against SciPy's Dijkstra, and the generic operators on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csgraph

import jplan as jp
from jplan import mdp


def random_graph(seed, nodes=30, edges=4, **options):
    rng = np.random.default_rng(seed)
    neighbours = np.stack([rng.permutation(nodes)[:edges] for _ in range(nodes)])
    cost = rng.uniform(0.5, 2.0, (nodes, edges))
    is_open = rng.random((nodes, edges)) > 0.5
    goal = np.arange(nodes) == 3
    fields = {"neighbours": neighbours, "cost": cost, "is_open": is_open, "goal": goal}
    return mdp.GraphMDP(**{name: jnp.asarray(f) for name, f in fields.items()}, **options)


def shortest(graph):
    nodes = len(graph.goal)
    weights = np.full((nodes, nodes), np.inf)
    for s, a in np.argwhere(np.asarray(graph.is_open)):
        end = graph.neighbours[s, a]
        weights[end, s] = min(weights[end, s], graph.cost[s, a])  # backwards, from the goal
    return csgraph.dijkstra(csgraph.csgraph_from_dense(weights, null_value=np.inf), indices=3)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_shortest_paths(seed, x64):
    graph = random_graph(seed)
    out = mdp.value_iteration(graph)
    np.testing.assert_allclose(-out.value, shortest(graph), rtol=1e-12)
    assert out.status == jp.Status.CONVERGED
    assert np.isinf(out.value).any()
    best = mdp.optimal_actions(graph, out.value)
    going = np.isfinite(out.value) & ~np.asarray(graph.goal)
    np.testing.assert_array_equal(np.asarray(best).any(-1), going)
    greedy = mdp.greedy_policy(graph, out.value)
    followed = mdp.evaluate_policy(graph, greedy)
    np.testing.assert_allclose(followed.value, out.value, rtol=1e-12)


def test_a_discount_and_a_soft_backup(x64):
    graph = random_graph(1, discount=0.9)
    value = mdp.value_iteration(graph).value
    np.testing.assert_allclose(mdp.optimality_backup(graph, value), value, rtol=1e-6)
    soft = mdp.soft_value_iteration(graph, temperature=0.01).value
    reached = np.isfinite(value)
    assert (soft[reached] >= value[reached] - 1e-6).all()
    np.testing.assert_allclose(soft[reached], value[reached], atol=0.2)


def test_the_gradient_is_the_path(x64):
    graph = random_graph(0)
    value = mdp.value_iteration(graph).value
    start = int(np.argmax(np.where(np.isfinite(value), -value, -1)))

    def length(cost):
        return -mdp.value_iteration(graph.replace(cost=cost)).value[start]

    used = jax.grad(length)(graph.cost)
    assert set(np.unique(used)) == {0.0, 1.0}
    np.testing.assert_allclose(jnp.vdot(used, graph.cost), -value[start], rtol=1e-12)


def test_mistakes_get_advice():
    graph = random_graph(0)
    with pytest.raises(ValueError, match=r"expected \[S, A\] for neighbours"):
        mdp.value_iteration(graph.replace(goal=graph.goal[:-1]))
    with pytest.raises(ValueError, match="is_open: got dtype float"):
        mdp.value_iteration(graph.replace(is_open=graph.cost))
    with pytest.raises(ValueError, match=r"discount: got 1\.5"):
        mdp.value_iteration(graph.replace(discount=1.5))


def test_without_a_goal_the_status_says_so():
    graph = random_graph(0, discount=0.9)
    nowhere = graph.replace(goal=jnp.zeros_like(graph.goal))
    for solve in (mdp.value_iteration, lambda g: mdp.soft_value_iteration(g, temperature=0.1)):
        assert solve(graph).status == jp.Status.CONVERGED
        assert solve(nowhere).status == jp.Status.DIVERGED
