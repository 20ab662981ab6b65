"""Planners of action sequences: one battery, and what each must reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

import jplan as jp
from jplan import planners
from jplan.descent import Box, Product, Simplex, rollout, shift_plan
from jplan.planners import PlanStatus

BOX = Box(-2 * jnp.ones(1), 2 * jnp.ones(1))


TRACES = []


def cart(params, state, action):
    """A point mass: position and speed, quadratic costs."""
    TRACES.append(None)
    a, b = params
    following = a @ state + b @ action
    return following, -(following @ following + 0.1 * action @ action), 1.0


CART = (jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.5]]))
START = jnp.array([1.0, 0.0])


PLANNERS = {
    "gradient": functools.partial(
        planners.gradient_plan, candidates=4, num_steps=60, optimizer=optax.adam(0.1)
    ),
    "cem": functools.partial(planners.cem_plan, num_steps=8),
    "grad cem": functools.partial(planners.cem_plan, num_steps=4, gradient_steps=10),
    "mppi": functools.partial(planners.mppi_plan, temperature=0.1, num_steps=20),
}


def riccati(horizon, x):
    """The least cost by dynamic programming, independent of the library."""
    a, b = (np.asarray(part, np.float64) for part in CART)
    q, r, p = np.eye(2), 0.1 * np.eye(1), np.zeros((2, 2))
    for _ in range(horizon):
        m = q + p
        k = np.linalg.solve(r + b.T @ m @ b, b.T @ m @ a)
        p = a.T @ m @ (a - b @ k)
    return float(np.asarray(x) @ p @ np.asarray(x))


@pytest.fixture(params=PLANNERS)
def plan(request):
    return PLANNERS[request.param]


@functools.cache
def compiled(plan, model_fn, horizon):
    """A planner as one program, which compiles faster than its operations one by one."""
    return jax.jit(functools.partial(plan, model_fn, horizon=horizon, action_space=BOX))


def test_a_plan_is_what_the_model_says_of_it(plan, key):
    got = compiled(plan, cart, 6)(CART, START, key)
    out = rollout(cart, CART, START, got.actions)
    np.testing.assert_allclose(got.hard_return, out.total, rtol=1e-6)
    np.testing.assert_allclose(got.rollout.states, out.states, rtol=1e-6)
    assert got.actions.shape == got.latent.shape == (6, 1)
    assert (np.abs(got.actions) <= 2).all()
    np.testing.assert_allclose(got.gap, 0, atol=1e-5)
    assert got.status == PlanStatus.FINE
    doing_nothing = rollout(cart, CART, START, jnp.zeros((6, 1))).total
    best = -riccati(6, START)
    assert got.hard_return > best - 0.35 * (best - doing_nothing)


def test_vmap_equals_loop(plan, key):
    starts = jnp.stack([START, -START, 0 * START])
    keys = jax.random.split(key, 3)
    run = compiled(plan, cart, 6)
    many = jax.jit(jax.vmap(run, in_axes=(None, 0, 0)))(CART, starts, keys)
    one = run(CART, starts[1], keys[1])
    np.testing.assert_allclose(many.hard_return[1], one.hard_return, rtol=1e-3)


def test_equal_keys_give_equal_plans(plan):
    run = lambda seed: compiled(plan, cart, 6)(CART, START, jax.random.key(seed))
    np.testing.assert_array_equal(run(0).actions, run(0).actions)
    assert (run(0).actions != run(1).actions).any()


def test_a_model_of_nan_is_reported(plan, key):
    broken = lambda p, s, a: (s, jnp.nan * a.sum(), 1.0)
    assert compiled(plan, broken, 3)(None, START, key).status == PlanStatus.DIVERGED


def test_discrete_and_mixed_actions(plan, key):
    def dial(params, place, action):
        del params
        place = place + 0.5 * action["push"][0]
        right = action["colour"] @ jnp.array([0.0, 1.0, 0.3])
        return place, right - (place - 1) ** 2, 1.0

    space = Product({"colour": Simplex(3), "push": Box(-jnp.ones(1), jnp.ones(1))})
    run = jax.jit(functools.partial(plan, dial, horizon=4, action_space=space))
    got = run(None, jnp.float32(0.0), key)
    np.testing.assert_array_equal(got.actions["colour"].argmax(-1), 1)
    np.testing.assert_array_equal(got.actions["colour"].max(-1), 1)
    assert np.abs(got.rollout.states[-1] - 1) < 0.2


def test_mistakes_get_advice(plan, key):
    with pytest.raises(ValueError, match="horizon is 0"):
        plan(cart, CART, START, key, horizon=0, action_space=BOX)
    with pytest.raises(ValueError, match="candidates is 0"):
        plan(cart, CART, START, key, horizon=3, action_space=BOX, candidates=0)
    with pytest.raises(ValueError, match="the action space decides"):
        plan(cart, CART, START, key, horizon=3, action_space=Simplex(3))


def test_linear_quadratic_problems_are_solved_to_the_riccati_optimum(x64, key):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), CART)
    start, wide = START.astype(jnp.float64), Box(-jnp.full(1, 50.0), jnp.full(1, 50.0))
    for horizon in (5, 20):
        best = -riccati(horizon, start)
        ilqr = functools.partial(planners.ilqr_plan, cart, action_space=wide, num_steps=3)
        by_ilqr = jax.jit(ilqr)(params, start, initial=jnp.zeros((horizon, 1)))
        np.testing.assert_allclose(by_ilqr.hard_return, best, rtol=1e-9)
        descend = functools.partial(
            jp.refine,
            lambda p, u: -rollout(cart, p, start, u).total,
            optimizer=optax.sgd(0.02 if horizon == 20 else 0.2, momentum=0.9),
            num_steps=3000,
        )
        by_descent = jax.jit(descend)(params, jnp.zeros((horizon, 1)))
        np.testing.assert_allclose(-by_descent.objective, best, rtol=1e-5)
    # The dense equation of an endless horizon, from SciPy, for the reference itself.
    a, b = (np.asarray(part) for part in params)
    endless = scipy.linalg.solve_discrete_are(a, b, np.eye(2), 0.1 * np.eye(1)) - np.eye(2)
    np.testing.assert_allclose(riccati(400, start), start @ endless @ start, rtol=1e-6)


def test_ilqr_swings_what_is_not_linear(x64):
    def pendulum(params, state, action):
        angle, speed = state
        speed = speed + 0.1 * (3 * action["torque"][0] + 5 * jnp.sin(angle))
        angle = angle + 0.1 * speed
        return (angle, speed), -(angle**2) - 0.1 * speed**2 - 0.01 * action["torque"][0] ** 2, 1.0

    start = jnp.float64(0.8), jnp.float64(0.0)
    space = Product({"torque": Box(-3 * jnp.ones(1), 3 * jnp.ones(1))})
    plan = functools.partial(planners.ilqr_plan, pendulum, action_space=space, num_steps=30)
    got = jax.jit(plan)(None, start, initial={"torque": jnp.zeros((25, 1))})
    assert (jnp.diff(got.returns[0]) >= 0).all()
    assert np.abs(got.rollout.states[0][-1]) < 0.05
    assert (np.abs(got.actions["torque"]) <= 3).all()


def test_ilqr_plans_what_has_an_end(x64):
    """The way to the end is planned, though the model is lost from there on."""

    def reach(params, x, u):
        reward, has_ended = -jnp.sum((x + u - 1) ** 2) - 0.1 * jnp.sum(u**2), x[0] >= 0.7
        return jnp.where(has_ended, jnp.nan, x + u), reward, jnp.where(has_ended, 0.0, 1.0)

    space = Box(-0.4 * jnp.ones(1), 0.4 * jnp.ones(1))
    got = jax.jit(functools.partial(planners.ilqr_plan, reach, action_space=space))(
        *(None, jnp.zeros(1)), initial=jnp.full((6, 1), 0.2)
    )
    assert got.status == PlanStatus.FINE
    np.testing.assert_allclose(got.actions[:2], 0.4)  # two bounded steps, and no third
    np.testing.assert_allclose(got.actions[2], 0.2 / 1.1, rtol=1e-6)  # the last that counts
    assert got.hard_return > got.returns[0, 0] + 0.1


def test_what_is_given_replaces_random_plans(key):
    best = jnp.full((5, 1), 2.0)
    climb = lambda p, x, u: (x + u, jnp.sum(u), 1.0)
    options = {"horizon": 5, "action_space": BOX, "num_steps": 0, "candidates": 3}
    plan = functools.partial(planners.gradient_plan, climb, None, jnp.zeros(1), key, **options)
    run = jax.jit(lambda initial=None: plan(initial=initial))
    assert run().hard_return < 10
    found = run(initial=best[None])
    assert found.hard_return == 10
    assert found.returns.shape == (3, 1)
    # What is given is kept where steps lead away from it, and where it is out of bounds, clipped.
    away = functools.partial(plan, num_steps=5, optimizer=optax.adam(-1.0))
    assert jax.jit(lambda given: away(initial=given))(2 * best[None]).hard_return == 10
    assert run(initial=shift_plan(found.latent)[None]).hard_return == 10
    with pytest.raises(ValueError, match="with M up to 3"):
        run(initial=jnp.zeros((4, 5, 1)))
    with pytest.raises(ValueError, match="expected that of the action space"):
        run(initial={"a": best[None]})
    both = functools.partial(
        *(planners.gradient_plan, lambda p, x, u: (x + u["a"], jnp.sum(u["b"]), 1.0)),
        *(None, jnp.zeros(1), key),
        **options | {"action_space": Product({"a": BOX, "b": BOX})},
    )
    with pytest.raises(ValueError, match="leaves of different length"):
        both(initial={"a": best[None], "b": jnp.stack([best, best])})


def test_diagnoses(key):
    options = {"horizon": 3, "action_space": Simplex(2), "num_steps": 5, "candidates": 4}
    plan = functools.partial(planners.gradient_plan, **options)
    run = lambda model: jax.jit(lambda key: plan(model, None, jnp.zeros(1), key))(key)
    deaf = lambda p, s, a: (s, jnp.sum(a) * 0.0 + 1.0, 1.0)
    assert run(deaf).status == PlanStatus.FLAT_START
    # Best between the actions, where nothing real is.
    between = lambda p, s, a: (s, 1 - 4 * (a[0] - 0.5) ** 2, 1.0)
    gap = run(between)
    assert gap.status == PlanStatus.RELAXATION_GAP
    assert gap.gap > 2
    with pytest.raises(ValueError, match="score is 'mean'"):
        plan(deaf, None, jnp.zeros(1), key, score="mean")


def test_on_tabular_worlds_plans_are_as_good_as_value_iteration():
    """By the published algorithm: unit normal logits, plain gradient steps, the best is kept."""
    tables, horizon, states, num_actions, discount = 60, 6, 6, 4, 0.7
    next_key, reward_key, plan_key = jax.random.split(jax.random.key(0), 3)
    shape = (tables, states, num_actions)
    transition = jax.nn.one_hot(jax.random.randint(next_key, shape, 0, states), states)
    worlds = transition, jax.random.normal(reward_key, shape)

    def believe(world, belief, action):
        transition, reward = world
        return (
            jnp.einsum("s,a,sat->t", belief, action, transition),
            belief @ reward @ action,
            discount,
        )

    def both(world, key):
        plan = planners.gradient_plan(
            *(believe, world, jax.nn.one_hot(0, states), key),
            horizon=horizon,
            action_space=Simplex(num_actions),
            candidates=200,
            num_steps=30,
            optimizer=optax.sgd(3.0),
        )
        mdp = jp.mdp.TabularMDP(transition=world[0], reward=world[1], discount=discount)
        value = jnp.zeros(states)
        for _ in range(horizon):
            value = mdp.action_values(value).max(-1)
        return plan.hard_return, value[0]

    got, best = jax.jit(jax.vmap(both))(worlds, jax.random.split(plan_key, tables))
    assert (got <= best + 1e-4).all()
    assert jnp.mean(got > best - 1e-4) >= 0.95


def test_one_trace_for_all_states_and_keys(plan, key):
    run = compiled(plan, cart, 6)
    run(CART, START, key)
    first = len(TRACES)
    run(CART, -START, jax.random.key(5))
    assert len(TRACES) == first > 0
