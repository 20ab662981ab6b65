"""Plan a way through a maze from what its cells see, with a mapper trained through the planner."""

import argparse
import pathlib

from picture import draw
from runs import ADJOINTS, PLANNERS, STEPS, Run, train_and_evaluate

from jplan import training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/visual_navigation"))
    parser.add_argument("--planner", nargs="+", choices=PLANNERS, default=list(PLANNERS))
    parser.add_argument("--adjoint", nargs="+", choices=ADJOINTS, default=["default"])
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


def list_runs(options):
    """All runs, those of each planner in a row; MaxPlusVIN has one gradient."""
    size, seeds = 7 if options.smoke else 15, range(options.seed, options.seed + options.seeds)
    for planner in options.planner:
        for adjoint in ["default"] if planner == "MaxPlusVIN" else options.adjoint:
            for seed in seeds:
                yield Run(planner, adjoint, size, options.iterations, options.map_loss, seed)


def rows(options):
    """A row for each run, and a picture of the first of each planner and gradient."""
    steps = {"planner": 0, "joint": 20, "hard": 20} if options.smoke else STEPS
    drawn = set()
    for run in list_runs(options):
        model, row = train_and_evaluate(run, steps, options.out / "runs", options.mazes)
        yield row
        if (run.planner, run.adjoint) not in drawn:
            drawn.add((run.planner, run.adjoint))
            draw(model, run.size, options.out / f"{run.planner}_{run.adjoint}.png")


def main():
    options = parse_arguments()
    training.write_table(rows(options), options.out / "metrics.csv")


if __name__ == "__main__":
    main()
