import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

import jplan as jp
from jplan.nn import ConvGRUCell, PathLSTMCell, solve_cell


def convolve(x, kernel):
    return np.stack(
        [
            sum(
                correlate(x[..., c], kernel[..., c, o], "same", "direct")
                for c in range(x.shape[-1])
            )
            for o in range(kernel.shape[-1])
        ],
        axis=-1,
    )


def parameters(cell):
    return {name: np.asarray(leaf[...]) for (name,), leaf in nnx.to_flat_state(nnx.state(cell))}


def make(**kw):
    """A cell whose biases are not zero."""
    cell = PathLSTMCell(2, 3, kernel_size=5, rngs=nnx.Rngs(0), **kw)
    cell.encoder_bias[...] = jnp.linspace(-1, 1, 3)
    cell.start_bias[...] = jnp.linspace(-2, 1, 6)
    cell.bias[...] = jnp.linspace(-1, 2, 12)
    return cell


@pytest.mark.parametrize("inject", [False, True])
@pytest.mark.parametrize("forward_mode", [False, True])
def test_a_step_equals_the_equations(x64, inject, forward_mode):
    cell = make(inject=inject, forward_mode=forward_mode)
    p = parameters(cell)
    rng = np.random.default_rng(0)
    x, h, c = (rng.normal(size=(6, 7, channels)) for channels in (2, 3, 3))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    encoding = convolve(x, p["encoder_kernel"]) + p["encoder_bias"]
    message = convolve(h, p["message_kernel"])
    gates = message * p["input_weights"] + h @ p["state_weights"] + p["bias"]
    if inject:
        gates = gates + convolve(encoding, p["inject_kernel"])
    i, f, g, o = np.split(gates, 4, axis=-1)
    new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    new_h = sigmoid(o) * np.tanh(new_c)

    step = nnx.jit(lambda cell, x, h, c: cell((h, c), cell.prepare(x)))
    got_h, got_c = step(cell, *map(jnp.asarray, (x, h, c)))
    assert got_h.dtype == jnp.float64
    np.testing.assert_allclose(got_h, new_h, rtol=1e-10)
    np.testing.assert_allclose(got_c, new_c, rtol=1e-10)


def test_the_start_is_two_linear_layers_on_the_map(x64):
    cell = make()
    p = parameters(cell)
    x = np.random.default_rng(1).normal(size=(6, 7, 2))
    encoding = convolve(x, p["encoder_kernel"]) + p["encoder_bias"]
    both = convolve(encoding, p["start_kernel"]) + p["start_bias"]
    h, c = cell.start(cell.prepare(jnp.asarray(x)))
    np.testing.assert_allclose(h, both[..., :3], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(c, both[..., 3:], rtol=1e-10, atol=1e-12)


def encoder_gradient(cell, adjoint):
    maps = jax.random.normal(jax.random.key(0), (2, 6, 7, 2))
    graphdef, state = nnx.split(cell)

    def loss(state):
        cell = nnx.merge(graphdef, state)
        inputs = jax.vmap(cell.prepare)(maps)
        z0 = jax.vmap(cell.start)(inputs)
        solver = jp.Picard(max_steps=5)
        solution = solve_cell(cell, inputs, z0, solver=solver, adjoint=adjoint)
        return jnp.sum(jnp.sin(solution.value[0]))

    return jax.jit(jax.grad(loss))(state)["encoder_kernel"][...]


def test_the_map_acts_through_the_start_unless_it_is_injected():
    assert float(np.abs(encoder_gradient(make(), jp.Unroll())).max()) > 0
    assert float(np.abs(encoder_gradient(make(), jp.Truncated(3))).max()) == 0
    assert float(np.abs(encoder_gradient(make(inject=True), jp.Truncated(3))).max()) > 0


@pytest.mark.parametrize("kernel_size", [0, 2, -1])
def test_an_even_kernel_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size is {kernel_size}, expected an odd"):
        PathLSTMCell(2, 3, kernel_size=kernel_size, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("cell", [PathLSTMCell, ConvGRUCell.create])
def test_a_size_of_zero_is_named(cell):
    with pytest.raises(ValueError, match="hidden is 0, expected a whole number"):
        cell(2, 0, kernel_size=3, rngs=nnx.Rngs(0))
    cell(np.int64(2), np.int64(4), kernel_size=np.int64(3), rngs=nnx.Rngs(0))
