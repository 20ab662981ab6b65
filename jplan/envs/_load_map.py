"""One door to all map files."""

import os

from jplan._typing import Array
from jplan.envs._images import load_image_map
from jplan.envs._movingai import load_movingai_map

_IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".pbm", ".tif", ".tiff", ".webp"
)  # fmt: skip


def load_map(path: str | os.PathLike[str]) -> Array:
    r"""Read a map file of any supported kind, told by the suffix of its name.

    ``.map`` is a MovingAI map; ``.png .jpg .jpeg .bmp .gif .pgm .ppm .pbm .tif .tiff .webp`` are
    pictures in which bright is free.

    Args:
      path: the file; capital letters in the suffix do not matter.

    Returns:
      bool [H, W], True where one can stand.

    Raises:
      ValueError: if the suffix is none of these, or the file is not what its suffix says.
      ImportError: for a picture, if Pillow is not installed.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.map"
      >>> _ = path.write_text("type octile\nheight 1\nwidth 2\nmap\n.@\n")
      >>> load_map(path)
      Array([[ True, False]], dtype=bool)
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix == ".map":
        return load_movingai_map(path)
    if suffix in _IMAGE_SUFFIXES:
        return load_image_map(path)
    raise ValueError(
        f"{os.fspath(path)}: got the suffix {suffix!r}, expected .map (MovingAI) or a picture: "
        f"{' '.join(_IMAGE_SUFFIXES)}; rename the file or call the loader that fits"
    )
