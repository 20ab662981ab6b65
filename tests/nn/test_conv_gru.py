import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

from jplan.nn import ConvGRUCell


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


@pytest.mark.parametrize("forward_mode", [False, True])
def test_a_step_equals_the_equations(forward_mode):
    cell = ConvGRUCell.create(2, 3, kernel_size=3, forward_mode=forward_mode, rngs=nnx.Rngs(0))
    cell.bias[...] = jnp.linspace(-1, 1, 9)
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(5, 6, 2)), rng.normal(size=(5, 6, 3))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    seen = convolve(x, np.asarray(cell.input_kernel[...])) + np.asarray(cell.bias[...])
    gates = convolve(z, np.asarray(cell.gate_kernel[...]))
    update = sigmoid(seen[..., :3] + gates[..., :3])
    reset = sigmoid(seen[..., 3:6] + gates[..., 3:])
    candidate = np.tanh(seen[..., 6:] + convolve(reset * z, np.asarray(cell.candidate_kernel[...])))
    expected = (1 - update) * z + update * candidate
    step = nnx.jit(lambda cell, x, z: cell(z, cell.prepare(x)))
    got = step(cell, jnp.asarray(x, jnp.float32), jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 3, 2, 9), (9,), (3, 3, 3, 6), (3, 5, 3, 3)], "candidate_kernel have shapes"),
        ([(3, 3, 2, 9), (6,), (3, 3, 3, 6), (3, 3, 3, 3)], "bias"),
        ([(3, 3, 2), (9,), (3, 3, 3, 6), (3, 3, 3, 3)], "ConvGRUCell.create"),
        ([(2, 2, 2, 9), (9,), (2, 2, 3, 6), (2, 2, 3, 3)], "odd"),
    ],
)
def test_mistakes_get_advice(shapes, message):
    with pytest.raises(ValueError, match=message):
        ConvGRUCell(*map(jnp.zeros, shapes))


def test_the_state_starts_at_zero_and_stays_bounded():
    cell = ConvGRUCell.create(2, 3, kernel_size=3, rngs=nnx.Rngs(0))
    inputs = cell.prepare(100.0 * jax.random.normal(jax.random.key(0), (5, 6, 2)))
    z, step = cell.start(inputs), nnx.jit(lambda z: cell(z, inputs))
    assert float(np.abs(z).max()) == 0
    for _ in range(20):
        z = step(z)
    assert float(np.abs(z).max()) <= 1
