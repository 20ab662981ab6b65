import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.path import Path

from jplan.envs import (
    arm_configurations,
    arm_image,
    arm_links,
    arm_task,
    arm_task_at,
    arm_world,
    largest_component,
)
from jplan.testing import dijkstra_distances

draw_world = jax.jit(arm_world, static_argnames="obstacles")
find_free = jax.jit(arm_configurations, static_argnums=1)
draw_image = jax.jit(arm_image, static_argnames="size")


def covered(world, points):
    """Whether points [..., 2] are in an obstacle, by matplotlib's paths and by distances."""
    flat, inside = (
        np.asarray(points, np.float64).reshape(-1, 2),
        np.zeros(points[..., 0].size, bool),
    )
    for corners, present in zip(world.corners, world.present, strict=True):
        inside |= bool(present) & Path(np.asarray(corners)).contains_points(flat)
    for centre, radius in zip(world.centres, world.radii, strict=True):
        inside |= np.linalg.norm(flat - np.asarray(centre), axis=-1) <= float(radius)
    return inside.reshape(points.shape[:-1])


@pytest.mark.parametrize("obstacles", ["polygons", "discs"])
def test_collisions_are_those_of_points_along_the_links(obstacles):
    bins, blocked, wrong = 24, 0, 0
    share = np.linspace(0, 1, 400)[:, None]
    angles = np.stack(np.meshgrid(*[np.arange(bins) * 2 * np.pi / bins] * 2, indexing="ij"), -1)
    for seed in range(12):
        world = draw_world(jax.random.key(seed), obstacles=obstacles)
        free = np.asarray(find_free(world, bins))
        joints = np.asarray(arm_links(world, jnp.asarray(angles, jnp.float32)))[:, :, None]
        links = [joints[:, :, :, k] * (1 - share) + joints[:, :, :, k + 1] * share for k in (0, 1)]
        met = covered(world, np.concatenate(links, axis=2)).any(-1)
        assert not (met & free).any()  # what points see, the exact test sees
        wrong += (~met & ~free).sum()  # it also sees corners that slip between points
        blocked += (~free).sum()
    assert blocked > 200
    assert wrong <= 0.01 * blocked


def test_a_link_on_the_line_of_an_edge_is_free_until_it_gets_there():
    square = jnp.array([[5.0, 8.0], [5.0, 9.0], [6.0, 9.0], [6.0, 8.0]])
    corners = jnp.concatenate([square, jnp.repeat(square[-1:], 3, axis=0)])[None]
    world = dataclasses.replace(
        arm_world(jax.random.key(0)), corners=corners, present=jnp.ones(1, bool)
    )
    free = np.asarray(arm_configurations(world, 4))  # links along the axes
    # Stretched to the east the hand is in the square; all else stops short of it.
    expected = np.ones((4, 4), bool)
    expected[0, 0] = False
    np.testing.assert_array_equal(free, expected)


def test_the_law_of_the_polygons():
    worlds = jax.jit(jax.vmap(arm_world))(jax.random.split(jax.random.key(0), 2000))
    number = np.bincount(worlds.present.sum(1), minlength=6) / 2000
    np.testing.assert_allclose(number, 1 / 6, atol=0.04)
    distance = np.linalg.norm(np.asarray(worlds.corners) - 5, axis=-1)
    assert distance.min() >= 1.75 - 1e-4  # the base is always free
    assert distance.max() <= 5 + 3.25
    corners = [len(np.unique(np.asarray(c), axis=0)) for c in worlds.corners.reshape(-1, 7, 2)]
    counts = np.bincount(corners, minlength=8)[4:] / len(corners)
    np.testing.assert_allclose(counts, 1 / 4, atol=0.02)


def test_discs_stay_away_from_the_base():
    draw = jax.jit(jax.vmap(lambda key: arm_world(key, obstacles="discs")))
    worlds = draw(jax.random.split(jax.random.key(0), 2000))
    there = np.asarray(worlds.radii) >= 0
    gap = np.linalg.norm(np.asarray(worlds.centres) - 5, axis=-1) - np.asarray(worlds.radii)
    assert gap[there].min() >= 1.5 - 1e-4
    assert np.asarray(worlds.radii)[there].min() >= 0.5


def test_the_map_is_a_torus_of_distinct_angles():
    world = draw_world(jax.random.key(2))
    fine, coarse = find_free(world, 36), find_free(world, 18)
    np.testing.assert_array_equal(fine[::2, ::2], coarse)
    last = arm_links(world, jnp.full(2, 35 * 2 * jnp.pi / 36))
    assert np.abs(last - arm_links(world, jnp.zeros(2))).max() > 0.3
    turned = arm_links(world, jnp.array([2 * jnp.pi, -2 * jnp.pi]))
    np.testing.assert_allclose(turned, arm_links(world, jnp.zeros(2)), atol=1e-5)


def test_every_task_can_be_solved_from_somewhere_else():
    draw = jax.jit(jax.vmap(lambda key: arm_task(key, 12)))
    worlds, tasks = draw(jax.random.split(jax.random.key(3), 60))
    component_of = jax.jit(lambda free: largest_component(free, wrap=True))
    assert worlds.corners.shape == (60, 5, 7, 2)
    for free, goal in zip(np.asarray(tasks.free), np.asarray(tasks.goal), strict=True):
        distance = dijkstra_distances(free, goal, moves=4, corner_cutting=True, wrap=True)
        assert np.isfinite(distance).sum() >= 2
        np.testing.assert_array_equal(np.isfinite(distance), component_of(free))


def test_double_precision_changes_nothing(x64):
    draw = jax.jit(lambda key: arm_task(key, 18))
    world, task = draw(jax.random.key(5))
    with jax.enable_x64(False):
        other, same = draw(jax.random.key(5))
    np.testing.assert_array_equal(task.free, same.free)
    np.testing.assert_array_equal(task.goal, same.goal)
    assert world.corners.dtype == other.corners.dtype == jnp.float32


@pytest.mark.parametrize("obstacles", ["polygons", "discs"])
def test_the_image_shows_the_obstacles(obstacles):
    ticks = (np.arange(40) + 0.5) / 4
    pixels = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1)
    seen = 0
    for seed in range(6):
        world = draw_world(jax.random.key(seed), obstacles=obstacles)
        image = draw_image(world, size=40)
        assert image.dtype == jnp.float32
        np.testing.assert_array_equal(image[..., 0], covered(world, pixels))
        seen += int(image.sum())
    assert seen > 100


def all_blocked():
    """A disc on the base."""
    world = arm_world(jax.random.key(0), obstacles="discs")
    return dataclasses.replace(
        world,
        centres=jnp.array([[5.0, 5.0]] * 5),
        radii=jnp.array([1.0, -1, -1, -1, -1]),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arm_world(jax.random.key(0), obstacles="boxes"), "'polygons' or 'discs'"),
        (lambda: arm_world(jax.random.split(jax.random.key(0))), "single key"),
        (lambda: arm_configurations(arm_world(jax.random.key(0)), 2), "from 3 on"),
        (lambda: arm_image(arm_world(jax.random.key(0)), size=0), "size 0"),
        (lambda: arm_task_at(all_blocked(), 18, (0, 0)), r"\(0, 0\) is in collision"),
        (lambda: arm_task_at(arm_world(jax.random.key(0)), 18, (18, 0)), "from 0 to 17"),
    ],
)
def test_mistakes_get_advice(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_goal_that_nothing_reaches_gets_advice():
    # Discs at the hand's neighbours on the circle that it moves on, and a goal between them.
    world = arm_world(jax.random.key(0), obstacles="discs")
    hand = lambda i, j: arm_links(world, jnp.array([i, j]) * 2 * jnp.pi / 12)[2]
    beside = jnp.stack([hand(1, 0), hand(11, 0), hand(0, 1), hand(0, 11)])
    world = dataclasses.replace(world, centres=beside, radii=jnp.full(4, 0.2))
    assert arm_configurations(world, 12)[0, 0]
    with pytest.raises(ValueError, match=r"no other configuration reaches the goal \(0, 0\)"):
        arm_task_at(world, 12, (0, 0))
