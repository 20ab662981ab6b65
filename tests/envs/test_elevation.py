import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.envs import free_from_elevation, largest_component, load_jacksboro_elevation


def inclined(slope_y, slope_x, cell_size, shape=(5, 6)):
    """A plane that rises at the given angles in degrees."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    rise = np.tan(np.radians([slope_y, slope_x])) * cell_size
    return jnp.asarray(y * rise[0] + x * rise[1], jnp.float32)


@pytest.mark.parametrize("slopes", [(20.0, 0.0), (0.0, 20.0), (-20.0, 0.0)])
def test_planes_are_free_up_to_their_own_slope(slopes):
    elevation = inclined(*slopes, np.array([30.0, 10.0]))
    assert free_from_elevation(elevation, cell_size=(30.0, 10.0), max_slope=20.5).all()
    assert not free_from_elevation(elevation, cell_size=(30.0, 10.0), max_slope=19.5).any()


def test_the_pair_of_cell_sizes_is_y_then_x():
    elevation = inclined(20.0, 0.0, np.array([30.0, 10.0]))
    assert not free_from_elevation(elevation, cell_size=(10.0, 30.0), max_slope=40.0).any()


def test_slopes_along_both_axes_add_as_vectors():
    # tan = 0.3 and 0.4 make a gradient of 0.5, which is 26.57 degrees.
    elevation = inclined(*np.degrees(np.arctan([0.3, 0.4])), np.array([1.0, 1.0]))
    assert free_from_elevation(elevation, cell_size=1.0, max_slope=26.7).all()
    assert not free_from_elevation(elevation, cell_size=1.0, max_slope=26.4).any()


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_cells_without_data_and_beside_it_are_blocked(gap):
    elevation = jnp.zeros((5, 5)).at[2, 2].set(gap)
    expected = np.ones((5, 5), bool)
    expected[2, 1:4] = expected[1:4, 2] = False
    free = free_from_elevation(elevation, cell_size=1.0, max_slope=10.0)
    np.testing.assert_array_equal(free, expected)


def test_integers_and_doubles_give_the_same_map(x64):
    elevation = np.random.default_rng(0).integers(0, 100, (8, 9))
    maps = [
        free_from_elevation(jnp.asarray(elevation, dtype), cell_size=50.0, max_slope=20.0)
        for dtype in (jnp.int16, jnp.float32, jnp.float64)
    ]
    assert maps[0].any()
    assert not maps[0].all()
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_slope_and_cell_size_may_be_traced(key):
    elevation = jax.random.uniform(key, (8, 9))

    def share(max_slope, size):
        return free_from_elevation(elevation, cell_size=size, max_slope=max_slope).mean()

    shares = jax.jit(jax.vmap(share))(jnp.array([5.0, 20.0, 60.0]), jnp.ones(3))
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize(
    ("shape", "cell_size", "max_slope", "match"),
    [
        ((5,), 1.0, 10.0, "got elevation"),
        ((1, 5), 1.0, 10.0, "got elevation"),
        ((5, 5), 0.0, 10.0, "got cell_size"),
        ((5, 5), (1.0, -1.0), 10.0, "got cell_size"),
        ((5, 5), (1.0, 1.0, 1.0), 10.0, "got cell_size"),
        ((5, 5), float("nan"), 10.0, "got cell_size"),
        ((5, 5), 1.0, 0.0, "got max_slope"),
        ((5, 5), 1.0, 90.0, "got max_slope"),
    ],
)
def test_impossible_arguments_are_refused(shape, cell_size, max_slope, match):
    with pytest.raises(ValueError, match=match):
        free_from_elevation(jnp.zeros(shape), cell_size=cell_size, max_slope=max_slope)


def test_jacksboro_is_real_terrain_with_metric_cells():
    elevation, cell_size = load_jacksboro_elevation()
    assert elevation.shape == (344, 403)
    assert elevation.dtype == jnp.float32
    assert 200 < elevation.min() < elevation.max() < 1100
    # Three arc seconds on a sphere at 36.59 degrees north, to the half percent of its flattening.
    sphere = 6_371_000 * np.radians(3 / 3600)
    np.testing.assert_allclose(cell_size, [sphere, sphere * np.cos(np.radians(36.59))], rtol=5e-3)
    free = free_from_elevation(elevation, cell_size=cell_size, max_slope=20.0)
    assert 0.75 < free.mean() < 0.85
    assert largest_component(free).sum() > 0.95 * free.sum()
