from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jplan.fixed_points import Picard
from jplan.mdp import TabularMDP, policy_iteration, value_bounds, value_iteration

bounds = jax.jit(value_bounds)


def exact_value(mdp):
    """Optimal value of the table as stored, by policy iteration in float64 with NumPy."""
    transition, reward = np.asarray(mdp.transition, float), np.asarray(mdp.reward, float)
    discount, states = float(mdp.discount), len(reward)
    going = np.ones(states) if mdp.terminal is None else 1.0 - np.asarray(mdp.terminal)
    transition = transition * going[:, None, None] * going
    reward = reward * going[:, None]
    action = np.zeros(states, int)
    while True:
        rows = transition[np.arange(states), action]
        value = np.linalg.solve(np.eye(states) - discount * rows, reward[np.arange(states), action])
        q = reward + discount * transition @ value
        better = q.max(-1) > value + 1e-11
        if not better.any():
            return value
        action = np.where(better, q.argmax(-1), action)


def test_by_hand():
    mdp = TabularMDP(
        transition=jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]),
        reward=jnp.array([[1.0], [3.0]]),
        discount=0.5,
    )
    # T 0 = (1, 3), so V* is between T 0 + 1 and T 0 + 3: (2, 4) and (4, 6).
    lower, upper = value_bounds(mdp, jnp.zeros(2))
    np.testing.assert_allclose(lower, [2, 4], rtol=1e-4)
    np.testing.assert_allclose(upper, [4, 6], rtol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    discount=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    ends=st.booleans(),
    converge=st.booleans(),
)
def test_contain_the_exact_value(random_mdp, seed, discount, scale, ends, converge):
    terminal = jnp.arange(6) == 2 if ends else None
    mdp = random_mdp(seed, dtype=np.float32, discount=np.float32(discount), terminal=terminal)
    start = np.asarray(value_iteration(mdp).value) if converge else np.zeros(6)
    guess = start + scale * np.random.default_rng(seed).normal(size=6)
    lower, upper = bounds(mdp, jnp.asarray(guess, jnp.float32))
    want = exact_value(mdp)
    assert (np.asarray(lower, float) <= want).all()
    assert (np.asarray(upper, float) >= want).all()
    if converge and scale == 0:
        assert (upper - lower).max() < 2e-2 / (1 - discount)


def test_a_guess_in_a_terminal_state_plays_no_part():
    mdp = TabularMDP(
        transition=jnp.array([[[0.0, 1.0]], [[0.0, 1.0]]]),
        reward=jnp.array([[1.0], [9.0]]),
        discount=0.5,
        terminal=jnp.array([False, True]),
    )
    # T (0, -10) = (1, 0), changes (1, 0): V* = (1, 0) is between T V and T V + 1.
    lower, upper = value_bounds(mdp, jnp.array([0.0, -10.0]))
    np.testing.assert_allclose([lower[0], upper[0]], [1, 2], rtol=1e-4)
    assert (lower[1], upper[1]) == (0, 0)


def test_rounding_slack_covers_a_guess_that_no_longer_changes(random_mdp):
    # T V = V in float32, but V is off by rounding errors that the horizon multiplies by 1000.
    for seed in range(5):
        mdp = random_mdp(seed, states=20, dtype=np.float32, discount=np.float32(0.999))
        value = value_iteration(mdp, solver=Picard(tol=0.0, max_steps=30_000)).value
        lower, upper = bounds(mdp, value)
        want = exact_value(mdp)
        assert (np.asarray(lower, float) <= want).all()
        assert (np.asarray(upper, float) >= want).all()
        assert (upper - lower).max() < 0.05 * np.abs(want).max()


def test_bounds_hold_against_exact_fractions():
    # 1/3 and 0.9 in float32 are not 1/3 and 0.9: compare with exact fractions.
    mdp = TabularMDP(
        transition=jnp.full((3, 1, 3), 1 / 3), reward=jnp.full((3, 1), 0.1), discount=0.9
    )
    value = value_iteration(mdp).value
    lower, upper = value_bounds(mdp, value)
    row = 3 * Fraction(float(mdp.transition[0, 0, 0]))
    exact = Fraction(float(mdp.reward[0, 0])) / (1 - Fraction(float(np.float32(0.9))) * row)
    assert Fraction(float(lower[0])) <= exact <= Fraction(float(upper[0]))
    assert upper[0] - lower[0] < 1e-3


def test_tighten_with_the_guess_and_are_monotone(random_mdp, x64):
    mdp = random_mdp(1)
    value, width = jnp.zeros(6), []
    for _ in range(4):
        lower, upper = bounds(mdp, value)
        width.append(float((upper - lower).max()))
        value = mdp.action_values(value).max(-1)
    assert width == sorted(width, reverse=True)
    lower, upper = bounds(mdp, policy_iteration(mdp).value)
    assert (upper - lower).max() < 1e-10


def test_what_cannot_be_said_is_not(random_mdp):
    mdp = random_mdp(1, dtype=np.float32, discount=1.0, terminal=jnp.arange(6) == 2)
    lower, upper = bounds(mdp, jnp.zeros(6))
    others = np.arange(6) != 2
    assert (lower[2], upper[2]) == (0, 0)
    assert np.isneginf(lower[others]).all()
    assert np.isposinf(upper[others]).all()
    low = random_mdp(1, states=80, dtype=jnp.bfloat16, discount=jnp.bfloat16(0.5))
    assert np.isposinf(bounds(low, jnp.zeros(80, jnp.bfloat16))[1]).all()


def test_states_without_a_plan():
    mdp = TabularMDP(
        transition=jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]),
        reward=jnp.ones((2, 1)),
        discount=0.5,
        action_mask=jnp.array([[True], [False]]),
    )
    lower, upper = value_bounds(mdp, value_iteration(mdp).value)
    np.testing.assert_allclose([lower[0], upper[0]], 2, rtol=1e-4)
    assert np.isneginf(jnp.array([lower[1], upper[1]])).all()


def test_vmap_and_dtype(random_mdp):
    mdp = random_mdp(3, dtype=np.float32)
    guesses = jax.random.normal(jax.random.key(0), (4, 6))
    lower, upper = jax.vmap(lambda v: value_bounds(mdp, v))(guesses)
    assert lower.dtype == upper.dtype == jnp.float32
    for index, guess in enumerate(guesses):
        np.testing.assert_allclose(value_bounds(mdp, guess)[0], lower[index], rtol=1e-4)
    with pytest.raises(ValueError, match="value: got shape"):
        value_bounds(mdp, jnp.zeros(5))
