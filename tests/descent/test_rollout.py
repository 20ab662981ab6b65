import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import rollout


def swing(params, state, action):
    """A pendulum without bounds; ends beyond a given angle."""
    angle, speed = state["angle"], state["speed"]
    speed = speed + params["step"] * (action[0] - jnp.sin(angle))
    angle = angle + params["step"] * speed
    reward = -(angle**2) - 0.1 * speed**2
    return {"angle": angle, "speed": speed}, reward, jnp.where(jnp.abs(angle) > 1, 0.0, 0.9)


def test_a_rollout_is_the_loop(x64):
    params, state = {"step": 0.5}, {"angle": jnp.float64(0.4), "speed": jnp.float64(0.0)}
    actions = jnp.linspace(-1.0, 4.0, 8)[:, None]
    out = rollout(swing, params, state, actions)
    total, weight, here = 0.0, 1.0, state
    for t, action in enumerate(actions):
        here, reward, discount = swing(params, here, action)
        total, weight = total + weight * reward, weight * discount
        np.testing.assert_allclose(out.states["angle"][t + 1], here["angle"], rtol=1e-12)
        np.testing.assert_allclose(out.rewards[t], reward, rtol=1e-12)
        assert out.discounts[t] == discount
    np.testing.assert_allclose(out.total, total, rtol=1e-12)
    assert (out.discounts == 0).any(), "the episode should end"
    gradient = jax.grad(lambda a: rollout(swing, params, state, a).total)(actions)
    for t in (0, 3):
        shift = jnp.zeros_like(actions).at[t].set(1e-6)
        up, down = (rollout(swing, params, state, actions + s).total for s in (shift, -shift))
        np.testing.assert_allclose(gradient[t, 0], (up - down) / 2e-6, rtol=1e-5)


def test_what_follows_an_end_need_not_be_finite():
    fall = lambda speed, x, u: (x - speed * u, jnp.log(x), jnp.where(x > speed, 0.5, 0.0))
    run = lambda speed: rollout(fall, speed, jnp.float32(2.5), jnp.ones(4))
    out = run(1.0)
    assert out.discounts.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert not np.isfinite(out.rewards[3]), "the model should be lost behind the end"
    np.testing.assert_allclose(
        out.total, np.log(2.5) + np.log(1.5) / 2 + np.log(0.5) / 4, rtol=1e-5
    )
    assert not np.isfinite(rollout(fall, 1.0, jnp.float32(-1.0), jnp.ones(1)).total)
    lost = lambda p, x, u: (x, u, jnp.where(u < 2, u - 1, jnp.nan))
    assert rollout(lost, None, jnp.float32(0.0), jnp.array([1.0, 2.0, 3.0])).total == 1.0
    # A discount of 0 still has its slope, by the rewards that it holds back.
    held = lambda discount: (
        rollout(lambda d, x, u: (x, u, d), discount, jnp.float32(0.0), jnp.array([1.0, 3.0])).total
    )
    assert jax.grad(held)(0.0) == 3.0


def test_rewards_that_are_whole_numbers_do_not_truncate_discounts():
    out = rollout(lambda p, x, u: (x + u, 1, 0.5), None, jnp.float32(0.0), jnp.ones(3))
    assert out.discounts.tolist() == [0.5, 0.5, 0.5]
    assert out.total == 1.75


def test_mistakes_of_a_model_get_advice():
    state, actions = jnp.zeros(2), jnp.zeros((3, 2))
    run = lambda model: rollout(model, None, state, actions)
    with pytest.raises(ValueError, match="expected \\(next_state, reward, discount\\)"):
        run(lambda p, s, a: (s, 0.0))
    with pytest.raises(ValueError, match="expected the same form and dtype"):
        run(lambda p, s, a: (s[:1], 0.0, 1.0))
    with pytest.raises(ValueError, match="expected the same form and dtype"):
        run(lambda p, s, a: (s > 0, 0.0, 1.0))
    with pytest.raises(ValueError, match="expected scalars"):
        run(lambda p, s, a: (s, s, 1.0))
    with pytest.raises(ValueError, match="the action space decides"):
        run(lambda p, s, a: (s + jnp.zeros(5), 0.0, 1.0))
