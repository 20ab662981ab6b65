"""What engine 1 promises beyond the battery: budgets, failures, traces and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp

TIGHT = {"tol": 1e-12, "max_steps": 500}


def affine(p, z):
    return p["gain"] * z + p["bias"]


def affine_params(gain, bias=1.0):
    return {"gain": jnp.asarray(gain), "bias": jnp.asarray(bias)}


def expanding(p, z):
    """Bounded, with a repelling fixed point at 0: Picard never converges."""
    return jnp.tanh(3.0 * p * (z @ jnp.asarray([[0.0, 1.0], [-1.0, 0.0]], z.dtype)))


def manual_truncated(f, params, z0, total, steps):
    z = z0
    for _ in range(total - steps):
        z = f(jax.lax.stop_gradient(params), z)
    z = jax.lax.stop_gradient(z)
    for _ in range(steps):
        z = f(params, z)
    return z


@pytest.mark.parametrize(("steps", "exact"), [(10, 9.56), (50, 39.5), (200, 86.6)])
def test_implicit_gradient_of_an_unconverged_iterate_is_wrong_and_unroll_is_right(
    steps, exact, x64
):
    def slope(adjoint):
        solver = jp.Picard(tol=0.0, max_steps=steps)
        solve = lambda p: (
            jp.fixed_point(
                affine, {"gain": 0.99, "bias": p}, 0.0, solver=solver, adjoint=adjoint
            ).value
        )
        return jax.jit(jax.grad(solve))(1.0)

    assert slope(jp.Unroll()) == pytest.approx(exact, rel=1e-3)
    assert slope(jp.Implicit()) == pytest.approx(100.0, rel=1e-6)
    # Not converged, so the safeguarded gradient is the true one of the last 5 steps.
    expected = sum(0.99**i for i in range(5))
    assert slope(jp.Truncated(5)) == pytest.approx(expected, rel=1e-12)
    assert slope(jp.Safeguarded(steps=5)) == pytest.approx(expected, rel=1e-12)


def test_safeguarded_gradient_is_whole_when_converged(x64):
    solver = jp.Picard(**TIGHT)
    solve = lambda p, adjoint: (
        jp.fixed_point(affine, {"gain": 0.9, "bias": p}, 0.0, solver=solver, adjoint=adjoint).value
    )
    slope = jax.jit(jax.grad(solve), static_argnums=1)
    assert slope(1.0, jp.Safeguarded(steps=3)) == pytest.approx(10.0, rel=1e-9)
    assert slope(1.0, jp.Truncated(3)) == pytest.approx(1 + 0.9 + 0.81, rel=1e-9)


def test_divergent_backward_is_nan_for_implicit_and_dropped_by_safeguarded(x64):
    """Broyden finds a repelling fixed point, where the Neumann series diverges."""
    start, params = jnp.zeros(2), jnp.asarray(1.0)
    turn = jnp.asarray([[0.0, 1.0], [-1.0, 0.0]])
    repelling = lambda p, z: p * (0.1 + 2.5 * jnp.tanh(z @ turn))
    solver = jp.Broyden(**TIGHT)
    solve = lambda p, adjoint: jp.fixed_point(repelling, p, start, solver=solver, adjoint=adjoint)
    solution = solve(params, jp.Implicit(backward=jp.Picard(max_steps=15)))
    assert solution.status == jp.Status.CONVERGED
    report = jp.fixed_point_vjp(
        repelling, params, solution.value, jnp.ones(2), backward=jp.Picard(max_steps=15)
    )
    assert report.status == jp.Status.DIVERGED

    loss = lambda p, adjoint: jnp.sum(solve(p, adjoint).value)
    neumann = jp.Picard(max_steps=15)
    assert np.isnan(jax.grad(loss)(params, jp.Implicit(backward=neumann)))
    # One differentiated step at the solution is all that is left of the safeguarded gradient.
    z = solution.value
    one_step = jax.grad(lambda p: jnp.sum(repelling(p, z)))(params)
    gradient = jax.grad(loss)(params, jp.Safeguarded(steps=1, backward=neumann))
    np.testing.assert_allclose(gradient, one_step, rtol=1e-6)
    # GMRES solves the same system, although its series diverges.
    exact = jax.grad(loss)(params, jp.Implicit(backward=jp.GMRES(tol=1e-12)))
    jacobian = jax.jacobian(repelling, argnums=1)(params, z)
    dense = np.linalg.solve(np.eye(2) - jacobian, jax.jacobian(repelling)(params, z)).sum()
    np.testing.assert_allclose(exact, dense, rtol=1e-8)


def test_mass_that_gathers_in_the_backward_pass_is_not_divergence(x64):
    # Every state leads to one of four, those to the first: the transpose of this sup-norm
    # contraction gathers the cotangents of all, so its entries grow while their sum falls.
    following = jnp.concatenate([jnp.zeros(4, int), jnp.arange(60) % 4])
    f = lambda reward, value: reward + 0.95 * value[following]
    backward = jp.Picard(max_steps=3)
    cotangent = jnp.linspace(0.5, 1.5, 64)
    solution = jp.fixed_point_vjp(f, jnp.ones(64), jnp.full(64, 20.0), cotangent, backward=backward)
    push = lambda u: 0.95 * jnp.zeros(64).at[following].add(u)
    once, twice = push(cotangent), push(push(cotangent))
    assert float(once.max()) > 10 * float(cotangent.max())
    assert solution.status == jp.Status.MAX_STEPS
    np.testing.assert_allclose(solution.value, cotangent + once)  # what the last residual is of
    np.testing.assert_allclose(solution.residual, twice.sum() / cotangent.sum())


@pytest.mark.parametrize("adjoint", [jp.Truncated(4), jp.Safeguarded(steps=4)])
def test_truncated_is_a_true_unroll_of_the_last_steps(adjoint, x64):
    start, total = jnp.asarray([[0.3, -0.2]]), 9
    solver = jp.Picard(tol=1e-9, max_steps=total)
    solution = jp.fixed_point(expanding, 1.2, start, solver=solver, adjoint=adjoint)
    value = manual_truncated(expanding, 1.2, start, total, 4)
    np.testing.assert_allclose(solution.value, value, rtol=1e-12)
    assert solution.num_steps == total
    assert solution.status != jp.Status.CONVERGED
    loss = lambda z: jnp.sum(jnp.sin(z))
    gradient = jax.grad(
        lambda p: loss(jp.fixed_point(expanding, p, start, solver=solver, adjoint=adjoint).value)
    )(1.2)
    expected = jax.grad(lambda p: loss(manual_truncated(expanding, p, start, total, 4)))(1.2)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10)


@pytest.mark.parametrize("adjoint", [jp.Unroll(), jp.Truncated(3), jp.Safeguarded(), jp.Implicit()])
def test_num_steps_lowers_the_budget_without_recompiling(adjoint):
    traces = []

    def counted(p, z):
        traces.append(None)
        return 0.9 * z + p

    solver = jp.Picard(tol=0.0, max_steps=20)
    run = jax.jit(
        lambda n: jp.fixed_point(counted, 1.0, 0.0, solver=solver, adjoint=adjoint, num_steps=n)
    )
    for budget in (20, 7, 2):
        solution = run(jnp.asarray(budget))
        assert solution.num_steps == budget
        if not isinstance(adjoint, jp.Implicit):  # which returns the best iterate seen
            assert solution.value == pytest.approx(10 * (1 - 0.9**budget), rel=1e-5)
        if budget == 20:
            count = len(traces)
    assert len(traces) == count


@pytest.mark.parametrize(
    "adjoint",
    [
        jp.Unroll(),
        jp.Truncated(3),
        jp.Safeguarded(steps=3),
        jp.Implicit(),
        jp.Implicit(mode="forward"),
    ],
)
def test_a_second_eager_call_does_not_retrace(adjoint):
    traces = []

    def counted(p, z):
        traces.append(None)
        return 0.5 * z + p

    value = lambda p: jp.fixed_point(
        counted, p, jnp.zeros(3), solver=jp.Anderson(), adjoint=adjoint
    ).value.sum()
    for call in (value, jax.grad(value)):
        call(jnp.ones(3))
        count = len(traces)
        call(2 * jnp.ones(3))
        assert len(traces) == count


def test_residual_belongs_to_the_value_and_history_records_it(x64):
    solver = jp.Picard(atol=1e-3, rtol=1e-4, max_steps=50)
    params = affine_params(0.8)
    solution = jp.fixed_point(affine, params, jnp.zeros(2), solver=solver, history=True)
    z = solution.value
    expected = jnp.max(jnp.abs(affine(params, z) - z) / (1.0 + 0.1 * jnp.abs(z)))
    np.testing.assert_allclose(solution.residual, expected, rtol=1e-12)
    assert solution.residual <= 1e-3
    steps = int(solution.num_steps)
    assert solution.history.shape == (50,)
    assert bool(np.all(np.isfinite(solution.history[:steps])))
    assert bool(np.all(np.isnan(solution.history[steps:])))
    np.testing.assert_allclose(solution.history[steps - 1], solution.residual)
    assert jp.fixed_point(affine, params, jnp.zeros(2)).history is None


def test_tolerance_based_solves_return_the_best_iterate(x64):
    """The residual of this map falls, then rises again."""
    spiral = lambda p, z: jnp.stack([z[0] + 1.0, jnp.abs(z[0] - 5.0) + z[1]])
    solver = jp.Picard(max_steps=12, atol=1e-6, rtol=0.0)
    solution = jp.fixed_point(spiral, 0.0, jnp.zeros(2), solver=solver, history=True)
    assert solution.residual == np.nanmin(solution.history)
    assert solution.value[0] in (4.0, 5.0, 6.0)


@pytest.mark.parametrize("solver", [jp.Picard(), jp.Anderson(), jp.Broyden()])
@pytest.mark.parametrize("adjoint", [jp.Implicit(), jp.Unroll(), jp.Truncated(3), jp.Safeguarded()])
def test_nan_input_ends_at_once_with_a_status(solver, adjoint):
    solution = jp.fixed_point(
        affine, affine_params(0.5, np.nan), jnp.zeros(2), solver=solver, adjoint=adjoint
    )
    assert solution.status == jp.Status.DIVERGED
    assert bool(np.isnan(solution.value).all())
    if isinstance(adjoint, jp.Implicit):
        assert solution.num_steps <= 3
    with pytest.raises(jp.fixed_points.FixedPointError, match=r"1 of 1 solves.*NaN"):
        jp.raise_on_failure(solution)


@pytest.mark.parametrize("shape", [(1,), (7,), (64, 64), (15, 15, 32)])
def test_nan_is_seen_in_arrays_of_any_size(shape):
    """XLA's maximum drops NaN in vectorised reductions on CPU; the residual must not."""
    solve = lambda p: jp.fixed_point(lambda p, z: 0.5 * z + p, p, jnp.zeros(shape))
    loss = lambda p, poison: poison.ravel() @ solve(p).value.ravel()
    status = jax.jit(lambda poison: (solve(poison).status, jax.vmap(solve)(poison[None]).status[0]))
    slope = jax.jit(jax.grad(loss))
    first = np.zeros(shape, np.float32)
    first[0] = np.nan
    for poison in (first, np.full_like(first, np.nan)):
        assert status(poison) == (jp.Status.DIVERGED, jp.Status.DIVERGED)
        assert bool(np.isnan(slope(np.ones_like(first), poison)).any())


@pytest.mark.parametrize(
    "growth", [lambda p, z: 2 * z + p, lambda p, z: z * z + p, lambda p, z: jnp.exp(p * z)]
)
def test_overflow_is_not_mistaken_for_a_fixed_point(growth):
    solver = jp.Picard(max_steps=1000)
    solution = jp.fixed_point(growth, 3.0, jnp.ones(2), solver=solver)
    assert solution.status == jp.Status.DIVERGED


def test_entries_at_minus_infinity_do_no_harm(x64):
    """Shortest path on a line of five cells, the last of which is cut off."""
    cost = jnp.asarray([0.0, 1.0, 1.0, 1.0, jnp.inf])

    def step(cost, z):
        left = jnp.concatenate([jnp.zeros(1), z[:-1]])
        return jnp.where(jnp.arange(5) == 0, 0.0, left - cost)

    start = jnp.full(5, -jnp.inf).at[0].set(0.0)
    solution = jp.fixed_point(step, cost, start, solver=jp.Picard(tol=0.0))
    np.testing.assert_array_equal(solution.value, [0, -1, -2, -3, -np.inf])
    assert solution.status == jp.Status.CONVERGED


def test_each_sample_of_a_batch_has_its_own_report():
    gains = jnp.asarray([0.5, 2.0, 0.999])
    solve = lambda gain: jp.fixed_point(affine, affine_params(gain), 0.0, solver=jp.Picard())
    batch = jax.vmap(solve)(gains)
    assert list(batch.status) == [jp.Status.CONVERGED, jp.Status.DIVERGED, jp.Status.MAX_STEPS]
    assert batch.num_steps[0] < 30
    assert batch.num_steps[2] == 100
    with pytest.raises(jp.fixed_points.FixedPointError, match="1 of 3 solves ended with DIVERGED"):
        jp.raise_on_failure(batch)


def test_safeguarded_chooses_for_each_sample(x64):
    gains = jnp.asarray([0.5, 0.999])
    value = lambda bias, gain: (
        jp.fixed_point(
            affine,
            {"gain": gain, "bias": bias},
            0.0,
            solver=jp.Picard(max_steps=60),
            adjoint=jp.Safeguarded(steps=2),
        ).value
    )
    gradient = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(1.0, gains)
    np.testing.assert_allclose(gradient, [2.0, 1.999], rtol=1e-8)


@pytest.mark.parametrize("adjoint", [jp.Implicit(), jp.Truncated(3), jp.Safeguarded(steps=3)])
def test_gradient_to_the_start_is_zero(adjoint):
    value = lambda z0: jp.fixed_point(affine, affine_params(0.5), z0, adjoint=adjoint).value
    assert jax.jit(jax.grad(value))(3.0) == 0.0


def test_an_empty_batch_is_a_batch():
    solve = lambda gain: jp.fixed_point(affine, affine_params(gain), jnp.zeros(2))
    assert jax.vmap(solve)(jnp.zeros(0)).value.shape == (0, 2)
    assert jp.fixed_point(affine, affine_params(0.5), jnp.zeros(0)).status == jp.Status.CONVERGED


def test_implicit_at_serves_a_solver_that_cannot_be_differentiated(x64):
    matrix = jnp.asarray([[0.2, 0.3], [0.1, 0.4]])
    linear = lambda p, z: matrix @ z + p

    def solve(p):
        host = lambda p: np.linalg.solve(np.eye(2) - np.asarray(matrix), np.asarray(p))
        z = jax.pure_callback(host, jax.ShapeDtypeStruct((2,), p.dtype), jax.lax.stop_gradient(p))
        return jp.implicit_at(linear, p, z)

    expected = np.linalg.inv(np.eye(2) - matrix)
    np.testing.assert_allclose(jax.jacrev(solve)(jnp.ones(2)), expected, rtol=1e-10)


def test_backward_report(x64):
    matrix = jnp.asarray([[0.2, 0.3], [0.1, 0.4]])
    linear = lambda p, z: matrix @ z + p
    z = jnp.linalg.solve(jnp.eye(2) - matrix, jnp.ones(2))
    good = jp.fixed_point_vjp(linear, jnp.ones(2), z, jnp.ones(2), backward=jp.GMRES(tol=1e-12))
    assert good.status == jp.Status.CONVERGED
    np.testing.assert_allclose(good.value, np.linalg.solve(np.eye(2) - matrix.T, np.ones(2)))
    short = jp.fixed_point_vjp(linear, jnp.ones(2), z, jnp.ones(2), backward=jp.Picard(max_steps=3))
    assert short.status == jp.Status.MAX_STEPS
    assert 0 < short.residual < 1


BAD = [
    (affine, jnp.zeros(2, int), {}, "floating point"),
    (lambda p, z: z[:1], jnp.zeros(2), {}, r"float32\[1\], expected float32\[2\]"),
    (lambda p, z: (z, z), jnp.zeros(2), {}, "structure"),
    (affine, jnp.zeros(2), {"solver": jp.Picard(max_steps=0)}, "max_steps of solver is 0"),
    (affine, jnp.zeros(2), {"adjoint": jp.Truncated(0)}, "at least 1 differentiated step"),
    (affine, jnp.zeros(2), {"adjoint": jp.Implicit(mode="foward")}, "'reverse' or 'forward'"),
    (affine, jnp.zeros(2), {"adjoint": jp.Implicit}, "expected an instance"),
    (affine, jnp.zeros(2), {"solver": jp.Picard}, "the class Picard"),
    (affine, jnp.zeros(2), {"solver": jp.GMRES()}, "Picard or Anderson or Broyden"),
    (affine, jnp.zeros(2), {"solver": jp.Anderson(memory=0)}, "memory of solver is 0"),
    (affine, jnp.zeros(2), {"solver": jp.Picard(tol=-1.0)}, "tol of solver is -1.0"),
    (
        affine,
        jnp.zeros(2),
        {"adjoint": jp.Implicit(backward=jp.Picard(max_steps=0))},
        "max_steps of backward is 0",
    ),
]


@pytest.mark.parametrize(("f", "z0", "options", "message"), BAD)
def test_typical_mistakes_get_advice(f, z0, options, message):
    with pytest.raises(ValueError, match=message):
        jp.fixed_point(f, affine_params(0.5), z0, **options)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_closing_over_a_traced_value_gets_advice(mode):
    def loss(p, adjoint):
        inner = lambda z: 0.5 * z + p  # hidden one closure deeper
        return jp.fixed_point(lambda _, z: inner(z), None, 0.0, adjoint=adjoint).value

    with pytest.raises(ValueError, match="closes over a traced value"):
        jax.grad(loss)(1.0, jp.Implicit(mode=mode))
    with pytest.raises(ValueError, match="closes over a traced value"):
        jax.grad(lambda p: jp.implicit_at(lambda _, z: 0.5 * z + p, None, 2 * p))(1.0)
    assert jax.grad(loss)(1.0, jp.Unroll()) == pytest.approx(2.0, rel=1e-4)


def test_params_that_are_no_arrays_get_advice():
    with pytest.raises(ValueError, match=r"params\['name'\] is a str"):
        jp.fixed_point(lambda p, z: z, {"name": "cell"}, 0.0)


@pytest.mark.parametrize("adjoint", [jp.Truncated(5), jp.Truncated(50), jp.OneStep()])
def test_a_differentiated_tail_is_part_of_status_and_history(adjoint):
    solver = jp.Picard(max_steps=12)
    grow, shrink = (
        jp.fixed_point(
            affine, affine_params(gain), 0.0, solver=solver, adjoint=adjoint, history=True
        )
        for gain in (2.0, 0.01)
    )
    assert grow.status == jp.Status.DIVERGED
    assert grow.num_steps == 12
    np.testing.assert_allclose(grow.history[:3], [1, 2 / 2, 4 / 4])
    assert bool(np.all(np.isfinite(grow.history)))
    assert shrink.status == jp.Status.CONVERGED
    steps = int(shrink.num_steps)
    assert bool(np.all(np.isfinite(shrink.history[:steps])))
    assert bool(np.all(np.isnan(shrink.history[steps:])))


def test_the_tail_is_compared_with_the_first_step_of_the_solve(x64):
    turn = 0.9 * jnp.array([[0.0, 1.0], [-1.0, 0.0]]) @ jnp.diag(jnp.array([1.0, 1.05]))
    f = lambda params, z: turn @ z + params
    solve = lambda adjoint, steps: jp.fixed_point(
        f, jnp.array([1.0, 0.2]), jnp.zeros(2), solver=jp.Picard(max_steps=steps), adjoint=adjoint
    )
    for steps in (20, 21, 28, 34):
        assert solve(jp.Truncated(2), steps).status == solve(jp.Unroll(), steps).status


def test_a_negative_budget_is_an_empty_one():
    solution = jp.fixed_point(affine, affine_params(0.5), 3.0, num_steps=-2)
    assert solution.num_steps == 0
    assert solution.value == 3.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("backward", [jp.Picard(), jp.Anderson(), jp.Broyden(), jp.GMRES()])
def test_backward_solves_in_low_precision(backward, dtype):
    value = lambda bias: jp.fixed_point(
        affine,
        {"gain": 0.5, "bias": bias},
        jnp.zeros(2, dtype),
        adjoint=jp.Implicit(backward=backward),
    ).value.sum()
    gradient = jax.jit(jax.grad(value))(jnp.ones(2, dtype))
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient.astype(jnp.float32), 2.0, rtol=5e-2)


def test_raise_on_failure_inside_jit_gets_advice():
    solve = lambda p: jp.raise_on_failure(jp.fixed_point(affine, affine_params(0.5), p))
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(solve)(0.0)


def test_an_unhashable_f_gets_advice():
    class Callable(dict):
        def __call__(self, p, z):
            return z

    with pytest.raises(ValueError, match="cannot be hashed"):
        jp.fixed_point(Callable(), 0.0, 0.0)
