"""Every planner of actions on worlds that are known: return against evaluations and seconds."""

import argparse
import pathlib
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
from contenders import contenders
from tasks import TASKS, best_returns

from jplan import training, viz

COLUMNS = ["task", "planner", "evaluations", "return", "standard_error", "ms", "compile_seconds"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/planners_compared"))
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--starts", type=int, default=64, help="first states, planned at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.task, options.starts = ["tables"], 2
    return options


def measure(task, plan, key):
    """Mean return of the quantised plans, its standard error, ms a plan, compile seconds."""
    run = jax.jit(jax.vmap(lambda params, state, key: plan(params, state, key).hard_return))
    keys = jax.random.split(key, len(jax.tree.leaves(task.states)[0]))
    times, returns = [], np.zeros(0)
    for _ in range(3):
        begin = time.perf_counter()
        returns = np.asarray(run(task.params, task.states, keys))
        times.append(time.perf_counter() - begin)
    error = returns.std() / len(returns) ** 0.5
    ms = 1000 * min(times[1:]) / len(returns)
    return [float(returns.mean()), float(error), ms, times[0] - min(times[1:])]


def compare(name, options):
    """Rows of one task."""
    task_key, plan_key = jax.random.split(jax.random.key(options.seed))
    task = TASKS[name](task_key, options.starts)
    entries = list(contenders(name, task))
    for planner, evaluations, plan in entries[:5] if options.smoke else entries:
        row = [name, planner, evaluations, *measure(task, plan, plan_key)]
        yield dict(zip(COLUMNS, row, strict=True))
    if name == "tables":
        best = np.asarray(best_returns(task))
        error = best.std() / len(best) ** 0.5
        row = [name, "value iteration", 0, float(best.mean()), float(error), 0.0, 0.0]
        yield dict(zip(COLUMNS, row, strict=True))


def draw(rows, path):
    """A row of panels a task: return against evaluations, and against milliseconds."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = plt.subplots(
        *(len(tasks), 2), figsize=(10, 3.4 * len(tasks)), squeeze=False, layout="constrained"
    )
    names = list(dict.fromkeys(row["planner"] for row in rows))
    for name, pair in zip(tasks, panels, strict=True):
        lines = {}
        of_task = (row.values() for row in rows if row["task"] == name)
        for _, planner, evaluations, mean, error, ms, _ in of_task:
            lines.setdefault(planner, []).append((evaluations, ms, mean, error))
        for planner, points in lines.items():
            evaluations, ms, mean, error = np.array(sorted(points)).T
            color = f"C{names.index(planner)}"
            for axes, places in zip(pair, (evaluations, ms), strict=True):
                if planner == "value iteration":
                    axes.axhline(mean[0], color="black", linewidth=0.8, label=planner)
                else:
                    style = {"color": color, "marker": "o", "markersize": 4, "label": planner}
                    axes.errorbar(places, mean, error, **style)
                axes.set(xscale="log", title=name, ylabel="return")
        pair[0].set_xlabel("evaluations of the model, a plan")
        pair[1].set_xlabel("milliseconds a plan, all at once")
        pair[1].legend(fontsize=7)
    viz.save_figure(figure, path)


def main():
    options = parse_arguments()
    rows = (row for name in options.task for row in compare(name, options))
    draw(training.write_table(rows, options.out / "planners.csv"), options.out / "planners.png")


if __name__ == "__main__":
    main()
