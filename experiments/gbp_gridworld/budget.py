"""Accuracy against model evaluations and against time: gradient descent, tree search, chance."""

import dataclasses

import jax
from episodes import Replanning, run_closed
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

    def __call__(self, params, picture, key, initial):
        """The `jplan.Plan` of one picture; tree search has no use for another plan."""
        del initial
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
    """Name, model evaluations of a plan, planner and params of every entry of the figure."""
    steps = planning.horizon
    for count in CANDIDATES:
        setting = dataclasses.replace(planning, candidates=count, num_steps=STEPS)
        # A gradient step is a pass forward and one backward; both returns at the end one each.
        passes = count * steps * (2 * STEPS + 2)
        yield "GBP", count, passes, make_planner(model, setting)
    for count in SIMULATIONS:
        passes = count * (steps + 1) + 3 * steps
        graphdef, params = nnx.split(model)
        yield "MCTS", count, passes, (TreePlanner(graphdef, planning, count), params)
    for count in SIMULATIONS:
        setting = dataclasses.replace(planning, candidates=count, num_steps=0)
        yield "random shooting", count, count * steps * 2, make_planner(model, setting)


def run_budget(model, planning, size, seed, smoke):
    """Rows of the figure; all see the same maps."""
    entries = list(contenders(model, planning))
    for method, count, passes, (plan, params) in entries[:1] if smoke else entries:
        row = run_closed(
            Replanning(plan), params, size, 4 if smoke else MAPS, jax.random.key(4000 + seed)
        )
        yield {"method": method, "count": count, "passes": passes} | row
