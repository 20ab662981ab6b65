"""Pictures of an episode as a film."""

import os
import pathlib

import numpy as np


def save_gif(
    path: str | os.PathLike[str], frames: np.ndarray, *, frames_per_second: float = 20.0
) -> pathlib.Path:
    """Write pictures as an animated GIF.

    Args:
      path: ends in ``.gif``; missing folders are created.
      frames: uint8 [T, H, W, 3], such as those of `CubeResults`, T at least 1.
      frames_per_second: at most 50; the format counts in hundredths of a second. The cube
        environments make 20 steps a second.

    Returns:
      The path.

    Raises:
      ValueError: if an argument is out of range.
      ImportError: if Pillow is not installed.

    Differentiability: none.

    Example:
      >>> import tempfile
      >>> frames = np.zeros((3, 8, 8, 3), np.uint8)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_gif(f"{folder}/films/dark.gif", frames).name
      'dark.gif'
    """
    path = pathlib.Path(path)
    if path.suffix != ".gif":
        raise ValueError(f"path: got {path.name!r}, expected a name that ends in .gif")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(
            f"frames: got {frames.dtype} {list(frames.shape)}, expected uint8 [T, H, W, 3]"
        )
    if not 0 < frames_per_second <= 50:
        raise ValueError(f"frames_per_second: got {frames_per_second}, expected above 0, up to 50")
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "save_gif needs Pillow: install it with pip install 'jplan[experiments]'"
        ) from error

    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(
        path, save_all=True, append_images=rest, duration=round(1000 / frames_per_second), loop=0
    )
    return path
