import sys

import jax
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env

from jplan.descent import AbstractActionSpace
from jplan.envs import crash_gridworld, maze, path_world, spaceship, to_gymnasium


def compiled(world):
    return world.replace(
        reset_fn=jax.jit(world.reset_fn),
        step_fn=jax.jit(world.step_fn),
        observe_fn=jax.jit(world.observe_fn),
    )


def one_hot(action):
    return np.eye(4, dtype=np.float32)[action]


WORLDS = {
    "crash_gridworld": compiled(crash_gridworld(8)),
    "path_world": compiled(path_world(lambda key: maze(key, 5), max_steps=9, moves=4)),
    "spaceship": compiled(spaceship()),
}


@pytest.mark.parametrize("name", WORLDS)
# Observations of floats have no bounds.
@pytest.mark.filterwarnings("ignore:.*A Box observation space m:UserWarning")
def test_the_checker_of_gymnasium_is_content(name):
    check_env(to_gymnasium(WORLDS[name]), skip_render_check=True)


@pytest.mark.parametrize("name", WORLDS)
def test_episodes_are_those_of_the_world(name):
    world = WORLDS[name]
    env = to_gymnasium(world)
    env.action_space.seed(0)
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        again, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(observation, again)
        state = world.reset_fn(jax.random.key(int(seeding.np_random(seed)[0].integers(2**31))))
        num_steps, is_over = 0, False
        while not is_over:
            action = env.action_space.sample()
            observation, reward, terminated, truncated, info = env.step(action)
            if isinstance(action, dict):
                action["signal"] = one_hot(action["signal"])
            else:
                action = one_hot(action)
            state, expected, discount = world.step_fn(None, state, action)
            np.testing.assert_array_equal(observation, world.observe_fn(state))
            assert (reward, info["discount"]) == (float(expected), float(discount))
            num_steps += 1
            assert terminated is (discount == 0).item()
            assert truncated is (num_steps == world.max_steps)
            is_over = terminated or truncated
            observation[...] = 0  # the caller's own


def test_spaces_are_translated():
    env = to_gymnasium(WORLDS["spaceship"])
    assert env.action_space == spaces.Dict(
        {"signal": spaces.Discrete(4), "thrust": spaces.Box(-0.5, 0.5, (2,), np.float32)}
    )
    shown = lambda observe: (
        to_gymnasium(WORLDS["spaceship"].replace(observe_fn=observe)).observation_space
    )
    both = shown(lambda state: {"fast": state.velocity > 1, "steps": state.velocity.astype(int)})
    assert both["fast"] == spaces.Box(0, 1, (2,), bool)
    assert both["steps"].dtype == np.int32
    with pytest.raises(ValueError, match="got SpaceshipState, expected an array"):
        shown(lambda state: state)


def test_a_step_needs_a_running_episode():
    env = to_gymnasium(WORLDS["crash_gridworld"].replace(max_steps=1))
    with pytest.raises(ValueError, match="after 0 steps"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ValueError, match="after 1 steps, expected up to 1"):
        env.step(0)


def test_other_action_spaces_are_refused():
    class Other(AbstractActionSpace):
        sample = decode = project = quantise = imitation_loss = None

    with pytest.raises(ValueError, match="got Other, expected a Simplex"):
        to_gymnasium(WORLDS["spaceship"].replace(action_space=Other()))


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"jplan\[gym\]"):
        to_gymnasium(WORLDS["spaceship"])
