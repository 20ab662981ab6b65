import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jplan as jp
from jplan.descent import rollout
from jplan.envs import SpaceshipState, spaceship

WORLD = spaceship()


def random_episode(key):
    first, second = jax.random.split(key)
    space = WORLD.action_space
    actions = space.quantise(space.sample(second, (WORLD.max_steps,)))
    return actions, rollout(WORLD.step_fn, None, WORLD.reset_fn(first), actions)


@pytest.fixture(scope="module")
def episodes():
    drawn = jax.jit(jax.vmap(random_episode))(jax.random.split(jax.random.key(0), 4000))
    return jax.tree.map(np.asarray, drawn)


@pytest.fixture
def state():
    """At rest on the first waypoint, 60 from a planet of radius 30."""
    places = jnp.array([[0.0, 0.0], [90.0, 90.0], [-90.0, -90.0]])
    return SpaceshipState(
        position=places[0],
        velocity=jnp.zeros(2),
        ship_radius=jnp.float32(5.0),
        waypoints=places,
        waypoint_radii=jnp.full(3, 12.0),
        planet=jnp.array([0.0, 60.0]),
        planet_radius=jnp.float32(30.0),
    )


def test_random_actions_earn_what_they_earn_in_the_paper(episodes):
    assert episodes[1].total.mean() == pytest.approx(-62.7, abs=1.5)


def reference(state, actions):
    """The appendix in NumPy, in double precision."""
    x, v = state.position.astype(float), state.velocity.astype(float)
    rewards, places = [], [x]
    for thrust, signal in zip(actions["thrust"], actions["signal"].argmax(-1), strict=True):
        d, r = state.planet - x, state.planet_radius
        force = 0.015 * 20 * r / max(np.linalg.norm(d), r) ** 2 * d
        x, v = x + 4 * v, v + 4 * (force - 0.1 * v + thrust)
        touched = [
            i
            for i in range(3)
            if np.linalg.norm(x - state.waypoints[i]) < state.waypoint_radii[i] + state.ship_radius
        ]
        assert len(touched) <= 1
        reward = -1.0 if np.linalg.norm(x - state.planet) < r + state.ship_radius else 0.0
        if signal != 3:
            reward += (1.0 if signal in touched else -1.0) if touched else -0.1
        rewards.append(reward)
        places.append(x)
    return np.array(rewards), np.array(places)


def test_episodes_are_those_of_the_reference(episodes):
    actions, out = episodes
    seen = set()
    for index in range(200):
        pick = lambda tree, index=index: jax.tree.map(lambda leaf: leaf[index], tree)
        first = jax.tree.map(lambda leaf: leaf[0], pick(out.states))
        rewards, places = reference(first, pick(actions))
        np.testing.assert_allclose(out.states.position[index], places, atol=2e-2)
        np.testing.assert_allclose(out.rewards[index], rewards, atol=1e-5)
        seen |= set(rewards.round(1))
    assert {1.0, 0.0, -0.1, -1.0, -1.1} <= seen
    assert (out.discounts == 1).all()


def test_first_states_overlap_nothing(episodes):
    first = jax.tree.map(lambda leaf: leaf[:, 0], episodes[1].states)
    radius = first.planet_radius
    far = lambda place: np.linalg.norm(place - first.planet, axis=-1)
    for place in (first.position, *first.waypoints.swapaxes(0, 1)):
        assert (far(place) > radius + 29.9).all()
        assert (far(place) < 145.1).all()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        gap = np.linalg.norm(first.waypoints[:, i] - first.waypoints[:, j], axis=-1)
        assert (gap > 2 * (12 + 5)).all()


@pytest.mark.parametrize(
    ("place", "signal", "expected"),
    [
        ((0, 0), 0, 1.0),
        ((0, 0), 1, -1.0),
        ((0, 0), 3, 0.0),
        ((-40, 0), 2, -0.1),
        ((0, 60), 3, -1.0),
        ((0, 30), 0, -1.1),
        ((90, 90), 1, 1.0),
    ],
)
def test_rewards(state, place, signal, expected):
    state = dataclasses.replace(state, position=jnp.array(place, jnp.float32))
    action = {"thrust": jnp.zeros(2), "signal": jnp.eye(4)[signal]}
    assert float(WORLD.step_fn(None, state, action)[1]) == pytest.approx(expected)


def test_a_relaxed_signal_earns_the_mean_of_its_parts(state):
    action = {"thrust": jnp.zeros(2), "signal": jnp.array([0.5, 0.2, 0.0, 0.3])}
    assert float(WORLD.step_fn(None, state, action)[1]) == pytest.approx(0.3)


def test_the_gradient_draws_to_the_waypoint_whose_colour_is_shown_and_off_the_planet(state):
    state = dataclasses.replace(state, position=jnp.array([-30.0, 0.0]))

    def earn(velocity, signal):
        moved = dataclasses.replace(state, velocity=velocity)
        return WORLD.step_fn(None, moved, {"thrust": jnp.zeros(2), "signal": signal})[1]

    shown = jax.grad(earn)(jnp.zeros(2), jnp.eye(4)[0])
    silent = jax.grad(earn)(jnp.zeros(2), jnp.eye(4)[3])
    assert shown[0] > 0
    assert (silent @ (state.planet - state.position)) < 0


def test_where_the_centres_meet_gradients_are_finite(state):
    state = dataclasses.replace(state, planet=jnp.zeros(2))
    action = {"thrust": jnp.zeros(2), "signal": jnp.full(4, 0.25)}
    slopes = jax.grad(lambda state, action: WORLD.step_fn(None, state, action)[1], (0, 1))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes(state, action)))


def test_gradient_plans_hold_the_ship_where_random_ones_do_not(state):
    state = dataclasses.replace(state, position=jnp.array([-25.0, 0.0]))
    plan = lambda num_steps: jp.gradient_plan(
        *(WORLD.step_fn, None, state, jax.random.key(0)),
        horizon=15,
        action_space=WORLD.action_space,
        num_steps=num_steps,
    )
    # On purpose the planner draws the same noise, of which there is none here, at every step.
    with jax.debug_key_reuse(False):
        planned, drawn = plan(20).hard_return, plan(0).hard_return
    assert planned > 5
    assert drawn < 2


def test_the_observation_is_the_paper_s_vector(state):
    seen = WORLD.observe_fn(dataclasses.replace(state, velocity=jnp.array([2.0, -3.0])))
    expected = [0, 0, 2, -3, 0.05, 0, 0, 0.12, 0.9, 0.9, 0.12, -0.9, -0.9, 0.12, 0, 0.6, 0.3]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_what_does_not_fit_is_refused(state, key):
    with pytest.raises(ValueError, match=r"expected \{'signal': \(4,\), 'thrust': \(2,\)\}"):
        WORLD.step_fn(None, state, {"thrust": jnp.zeros(2), "signal": jnp.int32(1)})
    with pytest.raises(ValueError, match="single key"):
        WORLD.reset_fn(jax.random.split(key, 2))
