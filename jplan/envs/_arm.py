"""A planar arm with two joints among obstacles, and its configuration space, a torus."""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jplan._typing import Array
from jplan.envs._components import largest_component
from jplan.envs._grid_tasks import GridTask, check_single_key, random_free_cell

_MOST = 5  # obstacles
_CORNERS = 7  # of a polygon, at most
_MAX_DRAWS = 16

Obstacles: TypeAlias = Literal["polygons", "discs"]

# key, number of draws so far, world, its configuration map and the largest component of that
_State: TypeAlias = tuple[Array, Array, "ArmWorld", Array, Array]


@struct.dataclass(kw_only=True)
class ArmWorld:
    """A square workspace with obstacles, and a two-link arm at its centre.

    Lengths are in the unit of the workspace; positions are ``(y, x)``.

    Attributes:
      corners: [N, V, 2], the corners of N polygons in order; a polygon of fewer corners repeats its
        last one.
      centres: [M, 2], of M discs.
      radii: [M], of the discs; a negative one stands for no disc.
      present: bool [N], whether each polygon is there.
      side: static, of the workspace; the arm stands at ``(side / 2, side / 2)``.
      link: static, length of each of the two links.

    Example:
      >>> world = arm_world(jax.random.key(0))
      >>> world.corners.shape, world.side
      ((5, 7, 2), 10.0)
    """

    corners: Array
    centres: Array
    radii: Array
    present: Array
    side: float = struct.field(pytree_node=False, default=10.0)
    link: float = struct.field(pytree_node=False, default=2.1)


def arm_world(key: Array, *, obstacles: Obstacles = "polygons") -> ArmWorld:
    """Draw obstacles around the arm.

    The workspace is 10 x 10, the links are 2.1 long, and there are N ~ U{0 .. 5} obstacles.
    Polygons: each in another of five equal sectors, its centre at a distance r ~ U(2.5, 5) from
    the base, with 4 to 7 corners at uniform angles, sorted, and at distances U(0.3, 1) (r - 1.75)
    from its centre. Discs: centre uniform in the workspace, radius ~ U(0.5, d - 1.5), where d is
    its distance from the base, so the disc keeps 1.5 from it; too close ones are left out.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      obstacles: static, "polygons" or "discs".

    Returns:
      `ArmWorld`, with no disc or no polygon.

    Raises:
      ValueError: if ``key`` is not a single key, or the kind of obstacles is unknown.

    Example:
      >>> world = arm_world(jax.random.key(0), obstacles="discs")
      >>> world.centres.shape, world.corners.shape
      ((5, 2), (0, 7, 2))

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 5, and the code released with it, for the polygons.

    Note:
      The law of the discs follows an independent reproduction of spatial planning transformers
      (Chaplot, Pathak and Malik 2021), scaled to this workspace.
    """
    check_single_key(key, "arm_world")
    if obstacles not in ("polygons", "discs"):
        raise ValueError(f"arm_world: got obstacles {obstacles!r}, expected 'polygons' or 'discs'")
    number_key, place_key, shape_key = jax.random.split(key, 3)
    number = jax.random.randint(number_key, (), 0, _MOST + 1, jnp.int32)
    present = jnp.arange(_MOST) < number
    uniform = functools.partial(jax.random.uniform, dtype=jnp.float32)
    if obstacles == "discs":
        centres = uniform(place_key, (_MOST, 2), maxval=10.0)
        largest = jnp.linalg.norm(centres - 5.0, axis=-1) - 1.5
        radii = 0.5 + uniform(shape_key, (_MOST,)) * (largest - 0.5)
        return ArmWorld(
            corners=jnp.zeros((0, _CORNERS, 2), jnp.float32),
            centres=centres,
            radii=jnp.where(present & (largest > 0.5), radii, -1.0),
            present=jnp.zeros(0, bool),
        )
    order_key, sector_key, distance_key = jax.random.split(place_key, 3)
    sectors = jax.random.permutation(order_key, _MOST).astype(jnp.float32)
    towards = (sectors + uniform(sector_key, (_MOST,))) * (2 * jnp.pi / _MOST)
    distance = uniform(distance_key, (_MOST, 1), minval=2.5, maxval=5.0)
    count_key, angle_key, reach_key = jax.random.split(shape_key, 3)
    count = jax.random.randint(count_key, (_MOST, 1), 4, _CORNERS + 1, jnp.int32)
    angles = uniform(angle_key, (_MOST, _CORNERS), maxval=2 * jnp.pi)
    # Sorted among those that count; the others come last and repeat the last that counts.
    angles = jnp.sort(jnp.where(jnp.arange(_CORNERS)[None] < count, angles, jnp.inf), axis=-1)
    last = jnp.minimum(jnp.arange(_CORNERS)[None], count - 1)
    reach = uniform(reach_key, (_MOST, _CORNERS), minval=0.3) * (distance - 1.75)
    angles, reach = (jnp.take_along_axis(x, last, axis=-1) for x in (angles, reach))
    centres = 5.0 + distance * _direction(towards)
    return ArmWorld(
        corners=centres[:, None] + reach[..., None] * _direction(angles),
        centres=jnp.zeros((0, 2), jnp.float32),
        radii=jnp.zeros(0, jnp.float32),
        present=present,
    )


def _direction(angle: Array) -> Array:
    """Unit vector ``(y, x)`` of an angle, counter-clockwise from the x axis; y points down."""
    return jnp.stack([-jnp.sin(angle), jnp.cos(angle)], axis=-1)


def arm_links(world: ArmWorld, angles: Array) -> Array:
    """Where the arm is.

    Args:
      world: whose base and link lengths count.
      angles: [..., 2] in radians; the first joint's from the x axis, the second joint's from the
        first link's direction.

    Returns:
      [..., 3, 2], the base, the elbow and the hand, ``(y, x)``.

    Example:
      >>> arm_links(arm_world(jax.random.key(0)), jnp.zeros(2)).round(1)
      Array([[5. , 5. ],
             [5. , 7.1],
             [5. , 9.2]], dtype=float32)
    """
    first, second = angles[..., 0], angles[..., 0] + angles[..., 1]
    elbow = world.side / 2 + world.link * _direction(first)
    hand = elbow + world.link * _direction(second)
    return jnp.stack([jnp.full_like(elbow, world.side / 2), elbow, hand], axis=-2)


def arm_configurations(world: ArmWorld, bins: int) -> Array:
    """Which configurations are free of collision.

    free(i, j) = no link meets an obstacle at the angles 2 pi i / bins and 2 pi j / bins

    The collision of a link, a segment without thickness, is exact. Bins are distinct, and both
    axes wrap around: the map is a torus.

    Args:
      world: one world.
      bins: static, of each angle.

    Returns:
      bool [bins, bins].

    Raises:
      ValueError: if ``bins`` is below 3 or the world is a batch.

    Example:
      >>> world = arm_world(jax.random.key(1))
      >>> arm_configurations(world, 18).shape
      (18, 18)

    Note:
      In the released code the first and the last bin are the same angle, on a map that wraps too.
    """
    _check_world(world, bins, "arm_configurations")
    turn = jnp.arange(bins, dtype=jnp.float32) * (2 * jnp.pi / bins)
    first, second = jnp.meshgrid(turn, turn, indexing="ij")
    links = arm_links(world, jnp.stack([first, second], axis=-1))
    base, elbow, hand = links[:1, :1, 0], links[:, :1, 1], links[:, :, 2]
    return ~(_meets(world, base, elbow) | _meets(world, elbow, hand))


def _meets(world: ArmWorld, start: Array, end: Array) -> Array:
    """Whether segments [I, J, 2] meet an obstacle, bool [I, J]; an axis of a start may be 1."""
    tail, head = world.corners[None, None], jnp.roll(world.corners, -1, axis=1)[None, None]
    p, q = start[:, :, None, None], end[:, :, None, None]  # against [1, 1, N, V]
    edge = head - tail
    apart = _cross(edge, p - tail) * _cross(edge, q - tail) > 0
    beyond = _cross(q - p, tail - p) * _cross(q - p, head - p) > 0
    # Of segments on one line nothing is apart or beyond; their boxes tell.
    least = jnp.maximum(jnp.minimum(p, q), jnp.minimum(tail, head))
    most = jnp.minimum(jnp.maximum(p, q), jnp.maximum(tail, head))
    is_near = jnp.all(least <= most, axis=-1) & jnp.any(edge != 0, axis=-1)
    crosses = jnp.any(~apart & ~beyond & is_near, axis=-1)
    # A segment that crosses no edge lies inside as a whole or not at all.
    y, x = start[:, :, None, 0], start[:, :, None, 1]
    is_in = _inside(world.corners[None, None], y, x)
    polygons = (crosses | is_in) & world.present[None, None]

    start, along, centres = start[:, :, None], (end - start)[:, :, None], world.centres[None, None]
    share = jnp.sum((centres - start) * along, axis=-1) / jnp.sum(along**2, axis=-1)
    nearest = start + jnp.clip(share, 0, 1)[..., None] * along
    gap = jnp.sum((centres - nearest) ** 2, axis=-1)
    radii = world.radii[None, None]
    discs = (gap <= radii**2) & (radii >= 0)
    return polygons.any(-1) | discs.any(-1)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _inside(corners: Array, y: Array, x: Array) -> Array:
    """Whether points are in polygons [..., V, 2], by the edges to their right.

    Coordinates broadcast against [...]; what depends on y alone is computed once for all x.
    """
    following, y, x = jnp.roll(corners, -1, axis=-2), y[..., None], x[..., None]
    spans = (corners[..., 0] > y) != (following[..., 0] > y)
    rise = following[..., 0] - corners[..., 0]
    share = (y - corners[..., 0]) / jnp.where(rise == 0, 1, rise)
    meets = corners[..., 1] + share * (following[..., 1] - corners[..., 1])
    right = jnp.where(spans, meets, -jnp.inf) > x
    return jnp.sum(right, axis=-1) % 2 == 1


def arm_image(world: ArmWorld, *, size: int = 96) -> Array:
    """Picture of the workspace, 1 where an obstacle covers the centre of a pixel.

    Args:
      world: one world.
      size: static, pixels a side.

    Returns:
      float32 [size, size, 1].

    Raises:
      ValueError: if ``size`` is below 1 or the world is a batch.

    Example:
      >>> arm_image(arm_world(jax.random.key(0))).shape
      (96, 96, 1)
    """
    _check_world(world, size, "arm_image", least=1)
    ticks = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (world.side / size)
    y, x = ticks[:, None, None], ticks[None, :, None]
    polygons = _inside(world.corners[None, None], y, x) & world.present[None, None]
    down, across = world.centres[None, None, :, 0], world.centres[None, None, :, 1]
    gap = (y - down) ** 2 + (x - across) ** 2
    discs = (gap <= world.radii[None, None] ** 2) & (world.radii[None, None] >= 0)
    covered = polygons.any(-1) | discs.any(-1)
    return covered[..., None].astype(jnp.float32)


def arm_task(
    key: Array, bins: int, *, obstacles: Obstacles = "polygons"
) -> tuple[ArmWorld, GridTask]:
    """Draw a world and a goal that some other configuration can reach.

    The goal is uniform in the largest set of free configurations that reach one another by single
    steps of one joint. A world in which that has fewer than two is drawn again.

    Args:
      key: one random key, consumed; use ``vmap`` over keys for a batch.
      bins: static, of each angle; the papers have 18 and 36.
      obstacles: static, see `arm_world`.

    Returns:
      The world, and the `GridTask` of its configuration map, a torus: plan on it with
      ``wrap=True``. After 16 rejected draws, which 18 bins do not need in practice, the last one is
      returned, with the goal (-1, -1) if no configuration is free.

    Raises:
      ValueError: as `arm_world` and `arm_configurations`.

    Example:
      >>> world, task = arm_task(jax.random.key(0), 18)
      >>> task.free.shape, bool(task.free[task.goal[0], task.goal[1]])
      ((18, 18), True)

    References: see `arm_world`.
    """
    check_single_key(key, "arm_task")
    draw_key, goal_key = jax.random.split(key)
    first = arm_world(draw_key, obstacles=obstacles)
    _check_world(first, bins, "arm_task")
    first = jax.tree.map(jnp.zeros_like, first)
    nothing = jnp.zeros((bins, bins), bool)
    state = draw_key, jnp.int32(0), first, nothing, nothing
    _, _, world, free, component = lax.while_loop(_is_rejected, _draw_again(bins, obstacles), state)
    return world, GridTask(free=free, goal=random_free_cell(goal_key, component))


def _is_rejected(state: _State) -> Array:
    _, num_draws, _, _, component = state
    return (component.sum() < 2) & (num_draws < _MAX_DRAWS)


# Cached, because an eager loop over a fresh closure is compiled anew at every call.
@functools.cache
def _draw_again(bins: int, obstacles: Obstacles) -> Callable[[_State], _State]:
    def step(state: _State) -> _State:
        key, num_draws, *_ = state
        world = arm_world(jax.random.fold_in(key, num_draws), obstacles=obstacles)
        free = arm_configurations(world, bins)
        return key, num_draws + 1, world, free, largest_component(free, wrap=True)

    return step


def arm_task_at(world: ArmWorld, bins: int, goal: Any) -> GridTask:
    """The task of a world and a goal of one's own; runs outside ``jit``.

    Args:
      world: one world.
      bins: of each angle.
      goal: bins (i, j) of the two angles.

    Returns:
      `GridTask` of the configuration map, a torus.

    Raises:
      ValueError: if the goal is off the map, in collision, or no other configuration reaches it.

    Example:
      >>> world = arm_world(jax.random.key(3))
      >>> arm_task_at(world, 18, (0, 0)).goal
      Array([0, 0], dtype=int32)
    """
    free = arm_configurations(world, bins)
    i, j = (int(bin_) for bin_ in goal)
    if not (0 <= i < bins and 0 <= j < bins):
        raise ValueError(f"arm_task_at: got goal {(i, j)}, expected two bins from 0 to {bins - 1}")
    if not free[i, j]:
        raise ValueError(
            f"arm_task_at: the goal {(i, j)} is in collision; take a configuration that is True in "
            "arm_configurations(world, bins)"
        )
    beside = [
        free[(i + di) % bins, (j + dj) % bins] for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    if not any(beside):
        raise ValueError(
            f"arm_task_at: no other configuration reaches the goal {(i, j)}; take one of "
            "largest_component(arm_configurations(world, bins), wrap=True)"
        )
    return GridTask(free=free, goal=jnp.array([i, j], jnp.int32))


def _check_world(world: ArmWorld, bins: int, name: str, least: int = 3) -> None:
    if world.corners.ndim != 3 or world.centres.ndim != 2:
        raise ValueError(f"{name}: got a batch of worlds, expected one; use jax.vmap({name})")
    if not isinstance(bins, int) or bins < least:
        what = "size" if least == 1 else "bins"
        raise ValueError(f"{name}: got {what} {bins!r}, expected a static integer from {least} on")
