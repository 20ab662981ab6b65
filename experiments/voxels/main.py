"""Plan in three dimensions: voxel mazes and roadmaps, with planners that turn with the world."""

import argparse
import pathlib

from mazes import run_mazes
from roadmaps import run_roadmaps

from jplan import training

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
        run = PARTS[part]
        rows = (row for seed in seeds for row in run(seed, options.out, options.smoke))
        training.write_table(rows, options.out / f"{part}.csv")


if __name__ == "__main__":
    main()
