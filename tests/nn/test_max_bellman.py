import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

import jplan as jp
from jplan.nn import BellmanInputs, KernelMapper, MaxBellmanCell, RewardMapper, TransitionKernel


def make(num=5, size=3, x64=True, discount=0.99, **options):
    """A cell with random chances, a reward and a value."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(size, size, 2, num))
    chances = np.exp(kernel[:, :, 1])
    kernel[:, :, 1] = discount * chances / chances.sum((0, 1))
    dtype = jnp.float64 if x64 else jnp.float32
    fields = [jnp.asarray(rng.normal(size=(6, 7)), dtype) for _ in range(2)]
    return MaxBellmanCell(jnp.asarray(kernel, dtype), **options), *fields


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("forward_mode", [False, True])
def test_a_step_equals_the_equations(x64, size, own, forward_mode):
    cell, reward, value = make(size=size, forward_mode=forward_mode)
    kernel = cell.kernel[...]
    if own:
        cell, kernel = MaxBellmanCell(0 * kernel, forward_mode=forward_mode), 2 * kernel
    graphdef, state = nnx.split(cell)

    @jax.jit
    def step(state, reward, value, own):
        cell = nnx.merge(graphdef, state)
        inputs = cell.prepare(reward, own)
        return cell.action_values(value, inputs), cell(value, inputs), cell.start(inputs)

    action_values, after, start = step(state, reward, value, kernel if own else None)
    convolve = lambda field, part: np.stack(
        [correlate(field, part[..., c], "same") for c in range(part.shape[-1])], axis=-1
    )
    q = convolve(reward, kernel[:, :, 0]) + convolve(value, kernel[:, :, 1])
    np.testing.assert_allclose(action_values, q, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(after, q.max(-1), rtol=1e-10, atol=1e-12)
    assert float(np.abs(start).max()) == 0


def test_the_learnt_kernel_holds_distributions(x64):
    kernel = TransitionKernel(5, kernel_size=3, discount=0.9, sharpness=2.0, rngs=nnx.Rngs(0))
    weights = np.asarray(kernel.weights[...], np.float64)
    offset = np.random.default_rng(1).normal(size=weights.shape)
    for given, raw in ((None, weights), (jnp.asarray(offset), weights + offset)):
        got = kernel(given)
        chances = np.exp(2.0 * raw[:, :, 1])
        chances = 0.9 * chances / chances.sum((0, 1))
        np.testing.assert_allclose(got[:, :, 0], raw[:, :, 0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got[:, :, 1], chances, rtol=1e-4, atol=1e-7)


def iterated(cell, num_steps=3):
    """A scalar of some steps, as a function of parameters, reward and value."""
    graphdef, state = nnx.split(cell)

    def loss(state, reward, value, own=None):
        cell = nnx.merge(graphdef, state)
        inputs = cell.prepare(reward, own)
        for _ in range(num_steps):
            value = cell(value, inputs)
        return jnp.sum(jnp.sin(value)) + jnp.sum(jnp.cos(cell.action_values(value, inputs)))

    return loss, state


@pytest.mark.parametrize("padding", ["zero", "wrap"])
@pytest.mark.parametrize("own", [False, True])
def test_custom_gradient_equals_that_of_the_plain_form(x64, own, padding):
    gradients = []
    for forward_mode in (False, True):
        cell, reward, value = make(forward_mode=forward_mode, padding=padding)
        extra = jnp.linspace(-0.5, 0.5, 90).reshape(3, 3, 2, 5) if own else None
        loss, state = iterated(cell)
        wanted = (0, 1, 2, 3) if own else (0, 1, 2)
        gradient = jax.jit(jax.grad(loss, argnums=wanted))
        gradients.append(gradient(state, reward, value, extra))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), *gradients)


def test_gradient_equals_finite_differences(x64):
    cell, reward, value = make()
    loss, state = iterated(cell)
    loss = jax.jit(loss)
    direction = jnp.asarray(np.random.default_rng(2).normal(size=state["kernel"][...].shape))
    shifted = lambda h: jax.tree.map(lambda leaf: leaf + h * direction, state)
    slope = (loss(shifted(1e-6), reward, value) - loss(shifted(-1e-6), reward, value)) / 2e-6
    gradient = jax.grad(loss)(state, reward, value)["kernel"][...]
    np.testing.assert_allclose(jnp.vdot(gradient, direction), slope, rtol=1e-6)


def test_second_order(x64):
    products = []
    for forward_mode in (False, True):
        cell, reward, value = make(forward_mode=forward_mode)
        loss, state = iterated(cell)
        inner = lambda r, loss=loss, state=state, v=value: jnp.sum(jax.grad(loss, 1)(state, r, v))
        products.append(jax.jit(jax.grad(inner))(reward))
    np.testing.assert_allclose(*products, rtol=1e-8, atol=1e-10)


def test_vmap_equals_loop(x64):
    cell, reward, value = make()
    loss, state = iterated(cell)
    rewards, values = jnp.stack([reward, 2 * reward, -reward]), jnp.stack([value, value, value])
    total = lambda state: jnp.sum(jax.vmap(loss, (None, 0, 0))(state, rewards, values))
    got = jax.jit(jax.grad(total))(state)["kernel"][...]
    one_by_one = jax.jit(jax.grad(loss))
    expected = sum(
        one_by_one(state, r, v)["kernel"][...] for r, v in zip(rewards, values, strict=True)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_at_a_tie_the_first_maximiser_takes_the_gradient(x64):
    for forward_mode, expected in ((False, [1.0, 0.0]), (True, [0.5, 0.5])):
        cell, *_ = make(num=2, size=1, forward_mode=forward_mode)
        cell.kernel[...] = jnp.ones((1, 1, 2, 2), jnp.float64)
        graphdef, state = nnx.split(cell)

        def value(state, graphdef=graphdef):
            cell = nnx.merge(graphdef, state)
            return cell(jnp.zeros((1, 1)), cell.prepare(jnp.ones((1, 1)))).sum()

        np.testing.assert_allclose(jax.grad(value)(state)["kernel"][...][0, 0, 0], expected)


def test_a_contraction_and_monotone_whatever_was_learnt(x64, key):
    _, reward, value = make()
    learnt = TransitionKernel(5, kernel_size=3, discount=0.9, rngs=nnx.Rngs(0))
    learnt.weights[...] = 5.0 * learnt.weights[...]
    cell = MaxBellmanCell(learnt().astype(jnp.float64))
    graphdef, state = nnx.split(cell)
    step = jax.jit(lambda params, z: nnx.merge(graphdef, params[0])(z, params[1]))
    params = (state, cell.prepare(reward))
    jp.testing.assert_contraction(step, params, value, key, modulus=0.9)
    jp.testing.assert_monotone(step, params, value, jax.random.key(1))


def test_implicit_gradient_equals_the_unrolled_one(x64):
    cell, reward, _ = make(discount=0.8)
    graphdef, state = nnx.split(cell)

    def loss(state, reward, adjoint):
        cell = nnx.merge(graphdef, state)
        inputs = jax.tree.map(lambda leaf: leaf[None], cell.prepare(reward))
        z0 = jnp.zeros((1, *reward.shape))
        solver = jp.Picard(max_steps=300, tol=1e-13)
        solution = jp.nn.solve_cell(cell, inputs, z0, solver=solver, adjoint=adjoint)
        return jnp.sum(jnp.sin(solution.value))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    exact = gradient(state, reward, jp.Unroll())
    backward = jp.Picard(max_steps=300, tol=1e-13)
    implicit = gradient(state, reward, jp.Implicit(backward=backward))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), exact, implicit)


@pytest.mark.parametrize("where", ["kernel", "reward", "value"])
def test_nan_is_not_lost_in_the_maximum(where):
    cell, reward, value = make(num=64, x64=False)
    reward, value = reward.astype(jnp.float32), value.astype(jnp.float32)
    if where == "kernel":
        cell.kernel[...] = cell.kernel[...].at[1, 1, 0, 40].set(jnp.nan)
    elif where == "reward":
        reward = reward.at[2, 3].set(jnp.nan)
    inputs = cell.prepare(reward)
    start = cell.start(inputs) if where != "value" else value.at[2, 3].set(jnp.nan)
    assert bool(np.isnan(cell(start, inputs)).any())


@pytest.mark.parametrize("channel", [3, 299])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_more_than_256_channels(channel, dtype):
    kernel = jnp.zeros((1, 1, 2, 300), dtype).at[0, 0, 0, channel].set(1)

    def step(kernel):
        cell = MaxBellmanCell(kernel)
        inputs = cell.prepare(jnp.ones((2, 3), dtype))
        return cell(jnp.ones((2, 3), dtype), inputs).sum()

    gradient = np.asarray(jax.jit(jax.grad(step))(kernel), np.float32)
    expected = np.zeros((1, 1, 2, 300), np.float32)
    expected[0, 0, :, channel] = 6
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("dtypes", [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16)])
def test_gradients_keep_the_dtypes_of_what_they_belong_to(dtypes):
    kernel, reward = (
        jax.random.normal(jax.random.key(0), shape).astype(dtype)
        for shape, dtype in zip([(3, 3, 2, 5), (4, 5)], dtypes, strict=True)
    )

    def step(kernel, reward):
        cell = MaxBellmanCell(kernel)
        inputs = cell.prepare(reward)
        return cell(cell.start(inputs), inputs).sum()

    of_kernel, of_reward = jax.jit(jax.grad(step, argnums=(0, 1)))(kernel, reward)
    assert of_kernel.dtype == kernel.dtype
    assert of_reward.dtype == reward.dtype
    assert bool(jnp.any(of_kernel != 0))


def test_mappers():
    maps = jax.random.uniform(jax.random.key(0), (6, 7, 2))
    reward = RewardMapper(2, hidden=4, kernel_size=3, rngs=nnx.Rngs(0))
    hidden = np.stack(
        [
            sum(correlate(maps[..., c], reward.kernel[...][..., c, h], "same") for c in range(2))
            for h in range(4)
        ],
        axis=-1,
    )
    expected = np.maximum(hidden, 0) @ np.asarray(reward.out[...])
    np.testing.assert_allclose(reward(maps), expected[..., 0], rtol=1e-4, atol=1e-5)
    kernel = KernelMapper(2, (3, 3, 2, 5), hidden=4, kernel_size=3, rngs=nnx.Rngs(0))
    assert float(np.abs(kernel(maps)).max()) == 0
    kernel.out[...] = jnp.ones_like(kernel.out[...])
    assert float(np.abs(kernel(maps)).max()) > 0


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel_size is 2, expected an odd number"):
        TransitionKernel(5, kernel_size=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"kernel_size is 3\.0"):
        RewardMapper(2, hidden=4, kernel_size=3.0, rngs=nnx.Rngs(0))  # pyright: ignore
    with pytest.raises(ValueError, match=r"discount is 1.5, expected a number in \(0, 1\]"):
        TransitionKernel(5, kernel_size=3, discount=1.5, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="kernel_size is 4"):
        KernelMapper(2, (3, 3, 2, 5), hidden=4, kernel_size=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="kernel_size is 2"):
        MaxBellmanCell(jnp.ones((2, 2, 2, 5)))
    for shape in ((3, 3, 5), (3, 5, 2, 5)):
        with pytest.raises(ValueError, match=r"expected \[K, K, 2, Q\]"):
            MaxBellmanCell(jnp.ones(shape))


def test_inputs_of_another_shape_are_refused():
    cell = MaxBellmanCell(jnp.ones((3, 3, 2, 5)))
    with pytest.raises(ValueError, match=r"reward has shape \[5, 6, 1\], expected \[H, W\]"):
        cell.prepare(jnp.ones((5, 6, 1)))
    with pytest.raises(ValueError, match=r"kernel of a map has shape \[5, 5, 2, 5\]"):
        cell.prepare(jnp.ones((5, 6)), jnp.ones((5, 5, 2, 5)))


def test_inputs_are_a_pytree():
    cell, reward, _ = make(x64=False)
    inputs = cell.prepare(reward.astype(jnp.float32))
    assert isinstance(inputs, BellmanInputs)
    assert len(jax.tree.leaves(inputs)) == 2
