"""The parts of the experiment: what each trains, and the rows that come out."""

import dataclasses
import math

from cost import cost_rows, published_memory
from runs import CALL, STEPS, Run, evaluate, train, train_max_plus

import jplan as jp

KINDS = ["VIN", "ConvGPPN"]
ITERATIONS = [30, 50, 80]
MAX_PLUS = {"soft": 500, "hard": 200}
SIZES = [15, 27, 49, 99]
MAPS = {15: 1000, 27: 200, 49: 100, 99: 30}  # unseen maps of each size


class Scale:
    """How large a run of the experiment is."""

    def __init__(self, options):
        self.seeds = range(options.seed, options.seed + options.seeds)
        self.out, self.smoke = options.out, options.smoke
        self.kinds = KINDS[1:] if self.smoke else KINDS
        self.iterations = [6] if self.smoke else ITERATIONS
        self.middle = self.iterations[len(self.iterations) // 2]
        self.maps = {9: 8} if self.smoke else MAPS
        self.size = next(iter(self.maps))

    def run(self, *arguments, **options):
        small = {"size": self.size, "maps": 4} if self.smoke else {}
        return Run(*arguments, **options | small)

    def train(self, run):
        return train(run, CALL if self.smoke else STEPS[run.planner], self.out / "runs")

    def train_max_plus(self, seed):
        steps = dict.fromkeys(MAX_PLUS, CALL) if self.smoke else MAX_PLUS
        return train_max_plus(seed, steps, self.out / "runs")

    def evaluate(self, planner, size, solver=None):
        return evaluate(planner, size=size, maps=self.maps[size], solver=solver)


def train_and_evaluate(scale, runs):
    """A row for each run: its fields, measures on unseen maps of its size, the time it took.

    ``gradient_not_finite`` is the share of the log's rows, ten steps each, with such a gradient.
    """
    for run in runs[:1] if scale.smoke else runs:
        planner, log = scale.train(run)
        lost = [not math.isfinite(entry["gradient_norm"]) for entry in log]
        row = dataclasses.asdict(run) | scale.evaluate(planner, run.size)
        row |= {"gradient_not_finite": round(sum(lost) / len(lost), 3)}
        yield row | {"train_seconds": round(log[-1]["seconds"], 1)}


def success(scale):
    """Figures 2 and 4: success of each gradient at each depth, MaxPlusVIN beside them."""
    yield from train_and_evaluate(
        scale,
        [
            scale.run(kind, adjoint, iterations, seed=seed)
            for seed in scale.seeds
            for kind in scale.kinds
            for iterations in scale.iterations
            for adjoint in ("default", "implicit", "unrolled")
        ],
    )
    for seed in scale.seeds:
        planner = scale.train_max_plus(seed)
        row = dataclasses.asdict(scale.run("MaxPlusVIN", seed=seed))
        yield row | {"iterations": None} | scale.evaluate(planner, scale.size)


def large(scale):
    """ConvGPPN and VIN on larger maps at the largest depth, with the memory of both gradients."""
    iterations = scale.iterations[-1]
    for size, maps in {scale.size: 4}.items() if scale.smoke else {27: 8, 49: 4}.items():
        runs = [
            scale.run(kind, iterations=iterations, size=size, maps=maps) for kind in scale.kinds
        ]
        for row in train_and_evaluate(scale, runs):
            if row["planner"] == "ConvGPPN":
                options = {"size": size, "iterations": iterations}
                for adjoint in ("default", "unrolled"):
                    gigabytes = round(published_memory(adjoint, **options), 2)
                    row[f"{adjoint}_gigabytes_at_150_channels"] = gigabytes
            yield row


def generalise(scale):
    """Figure 9: trained on small maps, planning on larger ones, with the K of training or 1,000."""
    long = jp.Picard(max_steps=20 if scale.smoke else 1000)
    for seed in scale.seeds:
        trained = {
            (kind, iterations): scale.train(scale.run(kind, iterations=iterations, seed=seed))[0]
            for kind in scale.kinds
            for iterations in scale.iterations
        }
        trained["MaxPlusVIN", None] = scale.train_max_plus(seed)
        for (kind, iterations), planner in trained.items():
            for solver in [None, long] if iterations else [None]:
                for size in scale.maps:
                    budget = "long" if solver or not iterations else "as trained"
                    row = {"planner": kind, "iterations": iterations, "budget": budget}
                    row |= {"seed": seed, "size": size}
                    yield row | scale.evaluate(planner, size, solver)


def solvers(scale):
    """Figure 11: implicit VIN with other forward and backward solvers and budgets."""
    yield from train_and_evaluate(
        scale,
        [
            scale.run(
                *("VIN", "implicit", scale.middle),
                solver=solver,
                backward=backward,
                backward_steps=steps,
                seed=seed,
            )
            for seed in scale.seeds
            for solver in ("picard", "anderson")
            for backward in ("picard", "anderson", "broyden")
            for steps in (5, 15, 30)
        ],
    )


def regularise(scale):
    """Figure 14: the penalty on the Jacobian, with implicit and with default gradients."""
    yield from train_and_evaluate(
        scale,
        [
            scale.run("ConvGPPN", adjoint, scale.middle, penalty=penalty, seed=seed)
            for seed in scale.seeds
            for adjoint in ("implicit", "default")
            for penalty in (0.0, 0.1, 1.0)
        ],
    )


def cost(scale):
    """Figures 6 and 10: time and memory against depth and size, and against backward steps."""
    runs = [
        scale.run(kind, adjoint, iterations, size=size)
        for kind in scale.kinds
        for size in ([scale.size] if scale.smoke else SIZES[:3])
        for iterations in scale.iterations
        for adjoint in ("default", "implicit", "unrolled")
    ]
    runs += [
        scale.run("ConvGPPN", "implicit", backward=backward, backward_steps=steps)
        for backward in ("picard", "anderson")
        for steps in (5, 15, 30)
    ]
    runs = list(dict.fromkeys(runs))
    yield from cost_rows(runs[:1] if scale.smoke else runs, 1 if scale.smoke else 10)


PARTS = {part.__name__: part for part in (success, large, generalise, solvers, regularise, cost)}
