"""Accuracy against model evaluations and against time: gradient descent, tree search, chance."""

import dataclasses

import jax
from episodes import FirstAction, run_closed
from flax import nnx
from stages import ACTIONS, Discounted, make_planner

import jplan as jp
from jplan import planners
from jplan.nn import as_model_fn

CANDIDATES = [1, 2, 5, 10, 20, 40]
SIMULATIONS = [10, 20, 50, 100, 200, 400]
STEPS = 10  # of the gradient
MAPS = 128


def make_searcher(model, planning, policy, num_simulations):
    """``plan(params, picture, key) -> Plan`` by tree search on the same model."""
    model_fn, params = as_model_fn(model)
    graphdef = nnx.graphdef(model)

    def plan(params, picture, key):
        return planners.mcts_plan(
            Discounted(model_fn, planning.discount),
            params,
            nnx.merge(graphdef, params).encode(picture),
            key,
            horizon=planning.horizon,
            action_space=jp.Simplex(ACTIONS),
            num_simulations=num_simulations,
            policy=policy,
        )

    return plan, params


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
        yield "MCTS", count, passes, make_searcher(model, planning, "muzero", count)
    for count in SIMULATIONS:
        setting = dataclasses.replace(planning, candidates=count, num_steps=0)
        yield "random shooting", count, count * steps * 2, make_planner(model, setting)


def run_budget(model, planning, size, seed, smoke):
    """Rows of the figure; all see the same maps."""
    entries = list(contenders(model, planning))
    for method, count, passes, (plan, params) in entries[:1] if smoke else entries:
        row = run_closed(
            FirstAction(plan), params, size, 4 if smoke else MAPS, jax.random.key(4000 + seed)
        )
        yield {"method": method, "count": count, "passes": passes} | row
