"""Occupancy maps from pictures: bright is free, dark is an obstacle."""

import os
import warnings
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jplan._typing import Array

if TYPE_CHECKING:
    from PIL import Image

# The readers that need no outside program and no scripting; PostScript, say, needs both.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

_MAX_CELLS = 1 << 24


def load_image_map(path: str | os.PathLike[str], *, threshold: float = 0.5) -> Array:
    """Read a picture as a map, one cell a pixel.

    free(y, x) = brightness(y, x) >= threshold, where black is 0 and white is 1

    Args:
      path: a PNG, JPEG, BMP, GIF, PPM, TIFF or WebP file of at most 2^24 pixels. Colours count by
        their luma (ITU-R 601), transparency is ignored, and of several frames the first is read.
      threshold: brightness in [0, 1] from which on a pixel is free.

    Returns:
      bool [H, W], True where one can stand; row 0 is the upper edge.

    Raises:
      ValueError: if the file is no such picture, is damaged or too big, naming the file; or if
        the threshold is out of range.
      ImportError: if Pillow is not installed.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.png"
      >>> Image.fromarray(np.array([[255, 0], [100, 200]], np.uint8)).save(path)
      >>> load_image_map(path)
      Array([[ True, False],
             [False,  True]], dtype=bool)
    """
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"load_image_map: got threshold {threshold}, expected a brightness in [0, 1]; "
            "divide 8-bit values by 255"
        )
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "load_image_map needs Pillow: install it with pip install 'jplan[experiments]'"
        ) from error

    with open(path, "rb") as stream, warnings.catch_warnings():
        # What Pillow warns of in a damaged file comes back below as an error, or is harmless.
        warnings.simplefilter("ignore")
        try:
            with Image.open(stream, formats=_FORMATS) as image:
                brightness = _brightness(image)
        # Decoders of damaged files raise half a dozen types, struct.error and SyntaxError among
        # them; errors of the file system have been raised by open above.
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)}: got a file that cannot be read ({error}), expected a whole "
                f"picture of at most {_MAX_CELLS} pixels in one of the formats "
                f"{', '.join(_FORMATS)}; download, scale down or export it again"
            ) from error
    return jnp.asarray(brightness >= threshold)


def _brightness(image: "Image.Image") -> np.ndarray:
    """Luma in [0, 1], float64, so that a threshold of k / 255 includes the level k."""
    if image.width * image.height > _MAX_CELLS:
        raise ValueError(f"{image.height} x {image.width} pixels")
    # Pillow clips more than eight bits at 255 when it converts to "L".
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return np.asarray(image) / 65535
    if image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits, for which no level is white")
    return np.asarray(image.convert("L")) / 255
