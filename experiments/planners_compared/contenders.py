"""Planners with growing budgets, and how often each evaluates the model."""

import optax

from jplan import planners

BUDGETS = [1, 3, 10, 30]


def contenders(name, task):
    """Planner, model evaluations of a plan, and ``plan(params, state, key) -> Plan``.

    A pass forward counts as one evaluation, and so does one backward, of all that the choice needs.
    """
    setting = {"horizon": task.horizon, "action_space": task.action_space}
    steps = task.horizon
    for budget in BUDGETS:
        yield "random shooting", 20 * budget * steps, shooting(task, setting, 20 * budget)
        yield "GBP", 20 * steps * (2 * budget + 1), descent(task, setting, budget)
        yield "CEM", 100 * steps * budget, sampling(planners.cem_plan, task, setting, budget)
        yield (
            "CEM with gradients",
            (100 + 10 * 2 * 2 + 11) * steps * budget,
            sampling(planners.cem_plan, task, setting, budget, gradient_steps=2),
        )
        options = {"temperature": task.temperature, "noise": task.noise}
        yield (
            "MPPI",
            100 * steps * budget,
            sampling(planners.mppi_plan, task, setting, budget, **options),
        )
        if name == "tables":
            yield "MCTS", 20 * budget * (steps + 1) + steps, search(task, setting, 20 * budget)
        if task.has_derivatives:
            yield (
                "lifted states",
                20 * steps * (3 * 2 * 10 * budget + 1),
                lifted(task, setting, budget),
            )
            width = 3  # numbers in state and action
            yield "iLQR", steps * budget * (19 + 3 * width), regulator(task, setting, budget)


def shooting(task, setting, count):
    """The best of random plans."""
    return lambda params, state, key: planners.gradient_plan(
        *(task.model_fn, params, state, key), candidates=count, num_steps=0, **setting
    )


def descent(task, setting, budget):
    """20 candidates, more and more gradient steps."""
    return lambda params, state, key: planners.gradient_plan(
        *(task.model_fn, params, state, key),
        candidates=20,
        num_steps=budget,
        optimizer=adam(task.rate),
        **setting,
    )


def adam(rate):
    """Adam, with a step size for each part of a plan if there are several."""
    if not isinstance(rate, dict):
        return optax.adam(rate, eps_root=1e-8)
    parts = {name: optax.adam(number, eps_root=1e-8) for name, number in rate.items()}
    return optax.partition(parts, {name: name for name in rate})


def sampling(planner, task, setting, budget, **options):
    """100 candidates, more and more rounds."""
    return lambda params, state, key: planner(
        *(task.model_fn, params, state, key), num_steps=budget, **setting, **options
    )


def search(task, setting, count):
    """More and more simulations."""
    return lambda params, state, key: planners.mcts_plan(
        *(task.model_fn, params, state, key), num_simulations=count, **setting
    )


def lifted(task, setting, budget):
    """20 candidates, three penalties, more and more steps with each."""
    return lambda params, state, key: planners.lifted_plan(
        *(task.model_fn, params, state, key), candidates=20, num_steps=10 * budget, **setting
    )


def regulator(task, setting, budget):
    """From random actions, more and more steps."""

    def plan(params, state, key):
        initial = task.action_space.decode(task.action_space.sample(key, (task.horizon,)))
        return planners.ilqr_plan(
            *(task.model_fn, params, state),
            initial=initial,
            action_space=setting["action_space"],
            num_steps=budget,
        )

    return plan
