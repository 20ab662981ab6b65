import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

import jplan.nn._convolution as convolution
from jplan.nn import loop_convolution

WIDTHS = [(2, 3), (4, 1), (17, 3), (3, 17), (17, 18)]  # each form that a CPU takes


def problem(size=3, channels=2, outputs=3):
    rng = np.random.default_rng(0)
    shapes = (5, 6, channels), (size, size, channels, outputs)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in shapes)


@pytest.mark.parametrize("padding", ["zero", "wrap"])
@pytest.mark.parametrize("forward_mode", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_equals_scipy(size, forward_mode, padding, x64):
    x, kernel = problem(size)
    beyond = "wrap" if padding == "wrap" else "constant"
    expected = np.stack(
        [
            sum(correlate(x[..., c], kernel[..., c, o], mode=beyond) for c in range(2))
            for o in range(3)
        ],
        axis=-1,
    )
    convolve = functools.partial(loop_convolution, padding=padding, forward_mode=forward_mode)
    np.testing.assert_allclose(jax.jit(convolve)(x, kernel), expected, rtol=1e-12)


@pytest.mark.parametrize("padding", ["zero", "wrap"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_values_and_gradients_equal_those_of_the_plain_form(widths, padding, x64):
    x, kernel = problem(3, *widths)
    loss = lambda x, kernel, forward_mode: jnp.sum(
        jnp.sin(loop_convolution(x, kernel, padding=padding, forward_mode=forward_mode))
    )
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    custom, plain = (run(x, kernel, mode) for mode in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), custom, plain)


def test_second_order_and_forward_mode(x64):
    x, kernel = problem()
    loss = lambda kernel, forward_mode: jnp.sum(
        jnp.sin(loop_convolution(x, kernel, forward_mode=forward_mode))
    )
    direction = jnp.ones_like(kernel)
    slope = lambda k, mode: jnp.vdot(jax.grad(loss)(k, mode), direction)
    product = lambda mode: jax.jit(jax.value_and_grad(lambda k: slope(k, mode)))(kernel)
    (_, custom), (along, plain) = product(False), product(True)
    np.testing.assert_allclose(custom, plain, rtol=1e-10)
    push = jax.jit(lambda k: jax.jvp(lambda k: loss(k, True), (k,), (direction,))[1])
    np.testing.assert_allclose(push(kernel), along)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda k: loss(k, False), (kernel,), (direction,))


def test_vmap_equals_loop(x64):
    x, kernel = problem()
    batch = jnp.stack([x, 2 * x, x**2])
    loss = lambda kernel, x: jnp.sum(jnp.sin(loop_convolution(x, kernel)))
    got = jax.jit(jax.grad(lambda k: jnp.sum(jax.vmap(loss, (None, 0))(k, batch))))(kernel)
    one_by_one = jax.jit(jax.grad(loss))
    expected = sum(np.asarray(one_by_one(kernel, one)) for one in np.asarray(batch))
    np.testing.assert_allclose(got, expected, rtol=1e-11)


@pytest.mark.parametrize("padding", ["zero", "wrap"])
def test_a_second_eager_call_traces_nothing(padding, monkeypatch):
    traces, form = [], convolution._by_columns
    monkeypatch.setattr(convolution, "_by_columns", lambda *a: traces.append(None) or form(*a))
    x, kernel = problem(3, 18, 19)
    run = jax.grad(lambda k: jnp.sum(loop_convolution(x, k, padding=padding)))
    run(kernel)
    count = len(traces)
    assert count > 0
    run(2 * kernel)
    assert len(traces) == count


def test_a_gpu_takes_one_kernel_gradient_for_all_maps():
    x, kernel = jnp.ones((6, 5, 6, 17)), jnp.ones((3, 3, 17, 18))
    loss = lambda kernel: jnp.sum(jax.vmap(loop_convolution, (0, None))(x, kernel) ** 2)
    lowered = jax.jit(jax.grad(loss)).trace(kernel).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("stablehlo.convolution(") == 2
    assert text.count("feature_group_count = 1 ") == 2  # a group a map is many times slower


@pytest.mark.parametrize(
    ("x", "kernel", "message"),
    [
        ((5, 5, 2), (2, 2, 2, 3), "odd K"),
        ((5, 5, 2), (3, 5, 2, 3), "odd K"),
        ((5, 5, 4), (3, 3, 2, 3), r"expected \[H, W, 2\]"),
        ((8, 5, 5, 2), (3, 3, 2, 3), "use vmap"),
    ],
)
def test_mistakes_get_advice(x, kernel, message):
    with pytest.raises(ValueError, match=message):
        loop_convolution(jnp.zeros(x), jnp.zeros(kernel))


def test_an_unknown_padding_gets_advice():
    with pytest.raises(ValueError, match=r"padding is 'same', expected 'zero' .* or 'wrap'"):
        loop_convolution(*problem(), padding="same")
