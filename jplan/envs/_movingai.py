"""Maps and scenarios of the MovingAI benchmarks, read as the untrusted files that they are."""

import os
import re
from typing import NoReturn

import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array

# Terrain by the published format: whether an agent on plain ground may stand there.
_IS_FREE = {".": True, "G": True, "S": True, "@": False, "O": False, "T": False, "W": False}

_MAX_CELLS = 1 << 24
_MAX_BYTES = 1 << 26

_COLUMNS = "bucket, map, map width, map height, start x, start y, goal x, goal y, optimal length"


@struct.dataclass(kw_only=True)
class Scenarios:
    """Path queries with the lengths of their shortest paths.

    The arrays are NumPy's: the lengths need float64, which JAX arrays do not have by default.

    Attributes:
      bucket: int32 [N], difficulty class, the optimal length divided by 4 and rounded down in
        the original files.
      height: int32 [N], of the map in cells.
      width: int32 [N], of the map in cells.
      starts: int32 [N, 2], as ``(y, x)``.
      goals: int32 [N, 2], as ``(y, x)``.
      optimal_length: float64 [N], in cells; a diagonal step counts sqrt 2 and is allowed only if
        both cells beside it are free (no corner cutting).
      map_names: N file names, static.

    Example:
      >>> scenarios = Scenarios(
      ...     bucket=np.zeros(1, np.int32),
      ...     height=np.array([3]),
      ...     width=np.array([3]),
      ...     starts=np.array([[0, 0]]),
      ...     goals=np.array([[2, 2]]),
      ...     optimal_length=np.array([8.0**0.5]),
      ...     map_names=("empty.map",),
      ... )
      >>> scenarios.goals.shape
      (1, 2)
    """

    bucket: np.ndarray
    height: np.ndarray
    width: np.ndarray
    starts: np.ndarray
    goals: np.ndarray
    optimal_length: np.ndarray
    map_names: tuple[str, ...] = struct.field(pytree_node=False)


def load_movingai_map(path: str | os.PathLike[str]) -> Array:
    r"""Read a MovingAI ``.map`` file.

    Terrain ``. G S`` is free (ground, and swamp, which is passable from the ground) and
    ``@ O T W`` is not (out of bounds, trees, and water, which is not passable from the ground).

    Args:
      path: the file; at most 2^24 cells. Line ends may be those of Unix or of DOS.

    Returns:
      bool [H, W], True where one can stand; row 0 is the first row of the file.

    Raises:
      ValueError: if the file is not such a map, naming the file and the line, what was found,
        what was expected and how to mend it.

    Note:
      The format gives swamp and water costs of their own in some games; they are not kept.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.map"
      >>> _ = path.write_text("type octile\nheight 2\nwidth 3\nmap\n..@\n.TG\n")
      >>> load_movingai_map(path)
      Array([[ True,  True, False],
             [ True, False,  True]], dtype=bool)

    References: Sturtevant 2012, "Benchmarks for Grid-Based Pathfinding", and
    https://movingai.com/benchmarks/formats.html.
    """
    lines = _read_lines(path)
    _expect(path, lines, 1, "type octile")
    height = _header_number(path, lines, 2, "height")
    width = _header_number(path, lines, 3, "width")
    _expect(path, lines, 4, "map")
    if height * width > _MAX_CELLS:
        _fail(path, 3, f"{height} x {width} cells", f"at most {_MAX_CELLS}", "crop the map")
    rows = lines[4:]
    if len(rows) != height:
        fix = "the file is truncated, has lines too many, or its header is wrong"
        _fail(path, 5 + min(len(rows), height), f"{len(rows)} rows", f"{height} as in line 2", fix)
    for number, row in enumerate(rows, start=5):
        if len(row) != width:
            fix = "pad or cut the row, or mend the header"
            _fail(path, number, f"{len(row)} cells", f"{width} as in line 3", fix)
        unknown = set(row) - _IS_FREE.keys()
        if unknown:
            fix = "replace what is no terrain of the format by '.' (free) or '@' (blocked)"
            _fail(path, number, f"terrain {sorted(unknown)}", f"one of {' '.join(_IS_FREE)}", fix)
    terrain = np.frombuffer("".join(rows).encode("ascii"), np.uint8).reshape(height, width)
    free = [ord(character) for character, is_free in _IS_FREE.items() if is_free]
    return jnp.asarray(np.isin(terrain, free))


def load_movingai_scenarios(path: str | os.PathLike[str]) -> Scenarios:
    r"""Read a MovingAI ``.scen`` file of path queries with optimal lengths.

    The file has x before y and width before height; the result has ``(y, x)`` as everywhere.

    Args:
      path: the file; at most 2^26 bytes. Line ends may be those of Unix or of DOS.

    Returns:
      ``Scenarios`` of N queries in the order of the file.

    Raises:
      ValueError: if the file is not such a list, a start or goal lies outside its map, or a
        length is not a finite non-negative number, naming the file and the line, what was
        found, what was expected and how to mend it.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.map.scen"
      >>> line = "0\tsmall.map\t3\t2\t0\t1\t2\t0\t3.0"
      >>> _ = path.write_text("version 1\n" + line + "\n")
      >>> load_movingai_scenarios(path).goals
      array([[0, 2]], dtype=int32)

    References: Sturtevant 2012, "Benchmarks for Grid-Based Pathfinding", and
    https://movingai.com/benchmarks/formats.html.
    """
    lines = _read_lines(path)
    if lines[0].strip() not in ("version 1", "version 1.0"):
        fix = "add the version line if the file lacks it"
        _fail(path, 1, repr(lines[0][:40]), "'version 1'", fix)
    numbers, lengths, map_names = [], [], []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.strip().split("\t")
        if len(fields) != 9:
            fix = f"separate by tabs: {_COLUMNS}"
            _fail(path, number, f"{len(fields)} columns", "9", fix)
        bucket, map_name, *sizes_and_cells, length = fields
        for text in (bucket, *sizes_and_cells):
            if not re.fullmatch("[0-9]{1,9}", text):
                fix = f"the columns are {_COLUMNS}"
                _fail(path, number, repr(text[:40]), "a whole number below 10^9", fix)
        row = [int(text) for text in (bucket, *sizes_and_cells)]
        _, width, height, start_x, start_y, goal_x, goal_y = row
        if max(start_x, goal_x) >= width or max(start_y, goal_y) >= height:
            got = f"x, y of start {start_x, start_y} and goal {goal_x, goal_y}"
            fix = "x comes before y, and both count from 0"
            _fail(path, number, got, f"cells inside {width} columns x {height} rows", fix)
        # At most 15 digits before the point, so that the length is finite.
        if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]+)?([eE]-?[0-9]{1,2})?", length):
            fix = "write the length of the shortest path in cells"
            _fail(path, number, repr(length[:40]), "a finite non-negative length", fix)
        numbers.append(row)
        lengths.append(float(length))
        map_names.append(map_name)
    table = np.array(numbers, np.int32).reshape(-1, 7)
    return Scenarios(
        bucket=table[:, 0],
        height=table[:, 2],
        width=table[:, 1],
        starts=table[:, [4, 3]],
        goals=table[:, [6, 5]],
        optimal_length=np.array(lengths, np.float64),
        map_names=tuple(map_names),
    )


def _fail(path: str | os.PathLike[str], line: int, got: str, expected: str, fix: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}, line {line}: got {got}, expected {expected}; {fix}")


def _read_lines(path: str | os.PathLike[str]) -> list[str]:
    """At least one line of ASCII text, without line ends and without empty lines at the end."""
    with open(path, "rb") as stream:
        # One more than allowed is enough to know; st_size says nothing of pipes and devices.
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        fix = "this is hardly a MovingAI file"
        _fail(path, 1, "a bigger file", f"at most {_MAX_BYTES} bytes", fix)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        fix = "save the file as plain text without accents or a byte-order mark"
        _fail(path, line, f"the byte 0x{content[error.start]:02x}", "ASCII text", fix)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        _fail(path, 1, "an empty file", "a MovingAI file", "download or copy it again")
    return lines


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1].strip() if number <= len(lines) else ""


def _expect(path: str | os.PathLike[str], lines: list[str], number: int, expected: str) -> None:
    line = _line(lines, number)
    if line != expected:
        fix = "a map begins with 'type octile', 'height H', 'width W' and 'map'"
        _fail(path, number, repr(line[:40]), repr(expected), fix)


def _header_number(path: str | os.PathLike[str], lines: list[str], number: int, name: str) -> int:
    line = _line(lines, number)
    match = re.fullmatch(rf"{name}\s+([0-9]{{1,9}})", line)
    if match is None or int(match[1]) == 0:
        fix = "a map begins with 'type octile', 'height H', 'width W' and 'map'"
        _fail(path, number, repr(line[:40]), f"'{name}' and a positive whole number", fix)
    return int(match[1])
