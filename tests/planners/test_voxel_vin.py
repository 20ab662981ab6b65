"""VoxelVIN: batch axes, the symmetries of the cube, and shortest paths once it knows the moves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import envs, mdp, planners, training
from jplan.testing import assert_grid_equivariant


@functools.cache
def some_tasks(count=2, size=5):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(lambda key: envs.voxel_maze(key, size)))(keys)


def taught(**options):
    """A planner whose moves are those of the grid."""
    planner = planners.VoxelVIN(2, hidden=2, hard=True, rngs=nnx.Rngs(0), **options)
    count = planner.kernel.weights.shape[0]
    for weight in range(count):
        planner.kernel.weights[...] = jax.nn.one_hot(weight, count)[:, None, None]
        if planner.kernel()[0, 1, 1, 0, 0] == 1:  # the first move leads one cell back along z
            break
    return planner


class Walls(nnx.Module):
    """Costs by someone who knows what a wall is."""

    def __call__(self, inputs):
        free = inputs[..., 0] > 0.5
        grid = mdp.GridMDP(free=free, goal=jnp.zeros_like(free), moves=6)
        closed = jnp.moveaxis(~grid.open_moves(), -1, 0)
        return jp.nn.MoveCosts(surcharge=9.0 * closed, scale=jnp.ones(closed.shape))


def test_logits_turn_with_the_cube(x64):
    planner = planners.VoxelVIN(2, hidden=3, rngs=nnx.Rngs(0))
    maps = envs.as_map(some_tasks()).astype(float)
    plan = jax.jit(lambda maps: planner.solve(maps, num_steps=9).logits)
    assert_grid_equivariant(plan, maps, moves=6, atol=1e-10)
    assert jnp.ptp(plan(maps), axis=-1).max() > 1e-2
    with pytest.raises(AssertionError, match=r"after axes \(0, 1, 2\) and signs \(1, 1, -1\)"):
        assert_grid_equivariant(lambda m: plan(m).at[..., 5].add(1), maps, moves=6, atol=1e-4)


@functools.partial(jax.jit, static_argnames="graphdef")
def run(state, maps, *, graphdef):
    return nnx.merge(graphdef, state).solve(maps)


def planned(planner):
    """The planner as jitted code has it: split, and merged inside."""
    graphdef, state = nnx.split(planner)
    return functools.partial(run, state, graphdef=graphdef)


def test_who_knows_moves_and_walls_finds_shortest_paths():
    planner, tasks = taught(), some_tasks(4)
    planner.mapper = Walls()
    out = planned(planner)(envs.as_map(tasks))
    batch = jax.jit(lambda tasks: training.imitation_batch(tasks, moves=6))(tasks)
    np.testing.assert_array_equal(out.value, batch.value)
    _, metrics = jax.jit(training.imitation_loss)(out.logits, batch)
    assert metrics["success"] == metrics["accuracy"] == 1


def test_on_a_torus_a_shifted_map_has_a_shifted_plan(x64):
    planner = planners.VoxelVIN(2, hidden=2, padding="wrap", rngs=nnx.Rngs(0))
    plan, maps = planned(planner), envs.as_map(some_tasks()).astype(float)
    shift = lambda x: jnp.roll(x, (1, 2, 3), axis=(1, 2, 3))
    logits = plan(maps).logits
    np.testing.assert_allclose(plan(shift(maps)).logits, shift(logits), atol=1e-10)
    ends = planners.VoxelVIN(2, hidden=2, rngs=nnx.Rngs(0))
    assert np.abs(planned(ends)(maps).logits - logits).max() > 1e-6


def test_leading_axes_are_batch_axes_and_merging_changes_nothing():
    planner = planners.VoxelVIN(2, hidden=2, rngs=nnx.Rngs(0))
    maps = envs.as_map(some_tasks())
    plan = planned(planner)
    out = plan(maps[None])
    assert out.logits.shape == (1, 2, 5, 5, 5, 6)
    assert out.value.shape == (1, 2, 5, 5, 5)
    assert out.solution.status.shape == (1, 2)
    np.testing.assert_allclose(plan(maps[1]).logits, out.logits[0, 1], rtol=1e-4, atol=1e-5)
    hard = planner.hardened()
    assert hard.hard
    assert np.abs(planned(hard)(maps[None]).logits - out.logits).max() > 1e-3


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_maps_may_be_of_any_floating_type(dtype, x64):
    planner = planners.VoxelVIN(2, hidden=2, rngs=nnx.Rngs(0))
    maps = envs.as_map(some_tasks())
    expected = planned(planner)(maps.astype(float)).logits
    np.testing.assert_allclose(planned(planner)(maps.astype(dtype)).logits, expected, atol=1e-6)


def test_every_parameter_learns_and_configuration_rebuilds():
    planner, tasks = planners.VoxelVIN(2, hidden=2, rngs=nnx.Rngs(0)), some_tasks()
    graphdef, state = nnx.split(planner)

    def loss(state):
        batch = training.imitation_batch(tasks, moves=6)
        planner = nnx.merge(graphdef, state)
        return training.imitation_loss(planner.solve(batch.maps, num_steps=6).logits, batch)[0]

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(state)):
        assert bool(np.all(np.isfinite(leaf))), path
        assert float(np.abs(leaf).max()) > 0, path
    again = planners.VoxelVIN(**planner.configuration(), rngs=nnx.Rngs(1))
    assert nnx.split(again)[0] == graphdef


def test_evaluation_counts_in_three_dimensions():
    tasks = some_tasks(3)
    constant = lambda maps: jnp.zeros((*maps.shape[:-1], 6))
    measure = jax.jit(lambda key: training.evaluate(constant, tasks, key, moves=6))
    measures = measure(jax.random.key(0))
    assert measures.success.shape == (3,)
    assert 0 <= float(measures.success.max()) < 1
    with pytest.raises(ValueError, match="expected 6"):
        training.evaluate(
            lambda maps: jnp.zeros((*maps.shape[:-1], 4)), tasks, jax.random.key(0), moves=6
        )


def test_mistakes_get_advice():
    planner = planners.VoxelVIN(2, hidden=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"expected \[..., D, H, W, 2\]"):
        planner(jnp.ones((5, 5, 5, 3)))
    with pytest.raises(ValueError, match="sides of at least 3"):
        planner(jnp.ones((5, 2, 5, 2)))
    with pytest.raises(ValueError, match="expected Picard"):
        planner.solve(jnp.ones((5, 5, 5, 2)), solver=jp.Anderson())
    with pytest.raises(ValueError, match="channels is 1, expected at least 2"):
        planners.VoxelVIN(1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="hidden is 0"):
        planners.VoxelVIN(2, hidden=0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="padding is 'same'"):
        planners.VoxelVIN(2, padding="same", rngs=nnx.Rngs(0))
