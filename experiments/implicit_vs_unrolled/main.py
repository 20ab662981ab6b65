"""Value iteration planners through explicit and implicit gradients: success, cost, stability."""

import argparse
import csv
import pathlib
import time

from figures import FIGURES
from parts import PARTS, Scale


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
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.parts:
        rows, begin = [], time.perf_counter()
        for row in PARTS[name](Scale(options)):
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        with open(options.out / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(
                file, fieldnames=list(dict.fromkeys(k for r in rows for k in r))
            )
            writer.writeheader()
            writer.writerows(rows)
        if name in FIGURES:
            FIGURES[name](rows, options.out / f"{name}.png")
        print(f"{options.out}: {name}, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
