import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

import jplan as jp
from jplan import planners

SIZE = (7, 6)
PLANNERS = {
    "CNN": lambda **kw: planners.CNN(4, 2, rngs=nnx.Rngs(0), **{"size": SIZE, **kw}),
    "FCN": lambda **kw: planners.FCN(
        4, 2, rngs=nnx.Rngs(0), **{"size": SIZE, "hidden": (8, 6, 5), **kw}
    ),
}
POSITIONS = jnp.asarray([[0, 0], [6, 5], [2, 4], [6, 0]])


@pytest.fixture(params=PLANNERS)
def make(request):
    return PLANNERS[request.param]


def some_maps(count=4):
    return jax.random.normal(jax.random.key(0), (count, *SIZE, 2))


@functools.partial(jax.jit, static_argnames=("graphdef", "method"))
def run(state, *arguments, graphdef, method):
    return getattr(nnx.merge(graphdef, state), method)(*arguments)


def compiled(planner):
    """`solve` and `policy`, jitted for all tests."""
    graphdef, state = nnx.split(planner)
    method = functools.partial(functools.partial, run, state, graphdef=graphdef)
    return method(method="solve"), method(method="policy")


def test_policy_is_solve_at_that_cell(make):
    (solve, policy), maps = compiled(make()), some_maps()
    out = solve(maps)
    assert out.logits.shape == (4, 7, 6, 4)
    assert out.solution is None
    np.testing.assert_array_equal(out.value, out.logits.max(-1))
    at_cell = out.logits[jnp.arange(4), POSITIONS[:, 0], POSITIONS[:, 1]]
    np.testing.assert_allclose(policy(maps, POSITIONS), at_cell, rtol=1e-4, atol=1e-5)
    assert float(jnp.std(out.logits, axis=(1, 2)).min()) > 1e-3


def test_leading_axes_are_batch_axes(make):
    (solve, policy), maps = compiled(make()), some_maps()
    plan = lambda maps: solve(maps).logits
    flat, at_cell = plan(maps), policy(maps, POSITIONS)
    nested = maps.reshape(2, 2, *SIZE, 2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(plan(nested).reshape(flat.shape), flat)
    close(policy(nested, POSITIONS.reshape(2, 2, 2)).reshape(4, 4), at_cell)
    close(plan(maps[2]), flat[2])
    close(policy(maps[2], POSITIONS[2]), at_cell[2])
    assert plan(maps[:0]).shape == (0, 7, 6, 4)
    assert policy(maps[:0], POSITIONS[:0]).shape == (0, 4)


def test_a_position_outside_counts_as_the_nearest_cell(make):
    (_, policy), maps = compiled(make()), some_maps()
    outside = jnp.asarray([[-1, 9], [7, -3], [2, 6], [-5, 2]])
    inside = jnp.asarray([[0, 5], [6, 0], [2, 5], [0, 2]])
    np.testing.assert_array_equal(policy(maps, outside), policy(maps, inside))


@pytest.mark.parametrize("call", ["policy", "solve"])
def test_gradients_reach_every_parameter(make, call):
    planner, maps = make(), some_maps(2)
    graphdef, state = nnx.split(planner)

    def loss(state):
        planner = nnx.merge(graphdef, state)
        out = planner(maps) if call == "solve" else planner.policy(maps, POSITIONS[:2])
        return jnp.sum(jnp.sin(out))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(state)):
        assert bool(np.all(np.isfinite(leaf)))
        assert float(np.abs(leaf).max()) > 0


def test_the_fcn_equals_its_equations(x64):
    planner = planners.FCN(3, 2, size=SIZE, hidden=(5, 4), rngs=nnx.Rngs(0))
    planner.bias[...] = jnp.linspace(-1, 1, 5)
    kernel, maps = np.asarray(planner.kernel[...]), some_maps(1)[0].astype(float)
    assert kernel.shape == (13, 11, 2, 5)
    padded = np.pad(np.asarray(maps), ((6, 6), (5, 5), (0, 0)))
    seen = np.stack(
        [
            sum(correlate(padded[..., c], kernel[..., c, o], "valid", "direct") for c in range(2))
            for o in range(5)
        ],
        axis=-1,
    )
    hidden = np.maximum(seen + np.linspace(-1, 1, 5), 0)
    (layer,) = planner.layers
    hidden = np.maximum(hidden @ np.asarray(layer.kernel[...]), 0)
    expected = hidden @ np.asarray(planner.readout.kernel[...])
    np.testing.assert_allclose(planner(maps), expected, rtol=1e-10, atol=1e-12)
    at_cell = planner.policy(maps, jnp.asarray([3, 1]))
    np.testing.assert_allclose(at_cell, expected[3, 1], rtol=1e-10, atol=1e-12)


def test_the_cnn_equals_its_equations(x64):
    planner = planners.CNN(3, 2, size=(9, 13), rngs=nnx.Rngs(0))
    maps = jax.random.normal(jax.random.key(0), (9, 13, 2), float)
    seen = np.concatenate([np.asarray(maps), np.zeros((9, 13, 1))], axis=-1)
    seen[7, 2, 2] = 1
    for layer, convolution in enumerate(planner.convolutions):
        bias = jnp.linspace(-0.1, 0.1, convolution.out_features, dtype=jnp.float32)
        convolution.bias[...] = bias
        height, width, _ = seen.shape
        padded = np.pad(seen, ((1, 1), (1, 1), (0, 0)))
        seen = sum(
            padded[dy : dy + height, dx : dx + width] @ np.asarray(convolution.kernel[dy, dx])
            for dy in range(3)
            for dx in range(3)
        )
        seen = np.maximum(seen + np.asarray(bias), 0)
        if layer in (0, 2):
            seen = seen[: height // 2 * 2, : width // 2 * 2]
            seen = seen.reshape(height // 2, 2, width // 2, 2, -1).max((1, 3))
    expected = seen.reshape(-1) @ np.asarray(planner.readout.kernel[...])
    np.testing.assert_allclose(planner.policy(maps, jnp.asarray([7, 2])), expected, rtol=1e-10)


def test_the_cnn_has_the_layers_of_the_paper():
    planner = planners.CNN(8, 2, size=(9, 13), rngs=nnx.Rngs(0))
    shapes = [layer.kernel.shape for layer in planner.convolutions]
    widths = [3, 50, 50, 100, 100, 100]
    assert shapes == [(3, 3, *pair) for pair in itertools.pairwise(widths)]
    assert planner.readout.kernel.shape == (2 * 3 * 100, 8)


def test_the_fcn_has_the_layers_of_the_paper():
    planner = planners.FCN(8, 2, size=4, rngs=nnx.Rngs(0))
    assert planner.kernel.shape == (7, 7, 2, 150)
    assert [layer.kernel.shape for layer in planner.layers] == [(150, 150), (150, 10)]
    assert planner.readout.kernel.shape == (10, 8)


@pytest.mark.parametrize(
    "option", [{"solver": jp.Picard()}, {"adjoint": jp.Unroll()}, {"num_steps": 0}]
)
def test_there_is_nothing_to_solve(make, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is .*expected None"):
        make().solve(some_maps(), **option)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 7, 7, 2), jnp.float32, r"shape \[2, 7, 7, 2\], expected \[..., 7, 6, 2\].*\(7, 7\)"),
        ((2, 7, 6, 3), jnp.float32, r"expected \[..., H, W, 2\]"),
        ((2, 7, 6, 2), jnp.int32, "floating point"),
    ],
)
def test_other_maps_are_refused(make, shape, dtype, message):
    planner, maps = make(), jnp.zeros(shape, dtype)
    with pytest.raises(ValueError, match=message):
        planner.solve(maps)
    with pytest.raises(ValueError, match=message):
        planner.policy(maps, POSITIONS[:2])


@pytest.mark.parametrize(
    "position", [POSITIONS[0], POSITIONS[:2].astype(float), jnp.zeros((4, 3), int)]
)
def test_other_positions_are_refused(make, position):
    with pytest.raises(ValueError, match=r"expected \[4, 2\] and integer"):
        make().policy(some_maps(), position)


@pytest.mark.parametrize("size", [0, (7, 0), (7, 6, 2), 7.5, (7.0, 6)])
def test_other_sizes_are_refused(make, size):
    with pytest.raises(ValueError, match="size is"):
        make(size=size)


def test_the_cnn_needs_cells_that_survive_the_pooling():
    with pytest.raises(ValueError, match="from 4 on"):
        planners.CNN(4, 2, size=(3, 9), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("hidden", "message"),
    [((), r"hidden is \(\)"), (8, "hidden is 8"), ((8, 0), r"hidden\[1\] is 0")],
)
def test_the_fcn_needs_the_width_of_each_layer(hidden, message):
    with pytest.raises(ValueError, match=message):
        planners.FCN(4, 2, size=SIZE, hidden=hidden, rngs=nnx.Rngs(0))


def test_configuration_rebuilds_the_planner(make):
    planner = make()
    again = type(planner)(**planner.configuration(), rngs=nnx.Rngs(1))
    assert nnx.split(again)[0] == nnx.split(planner)[0]
