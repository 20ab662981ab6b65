"""Symmetric planners commute with the square's symmetries, through the whole solve."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import envs, planners
from jplan.testing import assert_grid_equivariant

row = functools.partial(functools.partial, channels=2, hidden=16, rngs=nnx.Rngs(0))
PLANNERS = {
    "SymVIN": row(planners.SymVIN, actions=4, q_channels=24),
    "SymVIN, 8 moves": row(planners.SymVIN, actions=8, q_channels=24),
    "SymGPPN": row(planners.SymGPPN, actions=4),
    "SymMaxPlusVIN": row(planners.SymMaxPlusVIN, actions=4),
    "SymMaxPlusVIN, 8 moves": row(planners.SymMaxPlusVIN, actions=8),
}
SOLVERS = {"Picard": jp.Picard, "Anderson": jp.Anderson, "Broyden": jp.Broyden}


@functools.cache
def drawn(size):
    keys = jax.random.split(jax.random.key(0), 2)
    return envs.as_map(jax.jit(jax.vmap(lambda key: envs.maze(key, size)))(keys))


def some_maps(dtype=jnp.float32, size=9):
    return drawn(size).astype(dtype)


def compiled(planner):
    return nnx.jit(lambda maps: planner(maps))


def entropy(logits):
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p)


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("SymVIN, 8 moves", "Picard"),
        ("SymMaxPlusVIN", "Picard"),
        *((n, s) for n in ("SymVIN", "SymGPPN") for s in SOLVERS),
    ],
)
def test_logits_turn_with_the_map(name, solver, x64):
    planner, solver = PLANNERS[name](), SOLVERS[solver](max_steps=12, tol=0.0)
    plan = nnx.jit(lambda maps: planner.solve(maps, solver=solver).logits)
    moves = planner.actions
    assert_grid_equivariant(plan, some_maps(float), moves=moves, atol=1e-12)
    assert np.abs(plan(some_maps(float))).max() > 1e-3


@pytest.mark.parametrize("name", PLANNERS)
def test_logits_turn_with_the_map_in_float32(name):
    planner = PLANNERS[name](max_steps=20, rngs=nnx.Rngs(1))
    assert_grid_equivariant(compiled(planner), some_maps(), moves=planner.actions, atol=1e-5)


@pytest.mark.parametrize(
    "adjoint",
    [jp.Truncated(4), jp.Implicit(backward=jp.Anderson())],
    ids=["truncated", "implicit"],
)
@pytest.mark.parametrize("name", ["SymVIN", "SymGPPN"])
def test_gradients_do_not_see_a_turn(name, adjoint, x64):
    planner = PLANNERS[name](max_steps=8, adjoint=adjoint)
    graphdef, state = nnx.split(planner)

    @jax.jit
    def gradient(state, maps):
        # The entropy of the policy is a function that does not change when all turns together.
        loss = lambda state: entropy(nnx.merge(graphdef, state)(maps))
        return jax.grad(loss)(state)

    maps = some_maps(float)
    expected = gradient(state, maps)
    for turned in (jnp.rot90(maps, axes=(1, 2)), jnp.flip(maps, 1), jnp.flip(maps, 2)):
        chex.assert_trees_all_close(gradient(state, turned), expected, rtol=1e-8, atol=1e-12)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected)) > 1e-6


@pytest.mark.parametrize("name", ["SymVIN", "SymMaxPlusVIN, 8 moves"])
def test_turns_alone_are_not_reflections(name, x64):
    planner = PLANNERS[name](group="C4", hidden=12, max_steps=9)
    plan, maps = compiled(planner), some_maps(float)
    turned = np.rot90(plan(maps), axes=(1, 2))
    expected = [np.roll(turned[..., i : i + 4], 1, axis=-1) for i in range(0, planner.actions, 4)]
    got = plan(jnp.asarray(np.rot90(maps, axes=(1, 2))))
    np.testing.assert_allclose(got, np.concatenate(expected, axis=-1), atol=1e-12)
    with pytest.raises(AssertionError, match="reflection"):
        assert_grid_equivariant(plan, maps, moves=planner.actions, atol=1e-6)


def test_a_plain_readout_breaks_the_symmetry_of_the_logits_only():
    planner = PLANNERS["SymVIN"](equivariant_readout=False)
    solve, maps = nnx.jit(lambda maps: planner.solve(maps)), some_maps()
    with pytest.raises(AssertionError, match="logits"):
        assert_grid_equivariant(lambda maps: solve(maps).logits, maps, atol=1e-3)
    turned = solve(jnp.asarray(np.rot90(maps, axes=(1, 2)))).value
    np.testing.assert_allclose(turned, np.rot90(solve(maps).value, axes=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 20}, "hidden is 20, expected a multiple of 8, the order of D4, such as 24"),
        ({"group": "O"}, "group is 'O', expected 'D4'"),
        ({"actions": 5}, "actions is 5, expected 4 or 8"),
    ],
)
@pytest.mark.parametrize("name", ["SymVIN", "SymGPPN", "SymMaxPlusVIN"])
def test_mistakes_get_advice(name, options, message):
    with pytest.raises(ValueError, match=message):
        PLANNERS[name](**options)


def test_costs_do_not_depend_on_the_goal(x64):
    planner = PLANNERS["SymMaxPlusVIN"]()
    maps = some_maps(float)
    moved = maps.at[..., 1].set(jnp.roll(maps[..., 1], (1, 2), axis=(1, 2)))
    seen = []
    mapper = planner.mapper
    planner.mapper = lambda inputs: seen.append(inputs.shape) or mapper(inputs)
    plan = compiled(planner)
    assert np.abs(plan(moved) - plan(maps)).max() > 1e-3
    assert {shape[-1] for shape in seen} == {1}
    with pytest.raises(ValueError, match="channels is 1, expected at least 2"):
        PLANNERS["SymMaxPlusVIN"](channels=1)
