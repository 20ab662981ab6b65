"""RoadmapVIN: turns, renumbering, batches, and shortest ways once it knows the costs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import mdp, planners
from jplan.envs import roadmap, roadmap_mdp
from jplan.testing import assert_equivariant


def make(**options):
    return planners.RoadmapVIN(hidden=2, rngs=nnx.Rngs(0), **options)


@functools.cache
def drawn(count, nodes):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.jit(jax.vmap(lambda key: roadmap(key, nodes, num_neighbours=6)))(keys)


def some_graph(count=None, nodes=40, dtype=jnp.float32):
    graph = drawn(count or 1, nodes)
    graph = dataclasses.replace(
        graph, positions=graph.positions.astype(dtype), current=graph.current.astype(dtype)
    )
    return graph if count else jax.tree.map(lambda leaf: leaf[0], graph)


def planned(planner):
    graphdef, state = nnx.split(planner)
    plan = jax.jit(lambda state, graph: nnx.merge(graphdef, state)(graph))
    return lambda graph: plan(state, graph)


def test_logits_do_not_see_rotations_and_reflections(x64):
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (3, 3)))
    plan, graph = planned(make()), some_graph(dtype=float)
    for sign in (1.0, -1.0):  # in three dimensions one of the two is a reflection

        def turned(graph, turn=sign * turn):
            return dataclasses.replace(
                graph, positions=graph.positions @ turn.T + 3.0, current=graph.current @ turn.T
            )

        assert_equivariant(plan, turned, lambda logits: logits, graph, atol=1e-10)
        # Only as a whole: a current of its own makes a difference.
        half = dataclasses.replace(graph, current=turned(graph).current)
        assert np.abs(plan(half) - plan(graph)).max() > 1e-3


def test_logits_follow_a_renumbering(x64):
    plan, graph = planned(make()), some_graph(dtype=float)
    order = jax.random.permutation(jax.random.key(3), 40)
    place = jnp.argsort(order)
    renumbered = dataclasses.replace(
        jax.tree.map(lambda leaf: leaf[order] if leaf.ndim else leaf, graph), goal=place[graph.goal]
    )
    renumbered = dataclasses.replace(renumbered, neighbours=place[renumbered.neighbours])
    np.testing.assert_allclose(plan(renumbered), plan(graph)[order], atol=1e-10)


def test_who_knows_the_costs_finds_the_shortest_ways():
    class Exact(nnx.Module):
        def __call__(self, graph):
            return roadmap_mdp(graph).cost

    planner, graph = make(), some_graph()
    planner.mapper = Exact()
    out, problem = nnx.jit(lambda planner: planner.solve(graph))(planner), roadmap_mdp(graph)
    exact = mdp.value_iteration(problem).value
    np.testing.assert_allclose(out.value, exact, rtol=1e-5)
    assert out.solution.status == jp.Status.CONVERGED
    best = mdp.optimal_actions(problem, exact, tol=1e-5)
    going = np.asarray(best).any(-1)
    assert np.take_along_axis(np.asarray(best), np.asarray(out.logits).argmax(-1)[:, None], -1)[
        going
    ].all()
    assert (np.asarray(out.logits)[~np.asarray(graph.is_open)] < -1e8).all()


def test_leading_axes_gradients_and_configuration():
    planner, graph = make(), some_graph(count=2)
    graphdef, state = nnx.split(planner)
    out = jax.jit(lambda state: nnx.merge(graphdef, state).solve(graph, num_steps=[3, 5]))(state)
    assert out.logits.shape == (2, 40, 6)
    np.testing.assert_array_equal(out.solution.num_steps, [3, 5])
    plan = planned(planner)
    one = plan(jax.tree.map(lambda leaf: leaf[1], graph))
    np.testing.assert_allclose(plan(graph)[1], one, rtol=1e-4, atol=1e-5)

    def loss(state):
        logits = nnx.merge(graphdef, state)(graph)
        return jnp.sum(jnp.where(graph.is_open, jnp.sin(logits), 0))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(state)):
        assert bool(np.all(np.isfinite(leaf))), path
        assert float(np.abs(leaf).max()) > 0, path
    again = planners.RoadmapVIN(**planner.configuration(), rngs=nnx.Rngs(1))
    assert nnx.split(again)[0] == graphdef


def test_mistakes_get_advice():
    graph = some_graph()
    with pytest.raises(ValueError, match=r"expected positions and current\s+\[..., N, 3\]"):
        make()(dataclasses.replace(graph, positions=graph.positions[:, :2]))
    with pytest.raises(ValueError, match="num_steps is 0"):
        make().solve(graph, num_steps=0)
    with pytest.raises(ValueError, match="solver is Anderson, expected Picard"):
        make().solve(graph, solver=jp.Anderson())
    with pytest.raises(ValueError, match="hidden is 0"):
        planners.RoadmapVIN(hidden=0, rngs=nnx.Rngs(0))
