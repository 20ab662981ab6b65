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
