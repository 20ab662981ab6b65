"""Plan for an arm from a picture of its workspace, with a mapper trained through the planner."""

import argparse
import pathlib

from picture import draw
from runs import ADJOINTS, MAPPERS, PLANNERS, STEPS, Run, train_and_evaluate

from jplan import training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/workspace"))
    parser.add_argument("--planner", nargs="+", choices=PLANNERS, default=list(PLANNERS))
    parser.add_argument("--mapper", choices=MAPPERS, default="polar")
    parser.add_argument("--adjoint", nargs="+", choices=ADJOINTS, default=["default"])
    parser.add_argument("--iterations", type=int, default=30, help="budget K")
    parser.add_argument("--map-loss", type=float, default=1.0, help="its weight in the joint stage")
    parser.add_argument(
        "--no-pretraining", action="store_true", help="train mapper and planner jointly at once"
    )
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--arms", type=int, default=1000, help="unseen arms to evaluate on")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.planner, options.iterations, options.seeds, options.arms = ["VIN"], 4, 1, 8
    return options


def list_runs(options):
    """All runs, those of each planner in a row; MaxPlusVIN has one gradient."""
    mapper, iterations, weight = options.mapper, options.iterations, options.map_loss
    for planner in options.planner:
        for adjoint in ["default"] if planner == "MaxPlusVIN" else options.adjoint:
            for seed in range(options.seed, options.seed + options.seeds):
                yield Run(mapper, planner, adjoint, iterations, weight, seed)


def rows(options):
    """A row for each run, and a picture of the first of each planner and gradient."""
    steps = {"joint": 20, "hard": 20} if options.smoke else STEPS
    if options.no_pretraining or options.smoke:
        steps = steps | {"mapper": 0, "planner": 0}
    drawn = set()
    for run in list_runs(options):
        model, row = train_and_evaluate(run, steps, options.out / "runs", options.arms)
        yield row
        if (run.planner, run.adjoint) not in drawn:
            drawn.add((run.planner, run.adjoint))
            draw(model, options.out / f"{run.mapper}_{run.planner}_{run.adjoint}.png")


def main():
    options = parse_arguments()
    training.write_table(rows(options), options.out / "metrics.csv")


if __name__ == "__main__":
    main()
