"""Figures of the parts that have one."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from jplan import viz

COLORS = {"default": "tab:blue", "implicit": "tab:red", "unrolled": "tab:gray"}
MARKERS = {"default": "o", "implicit": "s", "unrolled": "^"}


def select(rows, **values):
    """The rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def means(rows, by, field):
    """Sorted values of ``by`` and the mean of ``field`` for each."""
    keys = sorted({row[by] for row in rows})
    return keys, [np.mean([row[field] for row in select(rows, **{by: key})]) for key in keys]


def find_kinds(rows):
    """The planners that have an adjoint or a depth to choose."""
    return sorted({row["planner"] for row in rows} - {"MaxPlusVIN"}, reverse=True)


def panels(columns):
    figure, axes = plt.subplots(
        1, columns, figsize=(4.6 * columns, 3.6), squeeze=False, layout="constrained"
    )
    return figure, axes[0]


def draw_success(rows, path):
    """Success against depth, a point a seed and a line through their means."""
    kinds = find_kinds(rows)
    figure, axes = panels(len(kinds))
    other = select(rows, planner="MaxPlusVIN")
    for axis, kind in zip(axes, kinds, strict=True):
        for adjoint in sorted({row["adjoint"] for row in select(rows, planner=kind)}):
            chosen = select(rows, planner=kind, adjoint=adjoint)
            style = {"color": COLORS[adjoint], "marker": MARKERS[adjoint]}
            points = [(row["iterations"], 100 * row["success"]) for row in chosen]
            axis.scatter(*zip(*points, strict=True), alpha=0.5, **style)
            depths, shares = means(chosen, "iterations", "success")
            axis.plot(depths, 100 * np.array(shares), label=adjoint, **style)
        best = 100 * np.mean([row["success"] for row in other])
        axis.axhline(best, linestyle=":", color="black", label="MaxPlusVIN")
        axis.set(title=kind, xlabel="iterations K", ylabel="success, %", ylim=(0, 103))
        axis.legend()
    viz.save_figure(figure, path)


def draw_generalise(rows, path):
    """Success against the size of the map, with the K of training and with a long budget."""
    kinds = find_kinds(rows)
    figure, axes = panels(len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        depths = sorted({row["iterations"] for row in select(rows, planner=kind)})
        budgets = {"as trained": "--", "long": "-"}
        for (index, depth), (budget, line) in itertools.product(enumerate(depths), budgets.items()):
            chosen = select(rows, planner=kind, iterations=depth, budget=budget)
            sizes, shares = means(chosen, "size", "success")
            style = {"linestyle": line, "color": f"C{index}", "marker": "o"}
            axis.plot(
                sizes, 100 * np.array(shares), label=f"trained with K = {depth}, {budget}", **style
            )
        sizes, shares = means(select(rows, planner="MaxPlusVIN"), "size", "success")
        axis.plot(sizes, 100 * np.array(shares), ":", color="black", label="MaxPlusVIN")
        axis.set(title=f"{kind}, trained on {sizes[0]}x{sizes[0]}", ylim=(0, 103))
        axis.set(xlabel="side of the map, cells", ylabel="success, %")
        axis.legend(fontsize="small")
    viz.save_figure(figure, path)


def draw_cost(rows, path):
    """Forward time, backward time and memory of ConvGPPN's gradient on the largest maps."""
    size = max(row["size"] for row in rows)
    rows = select(rows, planner="ConvGPPN", size=size, backward_steps=15)
    fields = {"forward_ms": "forward, ms", "backward_ms": "backward, ms", "megabytes": "memory, MB"}
    figure, axes = panels(len(fields))
    for axis, (field, label) in zip(axes, fields.items(), strict=True):
        for adjoint in sorted({row["adjoint"] for row in rows}):
            chosen = select(rows, adjoint=adjoint, backward="anderson")
            style = {"color": COLORS[adjoint], "marker": MARKERS[adjoint]}
            axis.plot(*means(chosen, "iterations", field), label=adjoint, **style)
        axis.set(xlabel="iterations K", ylabel=label, title=f"ConvGPPN, {size}x{size}")
        axis.set_ylim(bottom=0)
        axis.legend()
    viz.save_figure(figure, path)


FIGURES = {"success": draw_success, "generalise": draw_generalise, "cost": draw_cost}
