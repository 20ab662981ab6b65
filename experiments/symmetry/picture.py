"""The two figures."""

import statistics

import matplotlib.pyplot as plt

from jplan import viz


def draw_data(rows, path):
    """Success against the number of maps, a line a planner through the medians over seeds."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for index, name in enumerate(dict.fromkeys(row["planner"] for row in rows)):
        chosen = [row for row in rows if row["planner"] == name]
        counts = sorted({row["maps"] for row in chosen})
        points = [[100 * r["success"] for r in chosen if r["maps"] == count] for count in counts]
        medians = [statistics.median(shares) for shares in points]
        axes.plot(counts, medians, color=f"C{index}", label=name)
        for count, shares in zip(counts, points, strict=True):
            axes.plot([count] * len(shares), shares, "o", color=f"C{index}", markersize=4)
    axes.set(xscale="log", xlabel="maps to learn from", ylabel="success on unseen maps, %")
    axes.legend()
    viz.save_figure(figure, path)


def draw_size(rows, path):
    """Success against the size, solved to convergence and with fixed budgets; first seed."""
    names = list(dict.fromkeys(row["planner"] for row in rows))
    figure, panels = plt.subplots(
        *(1, len(names)),
        figsize=(6 * len(names), 4),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    first = rows[0]["seed"]
    for axes, name in zip(panels[0], names, strict=True):
        chosen = [row for row in rows if row["planner"] == name and row["seed"] == first]
        for budget in dict.fromkeys(row["budget"] for row in chosen):
            line = [row for row in chosen if row["budget"] == budget]
            sides, shares = [r["size"] for r in line], [100 * r["success"] for r in line]
            label = budget if budget == "convergence" else f"K = {budget}"
            axes.plot(sides, shares, "o-", markersize=4, label=label)
        axes.set(title=f"{name}, trained on 15 x 15", xlabel="side of the maze")
        axes.legend(fontsize=8)
    panels[0, 0].set_ylabel("success, %")
    viz.save_figure(figure, path)
