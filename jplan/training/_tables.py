"""Tables of results."""

import csv
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


def write_table(
    rows: Iterable[Mapping[str, Any]], path: str | pathlib.Path
) -> list[dict[str, Any]]:
    """Print the rows of a table as they come, and keep what there is so far in a CSV file.

    Args:
      rows: by column, such as a generator that measures; later rows may have other columns. Numbers
        that are not whole are rounded to four places.
      path: of the file, replaced with each row; missing folders are created.

    Returns:
      All rows as they were written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_table([{"method": "A", "success": 0.98765}], f"{folder}/table.csv")
      ...     print(open(f"{folder}/table.csv").read().split())
      method A  success 0.9877
      ['method,success', 'A,0.9877']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept.append({k: round(v, 4) if hasattr(v, "__float__") else v for k, v in row.items()})
        print("  ".join(f"{key} {value}" for key, value in kept[-1].items()), flush=True)
        names = list(dict.fromkeys(name for row in kept for name in row))
        with open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, path)
    return kept
