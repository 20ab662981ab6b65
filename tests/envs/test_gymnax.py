import sys

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.descent import rollout
from jplan.envs import crash_gridworld, from_gymnax, spaceship, to_gymnax


def test_a_world_of_gymnax_steps_as_gymnax_does_and_stays_at_the_end(key):
    env, params = gymnax.make("CartPole-v1")
    world = from_gymnax(env, params)
    assert world.max_steps == 500
    state = world.reset_fn(key)
    actions = jnp.eye(2)[jnp.ones(30, int)]
    out = jax.jit(lambda state: rollout(world.step_fn, None, state, actions))(state)

    inner, rewards, seen = state.inner, [], []
    is_over = False
    while not is_over:
        shown, inner, reward, is_over, _ = env.step_env(jax.random.key(1), inner, 1, params)
        rewards.append(float(reward))
        seen.append(np.asarray(shown))
    length = len(rewards)
    assert 5 < length < 15
    np.testing.assert_array_equal(out.rewards, rewards + [0] * (30 - length))
    np.testing.assert_array_equal(out.discounts, [1] * (length - 1) + [0] * (31 - length))
    shown = np.asarray(jax.vmap(world.observe_fn)(out.states))[1:]
    np.testing.assert_allclose(shown[:length], seen, rtol=1e-5)
    np.testing.assert_array_equal(shown[length:], np.stack([shown[length - 1]] * (30 - length)))


def test_the_noise_of_a_step_is_decided_by_the_state(key):
    world = from_gymnax(*gymnax.make("FrozenLake-misc"))
    state = world.reset_fn(key)
    south = jnp.eye(4)[1]
    once, again = (world.step_fn(None, state, south)[0] for _ in range(2))
    np.testing.assert_array_equal(once.observation, again.observation)
    seen = {
        tuple(np.asarray(jax.tree.leaves(end.observation)[0]).ravel())
        for end in (
            world.step_fn(None, world.reset_fn(k), south)[0]
            for k in jax.random.split(jax.random.key(7), 12)
        )
    }
    assert len(seen) > 1


@pytest.mark.parametrize("through", [True, False])
def test_gradients_pass_where_the_environment_lets_them(through, key):
    env, params = gymnax.make("Pendulum-v1")
    world = from_gymnax(env.with_transition_gradients() if through else env, params)
    state = world.reset_fn(key)
    earn = lambda actions: rollout(world.step_fn, None, state, actions).rewards[-1]
    slope = jax.grad(earn)(jnp.ones((3, 1)))
    # The last torque costs something by itself, the first by what it moves.
    assert slope[2] != 0
    assert (slope[0] != 0) == through


@pytest.mark.parametrize("make", [lambda: crash_gridworld(8), spaceship])
def test_gymnax_runs_our_worlds_and_begins_anew(make, key):
    world = make().replace(max_steps=3)
    env, params = to_gymnax(world)
    first, second = jax.random.split(key)
    shown, state = env.reset(first, params)
    assert env.observation_space(params).contains(shown)
    action = env.action_space(params).sample(second)
    if isinstance(action, dict):
        as_world = {**action, "signal": jax.nn.one_hot(action["signal"], 4)}
    else:
        as_world = jax.nn.one_hot(action, 4)
    inner = state.inner
    for step, step_key in enumerate(jax.random.split(jax.random.key(1), 3)):
        following, reward, discount = world.step_fn(None, inner, as_world)
        shown, state, *told = env.step(step_key, state, action, params)
        reward_told, terminated, truncated, info = told
        np.testing.assert_allclose(reward_told, reward, rtol=1e-6)
        np.testing.assert_allclose(
            info["final_observation"], world.observe_fn(following), rtol=1e-5, atol=1e-6
        )
        assert (bool(terminated), bool(truncated)) == (not discount, step == 2)
        inner = following
        if terminated:
            break
    assert state.time == 0
    np.testing.assert_array_equal(shown, world.observe_fn(state.inner))


def test_spaces_are_translated():
    env, _ = to_gymnax(spaceship())
    assert env.num_actions == 6
    assert env.action_space().spaces["signal"].n == 4
    assert to_gymnax(crash_gridworld(8))[0].num_actions == 4
    assert env.supports_transition_gradients


def test_unbounded_actions_are_refused():
    class Env:
        def action_space(self, params):
            return gymnax.environments.spaces.Box(-jnp.inf, jnp.inf, (2,))

    with pytest.raises(ValueError, match="finite bounds"):
        from_gymnax(Env(), None)


def test_without_gymnax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(ImportError, match=r"jplan\[gym\]"):
        to_gymnax(spaceship())
