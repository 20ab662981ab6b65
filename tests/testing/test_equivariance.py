import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan.testing import assert_equivariant, assert_grid_equivariant


def exact_planner(moves, change=lambda q: q):
    """Exact action values, the planner that must be symmetric."""

    def plan(maps):
        grid = jp.mdp.GridMDP.from_free(maps[..., 0] > 0.5, goal=maps[..., 1] > 0.5, moves=moves)
        return change(jp.mdp.action_values(grid, jp.mdp.value_iteration(grid).value))

    return jax.jit(plan)


@pytest.fixture
def maps():
    task = jp.envs.maze(jax.random.key(0), 9, decimation=0.3)
    return jp.envs.as_map(task)


@pytest.mark.parametrize("moves", [4, 8])
def test_exact_planning_is_equivariant(moves, maps):
    planner = exact_planner(moves)
    assert_grid_equivariant(planner, maps, moves=moves, atol=1e-5)
    assert_grid_equivariant(planner, maps[1:7], moves=moves, atol=1e-5)
    batched = jax.jit(jax.vmap(planner))
    assert_grid_equivariant(batched, jnp.stack([maps, maps[::-1]]), moves=moves, atol=1e-5)


@pytest.mark.parametrize(
    ("moves", "order", "where"),
    [
        (4, [0, 3, 2, 1], "1 quarter turns:"),  # clockwise
        (4, [1, 0, 3, 2], "0 quarter turns and a left-right reflection"),
        (8, [0, 1, 2, 3, 5, 4, 6, 7], "0 quarter turns and a left-right reflection"),
        (8, [0, 1, 2, 3, 7, 4, 5, 6], "0 quarter turns and a left-right reflection"),
    ],
)
def test_another_order_of_actions_fails(moves, order, where, maps):
    planner = exact_planner(moves, lambda q: q[..., jnp.array(order)])
    with pytest.raises(AssertionError, match=f"after {where}.*got .*, expected"):
        assert_grid_equivariant(planner, maps, moves=moves, atol=1e-5)


def test_rotations_alone_are_not_enough(maps):
    """The logit of a move is the map to the left of it, which a mirror puts to its right."""

    def look_left(maps):
        field = maps[..., 0]
        left = [
            jnp.roll(field, shift, axis) for shift, axis in ((1, -1), (-1, -2), (-1, -1), (1, -2))
        ]
        return jnp.stack(left, axis=-1)

    with pytest.raises(AssertionError, match="after 0 quarter turns and a left-right reflection"):
        assert_grid_equivariant(look_left, maps, atol=1e-5)
    turn_only = lambda maps: (
        look_left(maps) + look_left(maps[:, ::-1])[:, ::-1, jnp.array([0, 3, 2, 1])]
    )
    assert_grid_equivariant(turn_only, maps, atol=1e-5)


def test_an_untrained_conv_planner_fails(maps):
    planner = jp.planners.ConvGPPN(4, 2, hidden=4, max_steps=5, rngs=nnx.Rngs(0))
    with pytest.raises(AssertionError, match="logits of the maps after"):
        assert_grid_equivariant(planner, maps, atol=1e-5)


def test_tolerance_and_infinities(maps):
    noise = np.random.default_rng(0).normal(size=(9, 9, 4)) * 1e-3
    planner = exact_planner(4, lambda q: q + jnp.asarray(noise, jnp.float32))
    assert_grid_equivariant(planner, maps, atol=1e-2)
    with pytest.raises(AssertionError, match="entries differ by more than 1e-05"):
        assert_grid_equivariant(planner, maps, atol=1e-5)


def test_wrong_shapes_are_named(maps):
    with pytest.raises(ValueError, match=r"got logits \(9, 9, 8\).*expected \(9, 9, 4\)"):
        assert_grid_equivariant(exact_planner(8), maps, atol=0.0)
    with pytest.raises(ValueError, match="add a channel axis"):
        assert_grid_equivariant(exact_planner(4), maps[..., 0], atol=0.0)


def test_equivariant_on_pytrees_names_leaf_and_entry():
    x = {"a": jnp.arange(3.0), "b": jnp.array([1.0, -jnp.inf, jnp.nan])}
    flip = lambda tree: jax.tree.map(lambda leaf: leaf[::-1], tree)
    double = lambda tree: jax.tree.map(lambda leaf: 2 * leaf, tree)
    assert_equivariant(double, flip, flip, x, atol=0.0)
    bump = lambda tree: tree | {"a": tree["a"].at[0].add(1.0)}
    with pytest.raises(AssertionError, match=r"leaf \['a'\]: got .* expected .* 2 of 3"):
        assert_equivariant(bump, flip, flip, x, atol=0.0)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda y: (y, y), "expected PyTreeDef"),
        (lambda y: y[:1], r"got shape \(2,\), expected \(1,\)"),
        (lambda y: y.at[0].set(jnp.nan), "expected nan"),
        (lambda y: y.at[0].set(jnp.inf), "expected inf"),
    ],
)
def test_structure_shape_and_non_finite_differences_fail(out, message):
    with pytest.raises(AssertionError, match=message):
        assert_equivariant(jnp.sin, lambda x: x, out, jnp.ones(2), atol=1e9)
