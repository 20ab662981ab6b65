import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import correlate

from jplan.nn import RegularBellmanCell, RegularRewardMapper, RegularTransitionKernel, SteerableGRU

G, Q = 4, 12


def problem():
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 2, G, Q)) / 20)
    fields = (jnp.asarray(rng.normal(size=(6, 7, G))) for _ in range(2))
    return kernel, *fields


@pytest.mark.parametrize("padding", ["zero", "wrap"])
@pytest.mark.parametrize("forward_mode", [False, True])
def test_a_step_equals_the_equations(padding, forward_mode, x64):
    kernel, reward, value = problem()
    cell = RegularBellmanCell(kernel, padding=padding, forward_mode=forward_mode)
    beyond = {"zero": "constant", "wrap": "wrap"}[padding]
    q = np.zeros((6, 7, Q))
    for part, field in enumerate((reward, value)):
        for g in range(G):
            for c in range(Q):
                q[..., c] += correlate(field[..., g], kernel[:, :, part, g, c], mode=beyond)
    q = q.reshape(6, 7, G, Q // G)

    @nnx.jit
    def step(cell, reward, value):
        inputs = cell.prepare(reward)
        return cell.action_values(value, inputs), cell(value, inputs), cell.start(inputs)

    action_values, after, start = step(cell, reward, value)
    np.testing.assert_allclose(action_values, q, rtol=1e-11)
    np.testing.assert_allclose(after, q.max(-1), rtol=1e-11)
    assert float(np.abs(start).max()) == 0


def test_gradients_equal_those_of_the_plain_form(x64):
    def loss(kernel, reward, value, forward_mode):
        cell = RegularBellmanCell(kernel, forward_mode=forward_mode)
        inputs = cell.prepare(reward)
        for _ in range(4):
            value = cell(value, inputs)
        return jnp.sum(jnp.sin(value))

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)), static_argnums=3)
    custom, plain = (gradient(*problem(), mode) for mode in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), custom, plain)
    slope = lambda r, mode: jnp.sum(jax.grad(loss, 1)(k, r, v, mode))
    product = lambda mode: jax.jit(jax.grad(lambda r: slope(r, mode)))(reward)
    k, reward, v = problem()
    np.testing.assert_allclose(product(False), product(True), rtol=1e-9, atol=1e-12)


def test_a_step_is_a_monotone_contraction(x64):
    kernel = RegularTransitionKernel("D4", 40, kernel_size=3, discount=0.9, rngs=nnx.Rngs(0))
    kernel.logits.weights[...] *= 100  # whatever has been learnt
    chances = kernel()[:, :, 1]
    np.testing.assert_allclose(chances.sum((0, 1, 2)), 0.9, rtol=1e-6)
    cell = RegularBellmanCell(kernel(), padding="wrap")
    reward, value, other = jax.random.normal(jax.random.key(0), (3, 6, 7, 8))
    inputs = cell.prepare(reward)
    gap = jnp.abs(cell(value, inputs) - cell(other, inputs)).max()
    assert float(gap) <= 0.9 * float(np.abs(value - other).max()) + 1e-6
    assert (cell(value + 1.0, inputs) > cell(value, inputs)).all()


def test_nan_anywhere_is_not_lost():
    kernel = RegularTransitionKernel("D4", 160, kernel_size=3, rngs=nnx.Rngs(0))()
    reward, value = jax.random.normal(jax.random.key(0), (2, 6, 7, 8))
    cell = RegularBellmanCell(kernel)
    inputs = cell.prepare(reward.at[2, 3, 1].set(jnp.nan))
    assert np.isnan(cell.start(inputs)).any()
    assert np.isnan(cell(value.at[2, 3, 1].set(jnp.nan), cell.prepare(reward))[2, 3]).any()
    for part in (0, 1):
        cell = RegularBellmanCell(kernel.at[1, 1, part, 2, 7].set(jnp.nan))
        assert np.isnan(cell.start(cell.prepare(reward))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RegularBellmanCell(jnp.ones((3, 3, 2, 8, 20))), "Q a multiple of G"),
        (lambda: RegularBellmanCell(jnp.ones((2, 2, 2, 4, 8))), "odd"),
        (lambda: RegularBellmanCell(jnp.ones((3, 5, 2, 4, 8))), r"expected \[K, K, 2, G, Q\]"),
        (
            lambda: RegularTransitionKernel("D4", 20, kernel_size=3, rngs=nnx.Rngs(0)),
            "q_channels is 20, expected a multiple of 8, the order of D4, such as 24",
        ),
        (
            lambda: RegularTransitionKernel("D4", 8, kernel_size=3, discount=0.0, rngs=nnx.Rngs(0)),
            "discount is 0.0",
        ),
        (
            lambda: RegularRewardMapper("C4", 2, hidden=6, kernel_size=3, rngs=nnx.Rngs(0)),
            "hidden is 6, expected a multiple of 4",
        ),
        (
            lambda: SteerableGRU("D4", 2, 12, kernel_size=3, rngs=nnx.Rngs(0)),
            "hidden is 12, expected a multiple of 8",
        ),
    ],
)
def test_mistakes_get_advice(call, message):
    with pytest.raises(ValueError, match=message):
        call()
