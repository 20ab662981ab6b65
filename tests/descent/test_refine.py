"""The descent engine: its steps by hand, its gradients by finite differences, its mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jplan as jp
from jplan.descent import GradientStep, refine, refine_candidates


def bowl(params, x):
    """A quadratic with a curvature of its own along each axis."""
    return jnp.sum(params["curvature"] * (x - params["centre"]) ** 2) / 2


PARAMS = {"curvature": jnp.array([1.0, 4.0]), "centre": jnp.array([1.0, -2.0])}


def test_steps_by_hand():
    done = refine(bowl, PARAMS, jnp.zeros(2), optimizer=optax.sgd(0.1), num_steps=3)
    x, iterates = np.zeros(2), [np.zeros(2)]
    for _ in range(3):
        x = x - 0.1 * np.array([1.0, 4.0]) * (x - np.array([1.0, -2.0]))
        iterates.append(x)
    np.testing.assert_allclose(done.iterates, iterates, rtol=1e-6)
    np.testing.assert_allclose(done.value, iterates[-1], rtol=1e-6)
    np.testing.assert_allclose(done.objectives, [bowl(PARAMS, i) for i in iterates], rtol=1e-6)
    assert done.objective == done.objectives[-1]
    assert done.gradient_norms[0] == pytest.approx(np.hypot(1, 8), rel=1e-6)


def test_no_step_is_the_start():
    done = refine(bowl, PARAMS, jnp.zeros(2), optimizer=optax.adam(0.1), num_steps=0)
    np.testing.assert_array_equal(done.value, 0)
    assert done.objectives.shape == (1,)
    assert done.gradient_norms.shape == (0,)


def test_any_optimiser_and_any_pytree():
    target = {"a": jnp.ones((2, 3)), "b": (jnp.float32(-1.0),)}
    far = lambda target, x: optax.tree.norm(optax.tree.sub(x, target), squared=True)
    start = jax.tree.map(jnp.zeros_like, target)
    for optimizer in (optax.adam(0.1), optax.rmsprop(0.05), optax.sgd(0.1, momentum=0.5)):
        done = refine(far, target, start, optimizer=optimizer, num_steps=200)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.06), done.value, target)


def test_the_projection_follows_every_step():
    inside = lambda limit, x: jnp.clip(x, -limit, limit)
    params = {**PARAMS, "limit": 0.5}
    done = refine(
        bowl,
        params,
        jnp.zeros(2),
        optimizer=optax.sgd(0.2),
        num_steps=30,
        project=lambda params, x: inside(params["limit"], x),
    )
    assert (np.abs(done.iterates) <= 0.5).all()
    np.testing.assert_allclose(done.value, [0.5, -0.5])


def test_a_step_that_is_not_accepted_is_taken_back():
    done = refine(
        bowl, PARAMS, jnp.zeros(2), optimizer=optax.sgd(0.6), num_steps=20, accept=jnp.greater
    )
    assert (jnp.diff(done.objectives) <= 0).all()
    free = refine(bowl, PARAMS, jnp.zeros(2), optimizer=optax.sgd(0.6), num_steps=20)
    assert free.objective > 100  # 0.6 is beyond 2 / 4


@pytest.mark.parametrize("make", [optax.sgd, lambda rate: optax.adam(rate, eps_root=1e-8)])
def test_full_gradients_equal_finite_differences(make, x64):
    start = jnp.array([0.3, 0.4])

    def loss(numbers):
        curvature, centre, rate, first = numbers[:2], numbers[2:4], numbers[4], numbers[5]
        params = {"curvature": curvature, "centre": centre}
        done = refine(
            lambda p, x: bowl(p, x) + jnp.sum(jnp.sin(x)),
            params,
            start * first,
            optimizer=make(rate),
            num_steps=4,
            gradient="full",
        )
        return jnp.sum(done.iterates * jnp.arange(1.0, 11.0).reshape(5, 2)) + done.objective

    numbers = jnp.array([1.0, 1.5, 0.7, -0.4, 0.1, 1.0])
    gradient, loss = jax.jit(jax.grad(loss))(numbers), jax.jit(loss)
    for index, step in enumerate(1e-6 * jnp.eye(6)):
        slope = (loss(numbers + step) - loss(numbers - step)) / 2e-6
        np.testing.assert_allclose(gradient[index], slope, rtol=1e-5, err_msg=str(index))


def test_adam_needs_eps_root_where_a_gradient_is_zero():
    def centre_gradient(optimizer):
        last = lambda c: refine(
            lambda c, x: (x[0] - c) ** 2 + c * x[1] ** 2,
            *(c, jnp.zeros(2)),
            optimizer=optimizer,
            num_steps=2,
            gradient="full",
        ).value.sum()
        return jax.grad(last)(1.0)

    assert np.isnan(centre_gradient(optax.adam(0.1)))
    assert np.isfinite(centre_gradient(optax.adam(0.1, eps_root=1e-8)))


def test_a_gradient_per_step_sees_one_step(x64):
    last = lambda centre, gradient: (
        refine(
            *(bowl, {**PARAMS, "centre": centre}, jnp.zeros(2)),
            optimizer=optax.sgd(0.1),
            num_steps=3,
            gradient=gradient,
        ).iterates
    )
    centre = jnp.array([1.0, -2.0])
    jacobian = jax.jacobian(last)(centre, "per_step")
    one_step = 0.1 * np.diag([1.0, 4.0])
    np.testing.assert_allclose(jacobian, [np.zeros((2, 2)), one_step, one_step, one_step])
    full = jax.jacobian(last)(centre, "full")[-1]
    np.testing.assert_allclose(np.diag(full), 1 - (1 - 0.1 * np.array([1.0, 4.0])) ** 3)


def test_without_gradient_nothing_comes_back():
    def loss(rate, params, x0):
        done = refine(bowl, params, x0, optimizer=optax.sgd(rate), num_steps=3)
        return done.objective + done.iterates.sum()

    gradients = jax.grad(loss, argnums=(0, 1, 2))(0.1, PARAMS, jnp.zeros(2))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def test_a_gradient_step_is_a_fixed_point_map(x64):
    tilted = lambda p, x: bowl(p, x) + 0.1 * jnp.sum(jnp.sin(x))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
    step = GradientStep(tilted, 0.2)

    def by_descent(params):
        done = refine(tilted, params, jnp.zeros(2), optimizer=optax.sgd(0.2), num_steps=300)
        return jp.implicit_at(step, params, done.value, backward=jp.Picard(max_steps=300))

    def by_engine_one(params):
        return jp.fixed_point(
            step, params, jnp.zeros(2), solver=jp.Picard(tol=1e-12, max_steps=500)
        ).value

    unrolled = lambda params: (
        refine(
            *(tilted, params, jnp.zeros(2)),
            optimizer=optax.sgd(0.2),
            num_steps=300,
            gradient="full",
        ).value
    )
    wanted = jax.jacobian(unrolled)(params)
    for solve in (by_descent, by_engine_one):
        np.testing.assert_allclose(solve(params), unrolled(params), atol=1e-9)
        got = jax.jacrev(solve)(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), got, wanted)


@pytest.mark.parametrize("batch_size", [None, 2, 3, 5])
def test_candidates_are_refined_as_each_alone(batch_size):
    starts = jax.random.normal(jax.random.key(0), (5, 2))
    options = {"optimizer": optax.adam(0.1), "num_steps": 4}
    many = refine_candidates(bowl, PARAMS, starts, batch_size=batch_size, **options)
    for index, start in enumerate(starts):
        one = refine(bowl, PARAMS, start, **options)
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6),
            many,
            one,
        )


def test_one_trace_for_all_parameters():
    traces = []

    def counted(params, x):
        traces.append(1)
        return bowl(params, x)

    run = jax.jit(
        lambda params: refine(counted, params, jnp.zeros(2), optimizer=optax.sgd(0.1), num_steps=9)
    )
    run(PARAMS)
    before = len(traces)
    run(jax.tree.map(lambda leaf: 2 * leaf, PARAMS))
    assert len(traces) == before <= 5


def test_mistakes_get_advice():
    start = jnp.zeros(2)
    run = lambda objective=bowl, x0=start, **options: refine(
        objective, PARAMS, x0, **{"optimizer": optax.sgd(0.1), "num_steps": 2} | options
    )
    with pytest.raises(ValueError, match=r"returns \[2\], expected a scalar"):
        run(lambda params, x: x)
    with pytest.raises(ValueError, match="dtype int32, expected floats"):
        run(x0=jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="num_steps is -1"):
        run(num_steps=-1)
    with pytest.raises(ValueError, match="gradient is 'all'"):
        run(gradient="all")
    with pytest.raises(ValueError, match="project returns another structure"):
        run(project=lambda params, x: x[:1])
    with pytest.raises(ValueError, match="other dtypes than x0"):
        run(project=lambda params, x: x.astype(jnp.bfloat16))
    options = {"optimizer": optax.sgd(0.1), "num_steps": 1}
    with pytest.raises(ValueError, match="expected one number of candidates"):
        refine_candidates(bowl, PARAMS, jnp.zeros((0, 2)), **options)
    with pytest.raises(ValueError, match="expected one number of candidates"):
        refine_candidates(bowl, PARAMS, jnp.zeros(()), **options)
    with pytest.raises(ValueError, match="batch_size is 0"):
        refine_candidates(bowl, PARAMS, jnp.zeros((3, 2)), batch_size=0, **options)
