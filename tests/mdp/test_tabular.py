import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.mdp import TabularMDP, action_values, reachable, value_iteration

# 0 --go--> 1 --go--> 2 (terminal); "stay" stays.
STAY, GO = 0, 1
CHAIN = TabularMDP(
    transition=jnp.array([[[1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0]]])
    * 1.0,
    reward=jnp.array([[0.0, -1.0], [0.5, 4.0], [9.0, 9.0]]),
    discount=0.5,
    terminal=jnp.array([False, False, True]),
)


def test_action_values_by_hand():
    q = action_values(CHAIN, jnp.array([2.0, 6.0, 100.0]))
    np.testing.assert_array_equal(q, [[1, 2], [3.5, 4], [0, 0]])


def test_terminal_states_are_worth_nothing_and_earn_nothing():
    np.testing.assert_allclose(value_iteration(CHAIN).value, [1, 4, 0], rtol=1e-5)


def test_masked_action_is_never_taken():
    masked = CHAIN.replace(action_mask=jnp.array([[1, 1], [1, 0], [1, 1]]) > 0)
    np.testing.assert_allclose(value_iteration(masked).value, [0, 1, 0], rtol=1e-4)
    assert action_values(masked, jnp.zeros(3))[1, GO] == -jnp.inf


def test_state_without_action_is_reported_and_so_is_what_must_lead_there():
    # From 0 one can only go to 1, which has no action; 2 may go to 1 but need not.
    mdp = TabularMDP(
        transition=jnp.array([[[0, 1, 0.0]] * 2, [[0, 1, 0.0]] * 2, [[0, 0, 1], [0, 0.5, 0.5]]]),
        reward=jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 50.0]]),
        discount=0.5,
        action_mask=jnp.array([[1, 0], [0, 0], [1, 1]]) > 0,
    )
    value = value_iteration(mdp).value
    np.testing.assert_allclose(value, [-np.inf, -np.inf, 2], rtol=1e-4)
    np.testing.assert_array_equal(reachable(value), [False, False, True])
    np.testing.assert_allclose(
        action_values(mdp, value), [[-np.inf] * 2, [-np.inf] * 2, [2, -np.inf]], rtol=1e-4
    )
    gradient = jax.grad(lambda m: value_iteration(m).value[2], allow_int=True)(mdp)
    np.testing.assert_allclose(gradient.reward, [[0, 0], [0, 0], [2, 0]], rtol=1e-4)
    assert np.isfinite(gradient.transition).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_dtype_follows_the_tables(dtype, random_mdp, x64):
    mdp = random_mdp(0, dtype=dtype)
    assert mdp.dtype == dtype
    assert action_values(mdp, jnp.zeros(6, dtype)).dtype == dtype
    solution = value_iteration(mdp)
    assert solution.value.dtype == dtype
    want = value_iteration(random_mdp(0)).value
    np.testing.assert_allclose(
        solution.value.astype(float), want, rtol=50 * float(jnp.finfo(dtype).eps) ** 0.75, atol=0.1
    )


def test_is_a_pytree_that_vmap_and_grad_rebuild(random_mdp):
    mdps = [random_mdp(seed, dtype=np.float32, discount=jnp.float32(0.8)) for seed in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *mdps)
    values = jax.vmap(lambda m: value_iteration(m).value)(batch)
    for mdp, value in zip(mdps, values, strict=True):
        np.testing.assert_allclose(value_iteration(mdp).value, value, rtol=1e-5)
    sweep = lambda g: value_iteration(mdps[0].replace(discount=g)).value
    assert jax.vmap(sweep)(jnp.array([0.1, 0.5])).shape == (2, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": jnp.zeros(3)}, r"reward: got shape \(3,\), expected \[S, A\]"),
        ({"reward": jnp.zeros((0, 2))}, r"at least one state"),
        ({"transition": jnp.zeros((3, 3, 2))}, r"transition: got shape \(3, 3, 2\)"),
        ({"terminal": jnp.zeros(2, bool)}, r"terminal: got shape \(2,\), expected \(3,\)"),
        ({"terminal": jnp.zeros(3)}, "terminal: got dtype float32, expected bool"),
        ({"action_mask": jnp.zeros((3, 2), int)}, "action_mask: got dtype int32"),
        ({"discount": 1.5}, r"discount: got 1.5, expected a number in \[0, 1\]"),
        ({"discount": jnp.zeros(2)}, r"discount: got shape \(2,\)"),
    ],
)
def test_bad_problem(change, message):
    with pytest.raises(ValueError, match=message):
        value_iteration(dataclasses.replace(CHAIN, **change))


def test_bad_value():
    with pytest.raises(ValueError, match=r"value: got shape \(2,\), expected \(3,\)"):
        action_values(CHAIN, jnp.zeros(2))
