import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.envs import maze, panorama

draw = jax.jit(maze, static_argnames="size")
look = jax.jit(panorama, static_argnames="size")
SKY = [158, 189, 219]
AHEAD = [(-1, 0), (0, -1), (1, 0), (0, 1)]


def depth_by_marching(free, cell, heading, slope):
    """Depth of the first wall along a ray, found by small steps."""
    ahead = np.array(AHEAD[heading], float)
    right = np.array(AHEAD[(heading + 3) % 4], float)  # E is to the right of N
    step, at, depth = 1e-3, np.array(cell, float) + 0.5, 0.0
    while True:
        depth += step
        y, x = np.floor(at + depth * (ahead + slope * right)).astype(int)
        if not (0 <= y < free.shape[0] and 0 <= x < free.shape[1]) or not free[y, x]:
            return depth


def test_the_sky_ends_where_the_wall_begins():
    size, half = 16, np.tan(np.deg2rad(30))
    free = np.asarray(draw(jax.random.key(3), size=11).free)
    views = np.asarray(look(free, size=size))
    slopes = half * (2 * (np.arange(size) + 0.5) / size - 1)
    seen = 0
    for cell in np.argwhere(free)[::7]:
        for heading in range(4):
            for column in range(0, size, 3):
                depth = depth_by_marching(free, cell, heading, slopes[column])
                picture = views[(*cell, heading)][:, column]
                is_sky = (picture == SKY).all(-1)
                margin = -slopes * depth - 0.5  # how far above the wall's top a row looks
                clear = np.abs(margin) > 3e-3
                np.testing.assert_array_equal(is_sky[clear], (margin > 0)[clear])
                seen += 1
    assert seen > 100


def test_the_views_of_a_turned_map_are_the_views():
    free = np.asarray(draw(jax.random.key(1), size=9).free)[:, :7]
    turned = look(np.rot90(free), size=12)
    np.testing.assert_array_equal(turned, np.roll(np.rot90(look(free, size=12)), 1, axis=2))


def test_nearer_walls_are_brighter_and_walls_see_nothing():
    free = jnp.zeros((3, 9), bool).at[1, 1:8].set(True)
    views = np.asarray(look(free, size=8)).astype(int)
    assert views.dtype == int
    assert (views[~np.asarray(free)] == 0).all()
    middle = views[1, 1:8, 3, 3:5, 3:5].mean((1, 2, 3))  # the end of the corridor, to the east
    assert middle[-1] > 1.5 * middle[0]
    assert (views[1, 4, 0] != views[1, 4, 3]).any()


def test_double_precision_changes_nothing(x64):
    free = np.asarray(draw(jax.random.key(1), size=9).free)
    views = look(free, size=8)
    with jax.enable_x64(False):
        np.testing.assert_array_equal(views, look(free, size=8))
    assert views.dtype == jnp.uint8


@pytest.mark.parametrize(
    ("free", "options", "message"),
    [
        (jnp.ones((3, 3)), {}, r"compare \(free > 0.5\)"),
        (jnp.ones((2, 3, 3), bool), {}, r"jax.vmap\(panorama\)"),
        (jnp.ones((3, 3), bool), {"size": 0}, "size 0"),
        (jnp.ones((3, 3), bool), {"field_of_view": 180.0}, "between 0 and 180"),
    ],
)
def test_mistakes_get_advice(free, options, message):
    with pytest.raises(ValueError, match=message):
        panorama(free, **options)
