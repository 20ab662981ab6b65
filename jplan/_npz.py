"""Files of arrays: written whole or not at all, and read as untrusted."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def write_npz(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """A file that bears its name only once it is complete; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(scratch, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def read_npz(
    path: str | os.PathLike[str],
    names: Collection[str],
    *,
    optional: Collection[str] = (),
    max_bytes: int,
) -> dict[str, np.ndarray]:
    """The named arrays, and optional ones, or ValueError; FileNotFoundError without a file."""
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                read = {f"{name}.npy" for name in (*names, *optional)}
                size = sum(m.file_size for m in archive.infolist() if m.filename in read)
            if size > max_bytes:
                raise ValueError(f"got {size} bytes when unpacked, expected at most {max_bytes}")
            with np.load(stream, allow_pickle=False) as file:
                missing = [name for name in names if name not in file.files]
                if missing:
                    raise ValueError(f"got {file.files}, expected {', '.join(missing)} as well")
                found = [*names, *(name for name in optional if name in file.files)]
                return {name: file[name] for name in found}
        # What a damaged archive raises depends on the place of the damage.
        except (EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"it is damaged ({error})") from error
