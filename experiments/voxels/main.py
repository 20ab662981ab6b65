"""Plan in three dimensions: voxel mazes and roadmaps, with planners that turn with the world."""

import argparse
import csv
import pathlib

from mazes import run_mazes
from roadmaps import run_roadmaps

PARTS = {"mazes": run_mazes, "roadmaps": run_roadmaps}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/voxels"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.out = 1, options.out / "smoke"
    return options


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seed, options.seed + options.seeds)
    for part in options.parts:
        rows = []
        for seed in seeds:
            for row in PARTS[part](seed, options.out, options.smoke):
                rows.append(row)
                print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        with open(options.out / f"{part}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
