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
    "SPT, not injected": row(planners.SPT, hidden=8, heads=2, max_steps=20, inject=False),
    "SymGPPN": row(planners.SymGPPN, hidden=16, max_steps=20),
    "SymMaxPlusVIN": row(planners.SymMaxPlusVIN, hidden=8),
    "SymMaxPlusVIN, 8 turning": row(planners.SymMaxPlusVIN, actions=8, group="C4", hidden=8),
    "SymVIN": row(planners.SymVIN, hidden=16, q_channels=16, max_steps=20),
    "VIN": row(planners.VIN, q_channels=5, max_steps=20),
    "VIN, observed kernel": row(planners.VIN, q_channels=5, max_steps=20, observed_kernel=True),
}


VARIANTS = {  # in the tests of gradients and of shifts
    "MaxPlusVIN, hard",
    "SPT, not injected",
    "SymMaxPlusVIN, 8 turning",
    "VIN, observed kernel",
}


@pytest.fixture(params=[name for name in PLANNERS if name not in VARIANTS])
def make(request):
    return functools.partial(made, request.param)


@functools.cache
def made(name, **options):
    """A planner that no test changes."""
    return PLANNERS[name](rngs=nnx.Rngs(0), **options)


@functools.cache
def some_maps(count=3, size=7):
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.jit(jax.vmap(lambda key: envs.maze(key, size)))
    return np.asarray(envs.as_map(draw(keys)))  # of which parts can be taken without compiling


TRACES = []


@functools.partial(jax.jit, static_argnames=("graphdef", "solver", "adjoint"))
def run(state, maps, num_steps, *, graphdef, **options):
    TRACES.append(None)
    return nnx.merge(graphdef, state).solve(maps, num_steps=num_steps, **options)


def solve(planner, maps, num_steps=None, **options):
    """`solve`, jitted for all tests: a program compiles faster than its operations one by one."""
    graphdef, state = nnx.split(planner)
    return run(state, maps, num_steps, graphdef=graphdef, **options)


def test_leading_axes_are_batch_axes(make):
    planner, maps = make(), some_maps(6).reshape(2, 3, 7, 7, 2)
    nested = solve(planner, maps)
    assert nested.solution.num_steps.shape == (2, 3)
    for part, logits in zip(maps, nested.logits, strict=True):
        flat = solve(planner, part)
        assert flat.logits.shape == (3, 7, 7, 4)
        assert flat.value.shape == (3, 7, 7)
        assert flat.solution.status.shape == (3,)
        np.testing.assert_allclose(logits, flat.logits, rtol=1e-4, atol=1e-5)
    single = solve(planner, maps[1, 1])
    np.testing.assert_allclose(single.logits, nested.logits[1, 1], rtol=1e-4, atol=1e-5)
    assert single.solution.status.shape == ()
    assert solve(planner, maps[0, :0]).logits.shape == (0, 7, 7, 4)


@pytest.mark.parametrize("name", [n for n in PLANNERS if "SPT" not in n])  # has positions
def test_on_a_torus_a_shifted_map_has_a_shifted_plan(name, x64):
    maps, shift = some_maps().astype(float), functools.partial(np.roll, shift=(2, 3), axis=(1, 2))
    with jax.enable_x64(False):
        ends = solve(made(name), some_maps()).logits
        graphdef, state = nnx.split(made(name, padding="wrap"))
    state = jax.tree.map(lambda leaf: np.asarray(leaf, float), state)

    @jax.jit
    def plan_and_gradient(state, maps):
        logits, pull = jax.vjp(lambda state: nnx.merge(graphdef, state)(maps), state)
        return logits, pull(jnp.sin(logits))[0]

    logits, gradient = plan_and_gradient(state, maps)
    shifted, again = plan_and_gradient(state, shift(maps))
    np.testing.assert_allclose(shifted, shift(logits), rtol=1e-9, atol=1e-10)
    chex.assert_trees_all_close(again, gradient, rtol=1e-7, atol=1e-8)
    assert np.abs(np.asarray(ends) - logits).max() > 1e-3


def test_an_unknown_padding_gets_advice(make):
    with pytest.raises(ValueError, match="padding is 'same', expected 'zero'"):
        make(padding="same")


def test_one_trace_and_equal_under_jit(make):
    planner, maps = make(), some_maps()
    first = solve(planner, maps).logits
    traces = len(TRACES)
    solve(planner, maps[::-1])
    assert len(TRACES) == traces > 0
    np.testing.assert_allclose(first, planner(maps), rtol=1e-4, atol=1e-5)


def test_a_budget_can_be_traced(make):
    steps = lambda n: solve(make(), some_maps(), jnp.asarray(n)).solution.num_steps
    assert int(steps(3).max()) <= 3
    traces = len(TRACES)
    assert int(steps(16).max()) > 3
    assert len(TRACES) == traces > 0


def test_a_budget_that_is_none_gets_advice(make):
    planner, maps = make(), some_maps()
    for wrong in (0, -3, 2.5, [1, 2], [[1, 2, 3]], [1, 0, 2]):
        with pytest.raises(ValueError, match=r"num_steps is .*from 1 on.*\[3\], one for each map"):
            planner.solve(maps, num_steps=wrong)
    steps = jax.jit(lambda maps: planner.solve(maps, num_steps=[1, 2, 3]).solution.num_steps)(maps)
    np.testing.assert_array_equal(steps, [1, 2, 3])


def test_double_precision_is_double_throughout(make, x64):
    planner = made.__wrapped__(*make.args)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(planner))} == {"float64"}
    assert solve(planner, some_maps().astype("float64")).logits.dtype == "float64"


SILENT = {
    # The goal's layer or the map's own kernel starts at zero, so what feeds it is not moved yet.
    "MaxPlusVIN": ["scale_"],
    "SymMaxPlusVIN": ["scale_"],
    "SymMaxPlusVIN, 8 turning": ["scale_"],
    "VIN, observed kernel": ["kernel_mapper']['kernel", "kernel_mapper']['bias"],
    # Moves and gates are settled.
    "MaxPlusVIN, hard": ["cell']['kernel", "gate_", "scale_kernel", "scale_bias"],
}


# What only the start depends on; a fixed point does not depend on its start.
OF_THE_START = {"GPPN, injected": ["start_"], "SPT, not injected": ["embed"]}


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("adjoint", [jp.Unroll(), jp.Implicit()], ids=["unrolled", "implicit"])
def test_every_adjoint_reaches_every_parameter(name, adjoint):
    planner, maps = made(name), some_maps()
    silent = SILENT.get(name, [])
    if not isinstance(adjoint, jp.Unroll):
        silent = silent + OF_THE_START.get(name, [])
    graphdef, state = nnx.split(planner)
    solve = lambda state: nnx.merge(graphdef, state).solve(maps, adjoint=adjoint, num_steps=20)
    gradient = jax.jit(jax.grad(lambda state: jnp.sum(jnp.sin(solve(state).logits))))(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(gradient)):
        text = jax.tree_util.keystr(path)
        assert bool(np.all(np.isfinite(leaf))), text
        assert bool(np.any(leaf != 0)) != any(part in text for part in silent), text


def test_nan_in_one_map_is_reported_and_stays_there(make):
    planner, maps = make(), some_maps()
    broken = maps.copy()
    broken[1, 2, 2, 0] = np.nan
    out = solve(planner, broken)
    assert out.solution.status[1] == jp.Status.DIVERGED
    assert bool(np.isnan(out.logits[1]).any())
    clean = solve(planner, maps)
    np.testing.assert_allclose(out.logits[0], clean.logits[0], rtol=1e-4, atol=1e-5)


def test_nan_parameters_are_seen(make):
    graphdef, state = nnx.split(make())
    broken = nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state))
    logits = solve(broken, some_maps(size=15)).logits
    assert bool(np.isnan(logits).any(axis=(1, 2, 3)).all())


def test_forward_mode_and_low_precision(make):
    planner, maps = make(adjoint=jp.Unroll(), forward_mode=True), some_maps()
    graphdef, state = nnx.split(planner)
    value = lambda state: nnx.merge(graphdef, state).solve(maps, num_steps=5).logits.sum()
    direction = jax.tree.map(np.ones_like, state)
    gradient = jax.jit(jax.grad(value))(state)
    slope = sum(g.sum() for g in jax.tree.leaves(jax.device_get(gradient)))
    tangent = jax.jit(lambda state: jax.jvp(value, (state,), (direction,))[1])(state)
    np.testing.assert_allclose(tangent, slope, rtol=1e-3, atol=1e-2)
    assert bool(np.all(np.isfinite(solve(planner, maps.astype(jnp.bfloat16)).logits)))


def test_maps_smaller_than_the_kernel_get_advice(make):
    with pytest.raises(ValueError, match=r"at least 5,\s.*kernel_size"):
        make(kernel_size=5)(jnp.ones((2, 4, 7, 2)))
    assert solve(make(kernel_size=3), jnp.ones((2, 3, 3, 2))).logits.shape == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("name", "size"),
    [("actions", 0), ("channels", 0), ("hidden", 0), ("max_steps", 0), ("kernel_size", 2)],
)
def test_sizes_out_of_range_are_named(make, name, size):
    with pytest.raises(ValueError, match=f"{name} is {size}"):
        make(**{name: size})


def test_a_call_overrides_the_solver_and_the_budget(make):
    steps = lambda *a, **kw: int(solve(make(), some_maps(), *a, **kw).solution.num_steps.max())
    assert steps() > 6
    assert steps(solver=jp.Picard(max_steps=5)) == 5
    assert steps(jnp.asarray(3)) == 3
    assert steps(jnp.asarray(2), solver=jp.Picard(max_steps=5)) == 2


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
    assert solve(make(adjoint=refused), maps, adjoint=jp.Unroll()).logits.shape == (3, 7, 7, 4)


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
        assert bool(np.all(np.isfinite(leaf)))
        assert float(np.abs(leaf).max()) > 0
    for adjoint in (jp.Truncated(5), jp.OneStep(), jp.Implicit(), jp.Safeguarded(steps=5)):
        with pytest.raises(ValueError, match=r"expected Unroll.*inject=True"):
            make(adjoint=adjoint, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match=r"expected Unroll.*inject=True"):
            planner.solve(maps, adjoint=adjoint)


@pytest.mark.parametrize("name", ["MaxPlusVIN", "SymMaxPlusVIN", "SymMaxPlusVIN, 8 turning"])
def test_hardened_keeps_the_parameters(name):
    planner = PLANNERS[name](rngs=nnx.Rngs(3))
    hard = planner.hardened()
    assert hard.hard
    assert not planner.hard
    chex.assert_trees_all_equal(nnx.state(hard), nnx.state(planner))
    made_hard = PLANNERS[name](rngs=nnx.Rngs(3), hard=True)
    plan = lambda planner: solve(planner, some_maps()).logits
    chex.assert_trees_all_equal(plan(hard), plan(made_hard))
    assert np.abs(plan(hard) - plan(planner)).max() > 1e-3


def test_parts_can_be_swapped():
    class Uniform(nnx.Module):
        def __call__(self, inputs):
            ones = jnp.ones((4, *inputs.shape[:2]))
            return jp.nn.MoveCosts(surcharge=0 * ones, scale=ones)

    planner = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
    planner.mapper = Uniform()
    out = solve(planner, some_maps())
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
    value = solve(planner, maps).value
    exact = jp.mdp.value_iteration(jp.mdp.GridMDP.from_free(free, goal=(2, 1), moves=4)).value
    np.testing.assert_array_equal(value, exact)
