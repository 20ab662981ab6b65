"""Accuracy against model evaluations and against time: gradient descent, tree search, chance."""

import dataclasses

import jax
from episodes import FromScratch, run_closed
from flax import nnx
from stages import ACTIONS, Discounted, Planning, make_planner

import jplan as jp
from jplan import planners
from jplan.nn import as_model_fn

CANDIDATES = [1, 2, 5, 10, 20, 40]
SIMULATIONS = [10, 20, 50, 100, 200, 400]
STEPS = 10  # of the gradient
MAPS = 128


@dataclasses.dataclass(frozen=True)
class TreePlanner:
    """Tree search on the same model."""

    graphdef: nnx.GraphDef
    planning: Planning
    num_simulations: int

    def __call__(self, params, picture, key):
        """The `jplan.Plan` of one picture."""
        model = nnx.merge(self.graphdef, params)
        return planners.mcts_plan(
            Discounted(as_model_fn(model)[0], self.planning.discount),
            params,
            model.encode(picture),
            key,
            horizon=self.planning.horizon,
            action_space=jp.Simplex(ACTIONS),
            num_simulations=self.num_simulations,
        )


def contenders(model, planning):
    """Name, passes through the model that a choice needs, planner and params of every entry."""
    steps = planning.horizon
    for count in CANDIDATES:
        setting = dataclasses.replace(planning, candidates=count, num_steps=STEPS)
        # A gradient step is a pass forward and one backward; the best quantised plan is kept.
        yield "GBP", count, count * steps * (2 * STEPS + 1), make_planner(model, setting)
    graphdef, params = nnx.split(model)
    for count in SIMULATIONS:
        passes = count * (steps + 1) + steps
        yield "MCTS", count, passes, (TreePlanner(graphdef, planning, count), params)
    for count in SIMULATIONS:
        setting = dataclasses.replace(planning, candidates=count, num_steps=0)
        yield "random shooting", count, count * steps, make_planner(model, setting)


def run_budget(model, planning, size, seed, smoke):
    """Rows of the figure; all see the same maps."""
    entries = list(contenders(model, planning))
    for method, count, passes, (plan, params) in entries[:1] if smoke else entries:
        row = run_closed(
            FromScratch(plan), params, size, 4 if smoke else MAPS, jax.random.key(4000 + seed)
        )
        yield {"method": method, "count": count, "passes": passes} | row
