"""Tables of results."""

import csv
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def write_table(
    rows: Iterable[Mapping[str, Any]], path: str | pathlib.Path
) -> list[dict[str, Any]]:
    """Print the rows of a table as they come, and keep what there is so far in a CSV file.

    Args:
      rows: by column, such as a generator that measures; later rows may have other columns. Floats
        are rounded to five significant digits.
      path: of the file, replaced with each row; missing folders are created.

    Returns:
      All rows as they were written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_table([{"method": "A", "success": 0.98765}], f"{folder}/table.csv")
      ...     print(pathlib.Path(f"{folder}/table.csv").read_text().split())
      method A  success 0.98765
      ['method,success', 'A,0.98765']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept.append({name: _rounded(value) for name, value in row.items()})
        print("  ".join(f"{key} {value}" for key, value in kept[-1].items()), flush=True)
        names = list(dict.fromkeys(name for row in kept for name in row))
        with open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, path)
    return kept


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float | np.floating) else value
