"""Rows of a table, printed and kept as they come."""

import csv


def write(rows, path):
    """A file that grows row by row; all rows as they went into it."""
    kept = []
    for row in rows:
        kept.append({k: round(v, 4) if hasattr(v, "__float__") else v for k, v in row.items()})
        print("  ".join(f"{key} {value}" for key, value in kept[-1].items()), flush=True)
        names = list(dict.fromkeys(name for row in kept for name in row))
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
    return kept
