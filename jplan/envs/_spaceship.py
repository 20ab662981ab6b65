"""A ship in a planet's gravity, steered by a thrust and a signal."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree
from jplan.descent import Box, Product, Simplex
from jplan.envs._grid_tasks import check_single_key
from jplan.envs._world import World
from jplan.relax import straight_through

# What the paper gives. The mass of the ship is 1.
_GRAVITY = 0.015
_PLANET_MASS = 20.0  # a unit of radius
_DAMPING = 0.1
_STEP = 4.0
_MAX_STEPS = 80

# What it leaves open. _FARTHEST is set so that random actions earn what they earn there.
_SHIP_RADIUS = 5.0
_WAYPOINT_RADIUS = 12.0
_PLANET_RADII = 20.0, 40.0
_PLANET_PLACE = 50.0  # largest coordinate of its centre
_CLEARANCE = 30.0
_FARTHEST = 145.0
_MAX_THRUST = 0.5
_THRUST_SCALE = 0.2
_SOFTNESS = 10.0
_UNIT = 100.0


@struct.dataclass(kw_only=True)
class SpaceshipState:
    """A ship, a planet and three waypoints.

    Positions are ``(y, x)``, all lengths in the paper's unit.

    Attributes:
      position: [2], of the ship's centre.
      velocity: [2], of the ship, a unit of time; a step is 4.
      ship_radius: [].
      waypoints: [3, 2], their centres; their colours are the signals 0, 1 and 2.
      waypoint_radii: [3].
      planet: [2], its centre.
      planet_radius: [].

    Example: see `spaceship`.
    """

    position: Array
    velocity: Array
    ship_radius: Array
    waypoints: Array
    waypoint_radii: Array
    planet: Array
    planet_radius: Array


def spaceship() -> World:
    """A ship that must signal the colour of the waypoint it touches, and keep off a planet.

    x <- x + 4 v;  v <- v + 4 (F - 0.1 v + u)
    F = 0.015 * 20 r_p (x_p - x) / max(|x_p - x|, r_p)^2
    reward = sum_i touch_i (2 c_i - sum_j c_j) - 0.1 (1 - sum_i touch_i) sum_j c_j - crash

    Here u is the thrust and c the colours of the signal, summed over three; so the right colour
    earns 1 at a waypoint, a wrong one -1, any colour elsewhere -0.1, and the planet -1 at every
    step that the ship overlaps it. Nothing ends the episode but its 80 steps.

    The state is a `SpaceshipState`. The observation is the paper's vector, [17]: the ship's
    position, velocity and radius, position and radius of each waypoint and of the planet; lengths
    are divided by 100. The action is a dictionary: ``thrust`` [2], in [-0.5, 0.5], and ``signal``
    [4], the three colours and silence, one-hot or relaxed. Random thrusts are normal with the
    standard deviation 0.2.

    Returns:
      `World`.

    Raises:
      ValueError: by ``step_fn``, if the action has another form; by ``reset_fn``, if its key is not
        a single key.

    Differentiability: the state, exactly. The reward jumps where the ship touches something: its
    value is exact, its gradient that of soft contacts, 0.5 (1 + z / (1 + |z|)) for an overlap of
    10 z, so that ships are drawn and pushed from afar.

    Example:
      >>> world = spaceship()
      >>> at, away = jnp.zeros(2), jnp.full(2, 90.0)
      >>> state = SpaceshipState(
      ...     position=at,
      ...     velocity=at,
      ...     ship_radius=jnp.float32(5.0),
      ...     waypoints=jnp.stack([at, away, -away]),
      ...     waypoint_radii=jnp.full(3, 12.0),
      ...     planet=jnp.array([0.0, 60.0]),
      ...     planet_radius=jnp.float32(30.0),
      ... )
      >>> action = {"thrust": jnp.array([0.0, -0.15]), "signal": jnp.array([1.0, 0.0, 0.0, 0.0])}
      >>> following, reward, _ = world.step_fn(None, state, action)
      >>> bool(abs(following.velocity).max() < 1e-6), float(reward)  # the thrust just holds it
      (True, 1.0)

    References: Henaff, Whitney & LeCun 2017, "Model-based planning with discrete and continuous
    actions", section 6.2 and appendix A.2.

    Note:
      The paper leaves open sizes, first states, the law of thrusts, and gravity inside the planet,
      which here falls to 0 at its centre. Ours: radii of 5 (ship), 12 (waypoints) and U(20, 40)
      (planet, its centre uniform in a square of side 100); ship, at rest, and waypoints are
      U(r_p + 30, 145) from the centre of the planet, a waypoint in each third of the turn, none
      overlapping. The distance 145 is chosen so that random actions earn what they earn in the
      paper, -62.7. The gravity is as printed there, and so falls with the distance, not with its
      square.
    """
    bound = jnp.full(2, _MAX_THRUST, jnp.float32)
    thrust = Box(-bound, bound, scale=_THRUST_SCALE)
    return World(
        reset_fn=_reset,
        step_fn=_step,
        observe_fn=_observe,
        action_space=Product({"signal": Simplex(4), "thrust": thrust}),
        max_steps=_MAX_STEPS,
    )


def _reset(key: Array) -> SpaceshipState:
    check_single_key(key, "reset_fn")
    size_key, planet_key, distance_key, angle_key = jax.random.split(key, 4)
    low, high = _PLANET_RADII
    radius = jax.random.uniform(size_key, (), jnp.float32, low, high)
    planet = jax.random.uniform(planet_key, (2,), jnp.float32, -_PLANET_PLACE, _PLANET_PLACE)
    nearest = radius + _CLEARANCE
    distance = jax.random.uniform(distance_key, (4,), jnp.float32, nearest, _FARTHEST)
    share = jax.random.uniform(angle_key, (5,), jnp.float32)
    # Parts of a turn: at least 0.4 / 3 between waypoints, so that no ship touches two.
    thirds = share[1] + (jnp.arange(3) + 0.6 * share[2:]) / 3
    angle = 2 * jnp.pi * jnp.append(share[0], thirds)
    direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    places = planet[None] + distance[:, None] * direction
    return SpaceshipState(
        position=places[0],
        velocity=jnp.zeros(2, jnp.float32),
        ship_radius=jnp.float32(_SHIP_RADIUS),
        waypoints=places[1:],
        waypoint_radii=jnp.full(3, _WAYPOINT_RADIUS, jnp.float32),
        planet=planet,
        planet_radius=radius,
    )


def _step(
    params: PyTree, state: SpaceshipState, action: PyTree
) -> tuple[SpaceshipState, Array, Array]:
    del params
    _check_action(action)
    action = jax.tree.map(lambda leaf: jnp.asarray(leaf, state.position.dtype), action)
    towards = state.planet - state.position
    squared = jnp.maximum(jnp.sum(towards**2), state.planet_radius**2)
    gravity = _GRAVITY * _PLANET_MASS * state.planet_radius / squared * towards
    acceleration = gravity - _DAMPING * state.velocity + action["thrust"]
    position = state.position + _STEP * state.velocity
    velocity = state.velocity + _STEP * acceleration
    overlap = _overlap(state, position)
    hard = _reward((overlap > 0).astype(overlap.dtype), action["signal"])
    z = overlap / _SOFTNESS
    reward = straight_through(hard, _reward(0.5 * (1 + z / (1 + jnp.abs(z))), action["signal"]))
    following = dataclasses.replace(state, position=position, velocity=velocity)
    return following, reward, jnp.ones_like(reward)


def _overlap(state: SpaceshipState, position: Array) -> Array:
    """How far the ship reaches into each waypoint and the planet, [4]; negative where it is off."""
    centres = jnp.concatenate([state.waypoints, state.planet[None]])
    radii = jnp.append(state.waypoint_radii, state.planet_radius)
    squared = jnp.sum((position[None] - centres) ** 2, axis=-1)
    # The distance has no gradient at 0.
    return radii + state.ship_radius - jnp.sqrt(jnp.maximum(squared, 1e-6))


def _reward(touch: Array, signal: Array) -> Array:
    at, crash = touch[:3], touch[3]
    colours = signal[:3]
    loud = jnp.sum(colours)
    return jnp.sum(at * (2 * colours - loud)) - 0.1 * (1 - jnp.sum(at)) * loud - crash


def _check_action(action: PyTree) -> None:
    expected = {"signal": (4,), "thrust": (2,)}
    got = jax.tree.map(jnp.shape, action)
    if got != expected:
        raise ValueError(
            f"action: got shapes {got}, expected {expected}; the world's action_space makes such"
        )


def _observe(state: SpaceshipState) -> Array:
    centres = jnp.concatenate([state.waypoints, state.planet[None]])
    radii = jnp.append(state.waypoint_radii, state.planet_radius)
    others = jnp.concatenate([centres, radii[:, None]], axis=-1) / _UNIT
    ship = state.position / _UNIT, state.velocity, state.ship_radius[None] / _UNIT
    return jnp.concatenate([*ship, others.ravel()])
