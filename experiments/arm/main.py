"""Plan for a two-joint arm in its configuration space, a torus, with every planner."""

import argparse
import pathlib
import statistics

from picture import draw_arm, draw_success
from runs import ADJOINTS, SETTINGS, Run, train_and_evaluate

from jplan import training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/arm"))
    parser.add_argument("--planner", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--adjoint", nargs="+", choices=ADJOINTS, default=["default"])
    parser.add_argument("--iterations", type=int, nargs="+", default=[30], help="budgets K")
    parser.add_argument("--bins", type=int, nargs="+", default=[18], help="of each angle")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--arms", type=int, default=1000, help="unseen arms to evaluate on")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.iterations, options.bins, options.seeds, options.arms = [4], [6], 1, 8
        options.planner = ["SymVIN"]
    return options


def list_runs(options):
    """All runs; MaxPlusVIN has one gradient and one budget."""
    seeds = range(options.seed, options.seed + options.seeds)
    for bins in options.bins:
        for planner in options.planner:
            for seed in seeds:
                if planner == "MaxPlusVIN":
                    yield Run(planner, "default", 40, bins, seed)
                    continue
                for iterations in options.iterations:
                    for adjoint in options.adjoint:
                        yield Run(planner, adjoint, iterations, bins, seed)


def write_summary(rows, path):
    """Success in percent, mean and standard deviation over seeds; in italics if a run diverged."""
    budgets = sorted({row["iterations"] for row in rows})
    head = "| trained on | planned on | planner | gradient | "
    lines = [head + " | ".join(f"K = {k}" for k in budgets) + " |"]
    lines += ["| --- | --- | --- | --- |" + " --- |" * len(budgets)]
    fields = ("bins", "plan_bins", "planner", "adjoint")
    for kind in sorted(dict.fromkeys(tuple(row[f] for f in fields) for row in rows)):
        cells = []
        for k in budgets:
            chosen = [r for r in rows if (*(r[f] for f in fields), r["iterations"]) == (*kind, k)]
            shares = [100 * row["success"] for row in chosen]
            if not shares:
                cells.append("")
                continue
            spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
            text = f"{statistics.mean(shares):.2f} ± {spread:.2f} ({len(shares)})"
            cells.append(f"*{text}*" if min(shares) < 20 else text)
        bins, plan_bins, *names = kind
        lines.append(
            "| " + " | ".join([f"{bins}x{bins}", f"{plan_bins}x{plan_bins}", *names, *cells]) + " |"
        )
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measure(options):
    """Rows of all runs, and a picture of the first of each planner and size."""
    drawn = set()
    for run in list_runs(options):
        stages = SETTINGS[run.planner].stages
        stages = dict.fromkeys(stages, 20) if options.smoke else stages
        planner, rows = train_and_evaluate(run, stages, options.out / "runs", options.arms)
        yield from rows
        if (run.planner, run.bins) not in drawn:
            drawn.add((run.planner, run.bins))
            draw_arm(planner, run.bins, options.out / f"{run.planner}_{run.bins}.png")


def main():
    options = parse_arguments()
    rows = training.write_table(measure(options), options.out / "metrics.csv")
    write_summary(rows, options.out / "table.md")
    draw_success(rows, options.out / "success.png")


if __name__ == "__main__":
    main()
