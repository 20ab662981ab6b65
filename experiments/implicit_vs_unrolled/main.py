"""Value iteration planners through explicit and implicit gradients: success, cost, stability."""

import argparse
import pathlib
import time

from figures import FIGURES
from parts import PARTS, Scale

from jplan import training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/implicit"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    return options


def main():
    options = parse_arguments()
    for name in options.parts:
        begin = time.perf_counter()
        rows = training.write_table(PARTS[name](Scale(options)), options.out / f"{name}.csv")
        if name in FIGURES:
            FIGURES[name](rows, options.out / f"{name}.png")
        print(f"{options.out}: {name}, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
