"""Plan a way through a maze from what its cells see, with a mapper trained through the planner."""

import argparse
import pathlib

from picture import draw
from runs import PLANNERS, STEPS, Run, train_and_evaluate

from jplan import training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/visual_navigation"))
    parser.add_argument("--planner", nargs="+", choices=PLANNERS, default=list(PLANNERS))
    parser.add_argument("--iterations", type=int, default=30, help="budget K")
    parser.add_argument("--map-loss", type=float, default=1.0, help="its weight beside imitation")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--mazes", type=int, default=500, help="unseen mazes to evaluate on")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.planner, options.iterations, options.seeds, options.mazes = ["VIN"], 4, 1, 4
    return options


def rows(options):
    size, steps = (7, {"planner": 0, "joint": 20, "hard": 20}) if options.smoke else (15, STEPS)
    for name in options.planner:
        for seed in range(options.seed, options.seed + options.seeds):
            run = Run(name, size, options.iterations, options.map_loss, seed)
            model, row = train_and_evaluate(run, steps, options.out / "runs", options.mazes)
            yield row
            if seed == options.seed:
                draw(model, size, options.out / f"{name}.png")


def main():
    options = parse_arguments()
    training.write_table(rows(options), options.out / "metrics.csv")


if __name__ == "__main__":
    main()
