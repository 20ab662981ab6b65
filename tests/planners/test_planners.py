"""One battery for all map planners: a new one is tested by adding a row."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import envs, planners

row = functools.partial(functools.partial, actions=4, channels=2, hidden=6)
PLANNERS = {
    "ConvGPPN": row(planners.ConvGPPN, max_steps=20),
    "GPPN, injected": row(planners.GPPN, kernel_size=3, max_steps=20, inject=True),
    "MaxPlusVIN": row(planners.MaxPlusVIN),
    "MaxPlusVIN, hard": row(planners.MaxPlusVIN, hard=True),
    "SPT": row(planners.SPT, hidden=8, heads=2, max_steps=20),
    "SymGPPN": row(planners.SymGPPN, hidden=16, max_steps=20),
    "SymMaxPlusVIN": row(planners.SymMaxPlusVIN, hidden=8),
    "SymVIN": row(planners.SymVIN, hidden=16, q_channels=16, max_steps=20),
    "VIN": row(planners.VIN, q_channels=5, max_steps=20),
    "VIN, observed kernel": row(planners.VIN, q_channels=5, max_steps=20, observed_kernel=True),
}


VARIANTS = {"MaxPlusVIN, hard", "VIN, observed kernel"}  # in the tests of gradients and of shifts


@pytest.fixture(params=[name for name in PLANNERS if name not in VARIANTS])
def make(request):
    planner = PLANNERS[request.param]
    return lambda **kw: planner(rngs=nnx.Rngs(0), **kw)


def some_maps(count=3, size=7):
    keys = jax.random.split(jax.random.key(0), count)
    return envs.as_map(jax.vmap(lambda key: envs.maze(key, size))(keys))


def solved(planner):
    """`solve`, jitted: one program compiles faster than its operations one by one."""
    graphdef, state = nnx.split(planner)
    solve = jax.jit(lambda state, maps: nnx.merge(graphdef, state).solve(maps))
    return lambda maps: solve(state, maps)


def test_leading_axes_are_batch_axes(make):
    planner, maps = make(), some_maps(6)
    solve = solved(planner)
    flat = solve(maps)
    assert flat.logits.shape == (6, 7, 7, 4)
    assert flat.value.shape == (6, 7, 7)
    assert flat.solution.status.shape == (6,)
    nested = solve(maps.reshape(2, 3, 7, 7, 2))
    np.testing.assert_allclose(nested.logits.reshape(flat.logits.shape), flat.logits, rtol=1e-6)
    assert nested.solution.num_steps.shape == (2, 3)
    single = solve(maps[4])
    np.testing.assert_allclose(single.logits, flat.logits[4], rtol=1e-4, atol=1e-5)
    assert single.solution.status.shape == ()
    assert solve(maps[:0]).logits.shape == (0, 7, 7, 4)


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "SPT"])  # has positions
def test_on_a_torus_a_shifted_map_has_a_shifted_plan(name, x64):
    make = functools.partial(PLANNERS[name], rngs=nnx.Rngs(0))
    maps, shift = some_maps(2).astype(float), functools.partial(jnp.roll, shift=(2, 3), axis=(1, 2))
    graphdef, state = nnx.split(make(padding="wrap"))

    @jax.jit
    def plan_and_gradient(state, maps):
        logits, pull = jax.vjp(lambda state: nnx.merge(graphdef, state)(maps), state)
        return logits, pull(jnp.sin(logits))[0]

    logits, gradient = plan_and_gradient(state, maps)
    shifted, again = plan_and_gradient(state, shift(maps))
    np.testing.assert_allclose(shifted, shift(logits), rtol=1e-9, atol=1e-10)
    chex.assert_trees_all_close(again, gradient, rtol=1e-7, atol=1e-8)
    ends = nnx.merge(nnx.graphdef(make()), state)(maps)
    assert jnp.abs(ends - logits).max() > 1e-6


def test_an_unknown_padding_gets_advice(make):
    with pytest.raises(ValueError, match="padding is 'same', expected 'zero'"):
        make(padding="same")


def test_one_trace_and_equal_under_jit(make):
    planner, maps = make(), some_maps()
    graphdef, state = nnx.split(planner)
    traces = []

    @jax.jit
    def plan(state, maps):
        traces.append(None)
        return nnx.merge(graphdef, state)(maps)

    first = plan(state, maps)
    plan(state, maps[::-1])
    assert len(traces) == 1
    np.testing.assert_allclose(first, planner(maps), rtol=1e-4, atol=1e-5)


def test_a_budget_can_be_traced(make):
    planner, maps = make(), some_maps()
    steps = jax.jit(lambda n: planner.solve(maps, num_steps=n).solution.num_steps)
    assert int(steps(3).max()) <= 3
    assert int(steps(jnp.asarray(16)).max()) > 3


def test_a_budget_that_is_none_gets_advice(make):
    planner, maps = make(), some_maps()
    for wrong in (0, -3, 2.5, [1, 2], [[1, 2, 3]], [1, 0, 2]):
        with pytest.raises(ValueError, match=r"num_steps is .*from 1 on.*\[3\], one for each map"):
            planner.solve(maps, num_steps=wrong)
    steps = planner.solve(maps, num_steps=[1, 2, 3]).solution.num_steps
    np.testing.assert_array_equal(steps, [1, 2, 3])


def test_double_precision_is_double_throughout(make, x64):
    planner = make()
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(planner))} == {"float64"}
    assert solved(planner)(some_maps().astype("float64")).logits.dtype == "float64"


SILENT = {
    # The goal's layer or the map's own kernel starts at zero, so what feeds it is not moved yet.
    "MaxPlusVIN": ["scale_"],
    "SymMaxPlusVIN": ["scale_"],
    "VIN, observed kernel": ["kernel_mapper']['kernel", "kernel_mapper']['bias"],
    # Moves and gates are settled.
    "MaxPlusVIN, hard": ["cell']['kernel", "gate_", "scale_kernel", "scale_bias"],
}


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("adjoint", [jp.Unroll(), jp.Implicit()], ids=["unrolled", "implicit"])
def test_every_adjoint_reaches_every_parameter(name, adjoint):
    planner, maps = PLANNERS[name](adjoint=adjoint, rngs=nnx.Rngs(0)), some_maps()
    silent = SILENT.get(name, [])
    if "GPPN, injected" in name and not isinstance(adjoint, jp.Unroll):
        silent = ["start_"]  # a fixed point does not depend on the start
    graphdef, state = nnx.split(planner)
    loss = lambda state: jnp.sum(
        jnp.sin(nnx.merge(graphdef, state).solve(maps, num_steps=20).logits)
    )
    gradient = jax.jit(jax.grad(loss))(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        text = jax.tree_util.keystr(path)
        assert bool(jnp.all(jnp.isfinite(leaf))), text
        assert bool(jnp.any(leaf != 0)) != any(part in text for part in silent), text


def test_nan_in_one_map_is_reported_and_stays_there(make):
    maps = some_maps()
    solve = solved(make())
    out = solve(maps.at[1, 2, 2, 0].set(jnp.nan))
    assert out.solution.status[1] == jp.Status.DIVERGED
    assert bool(jnp.isnan(out.logits[1]).any())
    clean = solve(maps)
    np.testing.assert_allclose(out.logits[0], clean.logits[0], rtol=1e-4, atol=1e-5)


def test_nan_parameters_are_seen(make):
    graphdef, state = nnx.split(make())
    broken = nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state))
    logits = solved(broken)(some_maps(size=15)).logits
    assert bool(jnp.isnan(logits).any(axis=(1, 2, 3)).all())


def test_forward_mode_and_low_precision(make):
    planner, maps = make(adjoint=jp.Unroll(), forward_mode=True), some_maps()
    graphdef, state = nnx.split(planner)
    value = lambda state: nnx.merge(graphdef, state).solve(maps, num_steps=5).logits.sum()
    direction = jax.tree.map(jnp.ones_like, state)
    gradient = jax.jit(jax.grad(value))(state)
    slope = sum(jnp.vdot(g, jnp.ones_like(g)) for g in jax.tree.leaves(gradient))
    tangent = jax.jit(lambda state: jax.jvp(value, (state,), (direction,))[1])(state)
    np.testing.assert_allclose(tangent, slope, rtol=1e-3, atol=1e-2)
    assert bool(jnp.all(jnp.isfinite(solved(planner)(maps.astype(jnp.bfloat16)).logits)))


def test_maps_smaller_than_the_kernel_get_advice(make):
    with pytest.raises(ValueError, match=r"at least 5,\s.*kernel_size"):
        make(kernel_size=5)(jnp.ones((2, 4, 7, 2)))
    assert make(kernel_size=3)(jnp.ones((2, 3, 3, 2))).shape == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("name", "size"),
    [("actions", 0), ("channels", 0), ("hidden", 0), ("max_steps", 0), ("kernel_size", 2)],
)
def test_sizes_out_of_range_are_named(make, name, size):
    with pytest.raises(ValueError, match=f"{name} is {size}"):
        make(**{name: size})


def test_a_call_overrides_the_solver_and_the_budget(make):
    planner, maps = make(), some_maps()
    steps = lambda **kw: int(planner.solve(maps, **kw).solution.num_steps.max())
    assert steps() > 6
    assert steps(solver=jp.Picard(max_steps=5)) == 5
    assert steps(num_steps=3) == 3
    assert steps(solver=jp.Picard(max_steps=5), num_steps=2) == 2


@pytest.mark.parametrize("name", ["ConvGPPN", "GPPN, injected", "VIN"])
def test_a_solver_brings_its_own_budget(name):
    make = functools.partial(PLANNERS[name], rngs=nnx.Rngs(0))
    assert make(solver=jp.Anderson(max_steps=7), max_steps=None).max_steps == 7
    with pytest.raises(ValueError, match="max_steps is 20, expected 7 as in the solver"):
        make(solver=jp.Anderson(max_steps=7))


def test_a_call_overrides_the_adjoint(make):
    maps, refused = some_maps(), jp.Truncated(0)
    with pytest.raises(ValueError, match="steps is 0"):
        make(adjoint=jp.Unroll()).solve(maps, adjoint=refused)
    with pytest.raises(ValueError, match="steps is 0"):
        make(adjoint=refused).solve(maps)
    assert make(adjoint=refused).solve(maps, adjoint=jp.Unroll()).logits.shape == (3, 7, 7, 4)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((3, 7, 7, 3), jnp.float32, r"expected \[..., H, W, 2\]"),
        ((7, 7), jnp.float32, "channel last"),
        ((3, 0, 7, 2), jnp.float32, "not\nempty|not empty"),
        ((3, 7, 7, 2), jnp.int32, "floating point"),
    ],
)
def test_mistakes_get_advice(make, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        make()(jnp.zeros(shape, dtype))


def test_configuration_rebuilds_the_planner(make):
    planner = make(adjoint=jp.Truncated(7))
    again = type(planner)(**planner.configuration(), rngs=nnx.Rngs(1))
    assert nnx.split(again)[0] == nnx.split(planner)[0]


def test_gppn_is_trained_through_every_step():
    make = functools.partial(PLANNERS["GPPN, injected"], inject=False)
    planner, maps = make(rngs=nnx.Rngs(0)), some_maps()
    graphdef, state = nnx.split(planner)
    loss = lambda state: jnp.sum(jnp.sin(nnx.merge(graphdef, state)(maps)))
    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(state)):
        assert bool(jnp.all(jnp.isfinite(leaf)))
        assert float(jnp.abs(leaf).max()) > 0
    for adjoint in (jp.Truncated(5), jp.OneStep(), jp.Implicit(), jp.Safeguarded(steps=5)):
        with pytest.raises(ValueError, match=r"expected Unroll.*inject=True"):
            make(adjoint=adjoint, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match=r"expected Unroll.*inject=True"):
            planner.solve(maps, adjoint=adjoint)


@pytest.mark.parametrize("name", ["MaxPlusVIN", "SymMaxPlusVIN"])
def test_hardened_keeps_the_parameters(name):
    planner = PLANNERS[name](rngs=nnx.Rngs(3))
    hard = planner.hardened()
    assert hard.hard
    assert not planner.hard
    chex.assert_trees_all_equal(nnx.state(hard), nnx.state(planner))
    made_hard = PLANNERS[name](rngs=nnx.Rngs(3), hard=True)
    chex.assert_trees_all_equal(hard(some_maps()), made_hard(some_maps()))
    assert jnp.abs(hard(some_maps()) - planner(some_maps())).max() > 1e-3


def test_parts_can_be_swapped():
    class Uniform(nnx.Module):
        def __call__(self, inputs):
            ones = jnp.ones((4, *inputs.shape[:2]))
            return jp.nn.MoveCosts(surcharge=0 * ones, scale=ones)

    planner = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
    planner.mapper = Uniform()
    out = planner.solve(some_maps())
    assert bool(jnp.all(out.solution.status == jp.Status.CONVERGED))


def test_cells_out_of_reach_have_the_value_minus_infinity():
    free = jnp.ones((5, 7), bool).at[:, 3].set(False)
    maps = envs.as_map(envs.GridTask(free=free, goal=jnp.asarray([2, 1])))

    class Walls(nnx.Module):
        def __call__(self, inputs):
            padded = jnp.pad(inputs[..., 0], 1)
            shifts = [padded[:-2, 1:-1], padded[1:-1, :-2], padded[2:, 1:-1], padded[1:-1, 2:]]
            ones = jnp.ones((4, *inputs.shape[:2]))
            closed = jnp.stack(shifts) * inputs[..., 0][None] < 0.5
            return jp.nn.MoveCosts(surcharge=jnp.where(closed, 9.0, 0.0), scale=ones)

    planner = planners.MaxPlusVIN(4, 2, hard=True, rngs=nnx.Rngs(0))
    planner.mapper = Walls()
    planner.cell.kernel[...] = jax.nn.one_hot(jnp.asarray([1, 3, 7, 5]), 9).reshape(4, 3, 3)
    value = planner.solve(maps).value
    exact = jp.mdp.value_iteration(jp.mdp.GridMDP.from_free(free, goal=(2, 1), moves=4)).value
    np.testing.assert_array_equal(value, exact)
