"""What symmetry is worth: fewer maps to learn from, and maps of other sizes."""

import argparse
import pathlib

from data import MAPS, run_data
from picture import draw_data, draw_size
from size import run_size

from jplan import training

PARTS = {"data": (run_data, draw_data), "size": (run_size, draw_size)}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/symmetry"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--maps", type=int, nargs="+", default=MAPS, help="sizes of training sets")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.maps, options.seeds = [16], 1
    return options


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seed, options.seed + options.seeds)
    for part in options.parts:
        run, draw = PARTS[part]
        rows = (row for seed in seeds for row in run(seed, options))
        draw(training.write_table(rows, options.out / f"{part}.csv"), options.out / f"{part}.png")


if __name__ == "__main__":
    main()
