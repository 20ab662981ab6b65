"""Terrain: ground is free where it is not too steep."""

import jax.numpy as jnp
import numpy as np

from jplan._typing import Array, Scalar

# Semi-major axis in metres and squared eccentricity of the WGS84 ellipsoid.
_EQUATOR_RADIUS = 6378137.0
_ECCENTRICITY_SQUARED = 0.00669437999014


def free_from_elevation(
    elevation: Array, *, cell_size: Scalar | tuple[Scalar, Scalar], max_slope: Scalar
) -> Array:
    """Call ground free where its slope is at most a given angle.

    free = |grad z| <= tan(max_slope), by central differences, one-sided at the edges

    Args:
      elevation: [H, W], height of the cells' centres, of any real dtype; cells that are not
        finite (no data), and the ones beside them, are blocked.
      cell_size: distance of neighbouring cells in the unit of the elevation, one number or the
        pair (y, x).
      max_slope: steepest passable slope in degrees, in (0, 90).

    Returns:
      bool [H, W], True where one can stand.

    Raises:
      ValueError: if ``elevation`` is not a matrix of at least 2 x 2, or a number is out of range.

    Differentiability: none, the result is boolean.

    Example:
      >>> elevation = jnp.array([[0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
      >>> free_from_elevation(elevation, cell_size=1.0, max_slope=30.0)
      Array([[ True,  True, False, False],
             [ True,  True, False, False]], dtype=bool)
    """
    if elevation.ndim != 2 or min(elevation.shape) < 2:
        raise ValueError(
            f"free_from_elevation: got elevation {elevation.shape}, expected [H, W] of at least "
            "2 x 2; use jax.vmap for a batch"
        )
    sizes = cell_size if isinstance(cell_size, tuple) else (cell_size, cell_size)
    if len(sizes) != 2 or any(isinstance(s, int | float) and not 0 < s < np.inf for s in sizes):
        raise ValueError(
            f"free_from_elevation: got cell_size {cell_size}, expected one positive length or the "
            "pair (y, x) in the unit of the elevation; convert degrees to metres first"
        )
    if isinstance(max_slope, int | float) and not 0 < max_slope < 90:
        raise ValueError(
            f"free_from_elevation: got max_slope {max_slope}, expected degrees in (0, 90); "
            "for a gradient g pass math.degrees(math.atan(g))"
        )
    height = jnp.asarray(elevation)
    if not jnp.issubdtype(height.dtype, jnp.floating):
        height = height.astype(jnp.float32)
    slope_y, slope_x = jnp.gradient(height, *sizes)
    # A cell without data may have a finite central difference, which does not read the cell.
    is_flat_enough = jnp.hypot(slope_y, slope_x) <= jnp.tan(jnp.deg2rad(max_slope))
    return jnp.isfinite(height) & is_flat_enough


def load_jacksboro_elevation() -> tuple[Array, tuple[float, float]]:
    """Load a real piece of terrain that is shipped with matplotlib.

    It shows the Jacksboro fault in Tennessee, 31.8 km x 30.1 km at three arc seconds. At
    ``max_slope=20`` 79 % of it is free, and 99 % of that is one component; the scarps of the
    fault are the obstacles. At 15, 57 % is free and falls apart into valleys.

    Returns:
      The elevation in metres, float32 [344, 403], row 0 in the north and column 0 in the west;
      and the cell size (y, x) in metres, which is not square, a degree of longitude being
      shorter than one of latitude: what ``free_from_elevation`` takes.

    Raises:
      ImportError: if matplotlib is not installed.

    Example:
      >>> elevation, cell_size = load_jacksboro_elevation()
      >>> elevation.shape, [round(size, 1) for size in cell_size]
      ((344, 403), [92.5, 74.6])
    """
    try:
        from matplotlib import cbook
    except ImportError as error:
        raise ImportError(
            "load_jacksboro_elevation reads a file of matplotlib: install it with "
            "pip install 'jplan[experiments]'"
        ) from error
    path = cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)
    with np.load(path, allow_pickle=False) as dem:
        elevation = jnp.asarray(dem["elevation"], jnp.float32)
        latitude = np.radians((float(dem["ymin"]) + float(dem["ymax"])) / 2)
        step_y, step_x = np.radians(float(dem["dy"])), np.radians(float(dem["dx"]))
    # Radii of curvature of the ellipsoid along the meridian and across it.
    flattening = 1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2
    across = _EQUATOR_RADIUS / np.sqrt(flattening)
    along = across * (1 - _ECCENTRICITY_SQUARED) / flattening
    return elevation, (float(along * step_y), float(across * np.cos(latitude) * step_x))
