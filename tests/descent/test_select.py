import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import select, select_soft, select_top, shift_plan

CANDIDATES = {"x": jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, jnp.nan], [4.0, 4.0]])}


def test_the_least_finite_objective_wins():
    best = select(CANDIDATES, jnp.array([3.0, 2.0, -9.0, jnp.nan]))
    assert (int(best.index), float(best.objective)) == (1, 2.0)
    np.testing.assert_array_equal(best.value["x"], [2, 2])
    two = select_top(CANDIDATES, jnp.array([3.0, 2.0, -9.0, jnp.nan]), 2)
    np.testing.assert_array_equal(two.index, [1, 0])


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_not_finite_never_wins(bad):
    fine = jnp.arange(3.0)
    assert int(select(fine, jnp.array([bad, 1.0, bad])).index) == 1
    assert select_soft(fine, jnp.array([bad, 1.0, bad]), temperature=0.1) == 1
    lost = select(fine, jnp.full(3, bad))
    assert np.isposinf(lost.objective)
    assert np.isnan(select_soft(fine, jnp.full(3, bad), temperature=1.0))


def test_soft_selection_is_the_weighted_mean_and_has_gradients(x64):
    points, objectives = jnp.array([0.0, 1.0, jnp.nan]), jnp.array([1.0, 2.0, 0.0])
    weight = 1 / (1 + np.exp(1 / 0.7))
    got = select_soft(points, objectives, temperature=0.7)
    np.testing.assert_allclose(got, weight)
    gradient = jax.grad(lambda o: select_soft(points, o, temperature=0.7))(objectives)
    slope = weight * (1 - weight) / 0.7
    np.testing.assert_allclose(gradient, [slope, -slope, 0], rtol=1e-12)
    all_lost = jax.grad(lambda o: select_soft(points, o, temperature=0.7))(jnp.full(3, jnp.nan))
    np.testing.assert_array_equal(all_lost, 0)


def test_soft_selection_becomes_the_best():
    points = {"a": jnp.arange(6.0).reshape(3, 2)}
    objectives = jnp.array([0.3, 0.1, 0.2])
    soft = select_soft(points, objectives, temperature=1e-4)
    np.testing.assert_allclose(soft["a"], select(points, objectives).value["a"])


def test_vmap_equals_loop():
    objectives = jax.random.normal(jax.random.key(0), (4, 3))
    points = jnp.arange(3.0)
    many = jax.vmap(lambda o: select(points, o))(objectives)
    np.testing.assert_array_equal(many.index, objectives.argmin(-1))


def test_a_plan_is_shifted():
    plan = {"x": jnp.arange(4.0), "y": jnp.arange(8.0).reshape(4, 2)}
    later = shift_plan(plan, 3)
    np.testing.assert_array_equal(later["x"], [3, 3, 3, 3])
    np.testing.assert_array_equal(shift_plan(plan)["y"], [[2, 3], [4, 5], [6, 7], [6, 7]])
    np.testing.assert_array_equal(shift_plan(plan, 0)["x"], plan["x"])


def test_mistakes_get_advice():
    with pytest.raises(ValueError, match="expected one objective"):
        select(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(ValueError, match="expected one objective"):
        select(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="num is 4, expected 1 to 3"):
        select_top(jnp.zeros(3), jnp.zeros(3), 4)
    with pytest.raises(ValueError, match="temperature: got 0"):
        select_soft(jnp.zeros(3), jnp.zeros(3), temperature=0)
    with pytest.raises(ValueError, match="steps is 5, expected 0 to 4"):
        shift_plan(jnp.zeros(4), 5)
