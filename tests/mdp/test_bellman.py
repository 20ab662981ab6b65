import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from jplan.mdp import (
    GridMDP,
    TabularMDP,
    action_values,
    evaluation_backup,
    max_plus_backup,
    optimality_backup,
    soft_backup,
    sparse_backup,
)

POLICY = np.random.default_rng(0).dirichlet(np.ones(3), size=6)
BACKUPS = {
    "optimality": optimality_backup,
    "evaluation": lambda mdp, value: evaluation_backup(
        mdp, jnp.asarray(POLICY, value.dtype), value
    ),
    "soft": functools.partial(soft_backup, temperature=0.3),
    "sparse": functools.partial(sparse_backup, temperature=0.3),
    "max_plus": max_plus_backup,
}
EACH = pytest.mark.parametrize("name", BACKUPS)


@functools.cache
def jitted(name):
    return jax.jit(BACKUPS[name])


def reference(name, mdp, value):
    transition, reward = np.asarray(mdp.transition), np.asarray(mdp.reward)
    q = reward + mdp.discount * np.einsum("san,n->sa", transition, value)
    if name == "optimality":
        return q.max(-1)
    if name == "evaluation":
        return (POLICY * q).sum(-1)
    if name == "soft":
        return 0.3 * logsumexp(q / 0.3, axis=-1)
    if name == "max_plus":
        return (reward + logsumexp(value[None, None], b=transition, axis=-1)).max(-1)
    # Lee et al. 2018 in closed form: 1/2 sum_{support} (z^2 - tau^2) + 1/2.
    backed_up = []
    for z in q / 0.3:
        ordered = np.sort(z)[::-1]
        size = max(k for k in range(1, len(z) + 1) if 1 + k * ordered[k - 1] > ordered[:k].sum())
        tau = (ordered[:size].sum() - 1) / size
        backed_up.append(0.3 * (0.5 * np.sum(ordered[:size] ** 2 - tau**2) + 0.5))
    return np.array(backed_up)


@EACH
def test_reference(name, random_mdp, x64):
    for seed in range(4):
        mdp = random_mdp(seed)
        value = np.random.default_rng(seed).normal(size=6)
        got = jitted(name)(mdp, jnp.asarray(value))
        np.testing.assert_allclose(got, reference(name, mdp, value), rtol=1e-10)


def test_by_hand():
    mdp = TabularMDP(
        transition=jnp.array([[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0]] * 2]),
        reward=jnp.array([[1.0, 2.0], [0.0, 0.0]]),
        discount=0.5,
        terminal=jnp.array([False, True]),
    )
    value = jnp.array([4.0, 7.0])  # the 7 of a terminal state plays no part
    np.testing.assert_array_equal(action_values(mdp, value), [[2, 2], [0, 0]])
    np.testing.assert_array_equal(optimality_backup(mdp, value), [2, 0])
    np.testing.assert_allclose(soft_backup(mdp, value, temperature=1.0), [2 + np.log(2), 0])
    np.testing.assert_allclose(sparse_backup(mdp, value, temperature=1.0), [2.25, 0])
    np.testing.assert_array_equal(evaluation_backup(mdp, jnp.array([1, 0]), value), [2, 0])
    # log(0.5 e^4 + 0.5 e^0) + 1 = 4.325
    np.testing.assert_allclose(max_plus_backup(mdp, value), [np.log((np.e**4 + 1) / 2) + 1, 0])


@EACH
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 20), data=st.integers(0, 10_000), shift=st.floats(-5, 5))
def test_contraction_monotonicity_and_shift(name, random_mdp, seed, data, shift):
    with jax.enable_x64(True):
        backup, mdp = jitted(name), random_mdp(seed)
        rng = np.random.default_rng(data)
        one, other = jnp.asarray(rng.normal(size=(2, 6)) * 10)
        modulus = 1.0 if name == "max_plus" else 0.9
        gap = jnp.max(jnp.abs(backup(mdp, one) - backup(mdp, other)))
        assert gap <= modulus * np.max(np.abs(one - other)) + 1e-9
        assert jnp.all(backup(mdp, jnp.minimum(one, other)) <= backup(mdp, one) + 1e-9)
        moved = backup(mdp, one) + modulus * shift
        np.testing.assert_allclose(backup(mdp, one + shift), moved, atol=1e-9)


@EACH
def test_gradients_are_finite_differences(name, random_mdp, central_difference, x64):
    mdp, value = random_mdp(3), jnp.asarray(np.random.default_rng(3).normal(size=6))
    weights = jnp.asarray(np.random.default_rng(4).normal(size=6))

    @jax.jit
    @jax.value_and_grad
    def run(fields):
        table = mdp.replace(reward=fields["reward"], transition=fields["transition"])
        return weights @ BACKUPS[name](table, fields["value"])

    fields = {"value": value, "reward": mdp.reward, "transition": mdp.transition}
    for field, at in fields.items():
        if name == "max_plus" and field == "transition":
            # Where the probability is 0 the derivative jumps, by design.
            at = at + 0.01
            at = at / at.sum(-1, keepdims=True)
        gradient = run(fields | {field: at})[1][field]
        along = lambda x, field=field: run(fields | {field: x})[0]
        np.testing.assert_allclose(gradient, central_difference(along, at), atol=1e-7)


def test_tie_rule():
    mdp = TabularMDP(transition=jnp.ones((1, 2, 1)), reward=jnp.zeros((1, 2)), discount=0.5)
    gradient = jax.grad(lambda r: optimality_backup(mdp.replace(reward=r), jnp.zeros(1))[0])
    np.testing.assert_array_equal(gradient(mdp.reward), [[0.5, 0.5]])


@EACH
def test_everything_minus_infinity_is_safe(name):
    mask = jnp.array([[True, False], [False, False]])
    mdp = TabularMDP(
        transition=jnp.array([[[0.0, 1.0]] * 2] * 2),
        reward=jnp.zeros((2, 2)),
        discount=0.9,
        action_mask=mask,
    )
    uniform = jnp.full((2, 2), 0.5)
    backup = BACKUPS[name]
    if name == "evaluation":
        backup = lambda mdp, value: evaluation_backup(mdp, uniform, value)
    total = lambda m, v: jnp.sum(jnp.where(jnp.isneginf(u := backup(m, v)), 0, u))

    @jax.jit
    def run(mdp, value):
        of_mdp, of_value = jax.grad(total, (0, 1), allow_int=True)(mdp, value)
        return backup(mdp, value), (of_mdp.reward, of_mdp.transition, of_mdp.discount, of_value)

    for value in (jnp.zeros(2), jnp.full(2, -jnp.inf)):
        backed_up, leaves = run(mdp, value)
        assert not np.isnan(backed_up).any()
        assert backed_up[1] == -jnp.inf
        assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize("name", ["optimality", "soft", "sparse", "max_plus"])
def test_grid_backups_are_those_of_its_table(name, random_map, x64):
    free, goal = random_map(6, height=3, width=4)
    cost = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, free.shape))
    grid = GridMDP.from_free(free, goal, cell_cost=cost, discount=0.9)
    is_open, size = np.asarray(grid.open_moves()).reshape(12, 8), free.size
    transition, reward = np.zeros((size, 8, size)), np.zeros((size, 8))
    offsets = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)]
    for state, action in np.argwhere(is_open):
        dy, dx = offsets[action]
        transition[state, action, state + 4 * dy + dx] = 1
        reward[state, action] = -np.asarray(cost).ravel()[state] * np.hypot(dy, dx)
    table = TabularMDP(
        transition=jnp.asarray(transition),
        reward=jnp.asarray(reward),
        discount=0.9,
        terminal=grid.is_terminal.ravel(),
        action_mask=jnp.asarray(is_open),
    )
    value = jnp.asarray(np.random.default_rng(1).normal(size=size))
    value = jnp.where(grid.free.ravel(), value, -jnp.inf)
    got = jitted(name)(grid, value.reshape(3, 4)).ravel()
    np.testing.assert_allclose(got, jitted(name)(table, value), rtol=1e-12)


def test_max_plus_does_not_underflow():
    mdp = TabularMDP(
        transition=jnp.array([[[0.5, 0.5, 0]], [[0, 0.5, 0.5]], [[0, 0, 1.0]]]),
        reward=jnp.full((3, 1), -1.0),
        discount=1.0,
        terminal=jnp.array([False, False, True]),
    )
    value = jnp.array([-5000.0, -4000.0, 0.0])
    # exp(-5000) is 0 in any format; log(0.5 e^-5000 + 0.5 e^-4000) is -4000 - log 2.
    np.testing.assert_allclose(max_plus_backup(mdp, value)[0], -4001 - np.log(2), rtol=1e-6)


@EACH
def test_jit_vmap_and_dtype(name, random_mdp):
    mdp = random_mdp(1, dtype=np.float32)
    values = jax.random.normal(jax.random.key(0), (4, 6))
    many = jax.vmap(lambda v: jitted(name)(mdp, v))(values)
    assert many.dtype == jnp.float32
    for value, got in zip(values, many, strict=True):
        np.testing.assert_allclose(BACKUPS[name](mdp, value), got, rtol=1e-5, atol=1e-6)


def test_bad_policy(random_mdp):
    mdp = random_mdp(1, dtype=np.float32)
    with pytest.raises(ValueError, match=r"policy: got shape \(6, 2\)"):
        evaluation_backup(mdp, jnp.zeros((6, 2)), jnp.zeros(6))
    with pytest.raises(ValueError, match=r"policy: got shape \(5,\) and dtype int32"):
        evaluation_backup(mdp, jnp.zeros(5, int), jnp.zeros(6))
