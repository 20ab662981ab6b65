"""Views from the cells of a maze with brick walls, by casting rays."""

import functools

import jax.numpy as jnp
import numpy as np

from jplan._typing import Array
from jplan.envs._grid_tasks import check_free

_BRICK, _MORTAR = np.array([0.72, 0.36, 0.26]), np.array([0.78, 0.76, 0.72])
_FLOOR, _SKY = np.array([0.42, 0.40, 0.36]), np.array([0.62, 0.74, 0.86])
_ROWS, _COLUMNS = 6, 3  # bricks of a wall one cell wide and one high


def panorama(free: Array, *, size: int = 32, field_of_view: float = 60.0) -> Array:
    """Four views from the centre of every free cell: towards N, W, S and E.

    Walls are one cell high and of brick, and the camera is at half their height; beyond the map is
    wall. Brightness falls with the distance and the angle at which a wall is seen, so the views of
    a turned map are those of the map, cell by cell and heading by heading.

    All cells look in the same ``4 * size`` directions, and along each of them a ray crosses the
    same cells, seen from its own. So a column of a picture depends on the direction and on which
    of these cells is the first wall: columns are drawn once, outside of the program, and a view is
    looked up. Jit it: an eager call holds ``4 * size * (H + W)`` indices a cell.

    Args:
      free: bool [H, W], True where one can stand.
      size: static, pixels of a view in height and width.
      field_of_view: static, degrees, of a view in height and width, below 180.

    Returns:
      uint8 [H, W, 4, size, size, 3], colours from 0 to 255; 0 for walls. Pixels are from top to
      bottom and from left to right as the camera sees them.

    Raises:
      ValueError: if ``free`` is not a boolean matrix, or a size or angle is out of range.

    Example:
      >>> panorama(jnp.ones((3, 4), bool)).shape
      (3, 4, 4, 32, 32, 3)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 5 (visual navigation), who render in MiniWorld.
    """
    check_free(free, "panorama")
    if not isinstance(size, int) or size < 1 or not 0 < field_of_view < 180:
        raise ValueError(
            f"panorama: got size {size!r} and field_of_view {field_of_view!r}, expected pixels "
            "from 1 on and an angle between 0 and 180 degrees"
        )
    height, width = free.shape
    reach = height + width
    offsets = _crossed_cells(size, float(field_of_view), reach)
    columns = jnp.asarray(_draw_columns(size, float(field_of_view), reach))
    pad = reach
    blocked = jnp.pad(~free, pad, constant_values=True)
    y = jnp.arange(height)[:, None, None, None] + pad + offsets[None, None, ..., 0]
    x = jnp.arange(width)[None, :, None, None] + pad + offsets[None, None, ..., 1]
    first = jnp.argmax(blocked[y, x], axis=-1)  # [H, W, 4 * size]
    directions = jnp.arange(4 * size)[None, None]
    views = columns[directions, first].reshape(height, width, 4, size, size, 3)
    views = jnp.where(free[:, :, None, None, None, None], views, 0)
    return jnp.swapaxes(views, 3, 4)  # columns first -> rows first


def _rays(size: int, field_of_view: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions ``(dy, dx)`` [4, size, 2], one unit deep each, and their slopes [size]."""
    half = np.tan(np.deg2rad(field_of_view) / 2)
    slopes = half * (2 * (np.arange(size) + 0.5) / size - 1)  # from left to right
    ahead = np.array([(-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)])
    right = np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)])
    return ahead[:, None] + slopes[None, :, None] * right[:, None], slopes


@functools.cache
def _trace(size: int, field_of_view: float, reach: int) -> tuple[np.ndarray, ...]:
    """For each direction and cell that its ray enters: offset, depth, point on the face, axis."""
    rays = _rays(size, field_of_view)[0].reshape(-1, 2)
    offsets = np.zeros((len(rays), reach, 2), int)
    depth, point = np.zeros((2, len(rays), reach))
    axis = np.zeros((len(rays), reach), int)
    for index, ray in enumerate(rays):
        sign = np.sign(ray).astype(int)
        with np.errstate(divide="ignore"):
            each = np.abs(1 / ray)  # depth between two lines of the grid, along y and x
        following, cell = each / 2, np.zeros(2, int)
        for step in range(reach):
            entered = int(following[1] < following[0])
            at = following[entered]
            cell[entered] += sign[entered]
            following[entered] += each[entered]
            offsets[index, step], depth[index, step], axis[index, step] = cell, at, entered
            other = 1 - entered
            # From left to right of the face, as seen from where the ray comes from.
            along = (at * ray[other] + 0.5) % 1.0
            to_left = (sign[entered] > 0) == (entered == 0)
            point[index, step] = 1 - along if to_left else along
    return offsets, depth, point, axis


def _crossed_cells(size: int, field_of_view: float, reach: int) -> np.ndarray:
    """Offsets of the cells that each ray enters, in order, int [4 * size, reach, 2]."""
    return _trace(size, field_of_view, reach)[0]


@functools.cache
def _draw_columns(size: int, field_of_view: float, reach: int) -> np.ndarray:
    """The column of a view for each direction and first wall, uint8 [4 * size, reach, size, 3]."""
    _, depth, point, axis = _trace(size, field_of_view, reach)
    rays, slopes = _rays(size, field_of_view)
    rays = rays.reshape(-1, 2)
    rise = -slopes[None, None]  # of the rows, from top to bottom; as wide as high
    height = 0.5 + depth[..., None] * rise  # where the ray of a pixel meets the wall
    is_wall = (height >= 0) & (height <= 1)

    row = np.floor(height * _ROWS)
    across = point[..., None] * _COLUMNS + 0.5 * (row % 2)
    brick, in_row, in_brick = np.floor(across), height * _ROWS - row, across % 1.0
    mortar = (in_row < 0.14) | (in_brick < 0.06)
    tone = 1 + 0.12 * np.sin(12.9 * row + 78.2 * (brick % _COLUMNS))  # a shade for each brick
    wall = np.where(mortar[..., None], _MORTAR, tone[..., None] * _BRICK)
    length = np.linalg.norm(rays, axis=-1)[:, None]
    facing = np.abs(np.take_along_axis(rays, axis, axis=1)) / length
    light = (0.45 + 0.55 * facing) / (1 + 0.12 * depth * length)
    wall = wall * light[..., None, None]

    with np.errstate(divide="ignore"):
        ground = 0.5 / np.abs(rise)
    floor = _FLOOR / (1 + 0.12 * ground[..., None])
    beyond = np.where((rise < 0)[..., None], floor, _SKY)
    colours = np.where(is_wall[..., None], wall, np.broadcast_to(beyond, wall.shape))
    return np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)
