"""Every solver x every adjoint: a new one is tested by adding a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp

SOLVERS = {
    "picard": lambda **kw: jp.Picard(**kw),
    "damped": lambda **kw: jp.Picard(damping=0.8, **kw),
    "anderson": lambda **kw: jp.Anderson(**kw),
    "broyden": lambda **kw: jp.Broyden(**kw),
}
LONG = {"tol": 1e-13, "max_steps": 300}
BACKWARD = {
    "neumann": jp.Picard(**LONG),
    "anderson": jp.Anderson(**LONG),
    "broyden": jp.Broyden(**LONG),
    "gmres": jp.GMRES(tol=1e-13, max_steps=200),
}
ADJOINTS = {
    "unroll": jp.Unroll(),
    "unroll_checkpoint": jp.Unroll(checkpoint=True),
    "truncated": jp.Truncated(100),
    "safeguarded": jp.Safeguarded(steps=5, backward=jp.Anderson(**LONG)),
    "safeguarded_gmres": jp.Safeguarded(steps=5, backward=jp.GMRES(tol=1e-13)),
    **{f"implicit_{name}": jp.Implicit(backward=solver) for name, solver in BACKWARD.items()},
    **{
        f"implicit_forward_{name}": jp.Implicit(backward=solver, mode="forward")
        for name, solver in BACKWARD.items()
    },
}


def tanh_map(params, z):
    """A contractive map on a pytree, with an integer and a boolean leaf in params."""
    weight, bias, extra = params
    x = jnp.concatenate([z["a"], z["b"].ravel()])
    y = jnp.tanh(weight @ x + bias) * jnp.where(extra["flip"], extra["sign"], 1)
    return {"a": y[:2], "b": y[2:].reshape(2, 2)}


def noisy_map(params, z):
    """The same noise in every step, from a key in params."""
    weight, bias, extra = params
    noise = 0.01 * jax.random.normal(extra["key"], (6,), weight.dtype)
    return tanh_map((weight, bias + noise, extra), z)


def make_problem(seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(6, 6))
    weight *= 0.7 / np.linalg.norm(weight, 2)
    extra = {"sign": jnp.asarray(-1), "flip": jnp.asarray(True)}
    params = (jnp.asarray(weight), jnp.asarray(rng.normal(size=6)), extra)
    z0 = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}
    return params, z0


def loss_fn(z):
    return jnp.sum(jnp.sin(3 * z["a"])) + jnp.sum(z["b"] ** 2)


def finite_difference(fun, x, eps=1e-6):
    flat = np.asarray(x).ravel()
    out = np.zeros_like(flat)
    for i in range(flat.size):
        step = np.zeros_like(flat)
        step[i] = eps
        up, down = (fun(jnp.asarray((flat + s * step).reshape(x.shape))) for s in (1, -1))
        out[i] = (up - down) / (2 * eps)
    return out.reshape(x.shape)


@functools.cache
def derivatives():
    """Gradient and Hessian by finite differences, for all that is checked against them."""
    params, _ = make_problem()
    weight, bias, extra = params
    solve = jax.jit(
        lambda bias: jax.lax.fori_loop(
            0, 400, lambda _, z: tanh_map((weight, bias, extra), z), make_problem()[1]
        )
    )
    gradient = finite_difference(jax.jit(lambda bias: loss_fn(solve(bias))), bias)
    slope = jax.jit(jax.grad(lambda bias: loss_fn(solve(bias))))
    rows = [finite_difference(lambda b, i=i: slope(b)[i], bias) for i in range(6)]
    return gradient, np.stack(rows)


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradient_equals_finite_difference(solver, adjoint, x64):
    (weight, bias, extra), z0 = make_problem()
    solver = SOLVERS[solver](tol=1e-13, max_steps=200)

    def value(bias):
        params = (weight, bias, extra)
        solution = jp.fixed_point(tanh_map, params, z0, solver=solver, adjoint=ADJOINTS[adjoint])
        return loss_fn(solution.value), solution.status

    gradient, status = jax.jit(jax.grad(value, has_aux=True))(bias)
    assert status == jp.Status.CONVERGED
    np.testing.assert_allclose(gradient, derivatives()[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "adjoint", ["unroll", "truncated", "safeguarded", "implicit_gmres", "implicit_forward_gmres"]
)
def test_a_key_in_params_passes(adjoint, x64, key):
    (weight, bias, extra), z0 = make_problem()
    value = lambda bias: loss_fn(
        jp.fixed_point(
            noisy_map,
            (weight, bias, extra | {"key": key}),
            z0,
            solver=jp.Picard(max_steps=100),
            adjoint=ADJOINTS[adjoint],
        ).value
    )
    with jax.debug_key_reuse(False):  # one key for all steps is what is meant here
        run = jax.jit(jax.value_and_grad(value))
        expected = finite_difference(lambda bias: run(bias)[0], bias)
        gradient = run(bias)[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "adjoint", ["implicit_gmres", "implicit_anderson", "safeguarded", "unroll"]
)
def test_hessian_by_reverse_over_reverse(adjoint, x64):
    (weight, bias, extra), z0 = make_problem()

    def value(bias, adjoint):
        return loss_fn(
            jp.fixed_point(
                tanh_map,
                (weight, bias, extra),
                z0,
                solver=jp.Picard(tol=1e-13, max_steps=100),
                adjoint=adjoint,
            ).value
        )

    hessian = jax.jit(jax.jacrev(jax.jacrev(lambda b: value(b, ADJOINTS[adjoint]))))(bias)
    np.testing.assert_allclose(hessian, derivatives()[1], rtol=1e-5, atol=1e-7)


def test_third_derivative_by_nested_reverse(x64):
    cosine = lambda p, z: jnp.cos(p * z)
    solver = jp.Picard(tol=1e-15, max_steps=300)
    backward = jp.GMRES(tol=1e-14, restart=1)
    value = lambda p: (
        jp.fixed_point(
            cosine, p, jnp.asarray(0.5), solver=solver, adjoint=jp.Implicit(backward=backward)
        ).value
    )
    second = jax.jit(jax.grad(jax.grad(value)))
    third = jax.jit(jax.grad(second))(0.9)
    expected = (second(0.9 + 1e-5) - second(0.9 - 1e-5)) / 2e-5
    np.testing.assert_allclose(third, expected, rtol=1e-5)


@functools.cache
def unrolled_derivatives():
    """Gradient and Hessian through the unrolled iteration."""
    (weight, bias, extra), z0 = make_problem()
    how = {"solver": jp.Picard(tol=1e-13, max_steps=200), "adjoint": jp.Unroll()}
    solve = lambda bias: jp.fixed_point(tanh_map, (weight, bias, extra), z0, **how).value
    loss = lambda bias: loss_fn(solve(bias))
    return jax.jit(jax.grad(loss))(bias), jax.jit(jax.hessian(loss))(bias)


@pytest.mark.parametrize(
    "adjoint", ["truncated", *(f"implicit_forward_{backward}" for backward in BACKWARD)]
)
def test_forward_mode_gives_jvp_and_hessian(adjoint, x64):
    (weight, bias, extra), z0 = make_problem()
    adjoint = ADJOINTS[adjoint]
    solver = jp.Picard(tol=1e-13, max_steps=200)

    def value(bias):
        params = (weight, bias, extra)
        return loss_fn(jp.fixed_point(tanh_map, params, z0, solver=solver, adjoint=adjoint).value)

    direction = jnp.arange(6.0)
    push = jax.jit(lambda bias: jax.jvp(value, (bias,), (direction,))[1])
    gradient, hessian = unrolled_derivatives()
    np.testing.assert_allclose(push(bias), gradient @ direction, rtol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.hessian(value))(bias), hessian, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "adjoint", ["unroll", "truncated", "safeguarded", "implicit_gmres", "implicit_anderson"]
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_vmap_equals_loop_for_values_status_and_gradients(solver, adjoint, x64):
    (weight, bias, extra), z0 = make_problem()
    solver = SOLVERS[solver](tol=1e-10, max_steps=60)
    scales = jnp.asarray([0.0, 0.5, 1.2])

    def value(scale, bias):
        params = (scale * weight, bias, extra)
        solution = jp.fixed_point(tanh_map, params, z0, solver=solver, adjoint=ADJOINTS[adjoint])
        return loss_fn(solution.value), solution

    slope = jax.jit(jax.grad(value, argnums=1, has_aux=True))
    batched, solutions = jax.jit(jax.vmap(slope, in_axes=(0, None)))(scales, bias)
    for i, scale in enumerate(scales):
        gradient, solution = slope(scale, bias)
        assert solutions.num_steps[i] == solution.num_steps
        assert solutions.status[i] == solution.status
        np.testing.assert_allclose(batched[i], gradient, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(solutions.residual[i], solution.residual, atol=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtype_is_kept_and_sets_the_tolerance(solver, dtype, x64):
    affine = lambda p, z: (p * z + 1).astype(z.dtype)
    solution = jp.fixed_point(
        affine, jnp.asarray(0.5, dtype), jnp.zeros(3, dtype), solver=SOLVERS[solver]()
    )
    assert solution.value.dtype == dtype
    assert solution.status == jp.Status.CONVERGED
    np.testing.assert_allclose(
        np.asarray(solution.value, np.float64), 2, rtol=4 * float(jnp.finfo(dtype).eps) ** 0.75
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_solver_commutes_with_a_symmetry_of_the_map(solver, x64):
    """One scalar weight for the whole field: permuting z0 and params permutes every iterate."""
    smooth = lambda p, z: 0.95 * jnp.tanh(p + (jnp.roll(z, 1) + jnp.roll(z, -1)) / 2)
    source = jnp.asarray(np.random.default_rng(0).normal(size=16))
    solve = lambda p: jp.fixed_point(
        smooth, p, jnp.zeros(16), solver=SOLVERS[solver](max_steps=12, tol=0.0)
    )
    plain, turned = solve(source), solve(source[::-1])
    np.testing.assert_allclose(turned.value, plain.value[::-1], atol=1e-12)
    assert plain.num_steps == 12


@pytest.mark.parametrize("solver", ["anderson", "broyden"])
def test_acceleration_really_runs(solver, x64):
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    matrix = jnp.asarray(basis @ np.diag(np.linspace(0.5, 0.99, 20)) @ basis.T)
    linear = lambda p, z: p @ z + 1.0
    plain, fast = (
        jp.fixed_point(
            linear, matrix, jnp.zeros(20), solver=SOLVERS[name](tol=1e-8, max_steps=3000)
        )
        for name in ("picard", solver)
    )
    exact = np.linalg.solve(np.eye(20) - matrix, np.ones(20))
    np.testing.assert_allclose(fast.value, exact, rtol=1e-5)
    assert plain.num_steps > 8 * fast.num_steps
