"""Learn a model of a gridworld from random episodes, plan through it, distil the plans."""

import itertools

import jax
from budget import run_budget
from episodes import Replanning, policy_action, run_closed, run_method
from online import learn_online
from options import OF_POLICY, parse_arguments
from picture import animate_episode, animate_refinement, draw_actions, draw_budget
from stages import (
    DISTILLING,
    EPISODES,
    LEARNING,
    PLANNING,
    PLANS,
    SMOKE,
    draw_episodes,
    draw_plans,
    learn_model,
    learn_policy,
    make_planner,
)
from together import from_experts, imagine_policy

from jplan import envs
from jplan.training import write_table


def table(options):
    """Planner in closed and open loop, and the policy, for every seed."""
    every = itertools.product(options.size, options.model, options.noise, seeds(options))
    for size, name, noise, seed in every:
        model, row = learn(name, size, noise, seed, options)
        planning = planning_of(name, size, options)
        plan, params = make_planner(model, planning)
        maps = size, options.maps, jax.random.key(3000 + seed), options.at_once
        methods = options.method if noise else [m for m in options.method if m not in OF_POLICY]
        learns = OF_POLICY & {*methods}
        policy = distil(model, planning, size, name, noise, seed, options) if learns else None
        for method in methods:
            yield row | {"method": method} | run_method(method, plan, params, policy, maps)


def distil(model, planning, size, name, noise, seed, options):
    """A policy of the plans from states of the random episodes."""
    count = 100 if options.smoke else options.plans or PLANS[size]
    steps = 20 if options.smoke else DISTILLING[name].steps
    episodes = episodes_of(size, seed, options)[0]
    plans = draw_plans(model, planning, size, seed, episodes, count, options.at_once)
    return learn_policy(plans, name, size, noise, seed, planning, steps, options.out / "runs")


def together(options):
    """A policy through the episodes that a model imagines, and models through their planner."""
    for size, seed in itertools.product(options.size, seeds(options)):
        row = {"size": size, "seed": seed}
        maps = size, options.maps, jax.random.key(3000 + seed), options.at_once
        for method, model in from_experts(size, seed, options.smoke, options.out / "runs"):
            plan, params = make_planner(model, planning_of("motion", size, options))
            yield row | {"method": method} | run_closed(Replanning(plan), params, *maps)
        model, _ = learn("motion", size, max(options.noise), seed, options)
        policy = imagine_policy(
            *(model, max(options.noise), size, seed, episodes_of(size, seed, options)),
            options.smoke,
            options.out / "runs",
        )
        yield row | {"method": "policy, imagined"} | run_closed(*policy_action(policy), *maps)


def online(options):
    """Success against world steps, for models that learn from what they propose."""
    for size, seed in itertools.product(options.size, seeds(options)):
        planning = planning_of("motion", size, options)
        for found in learn_online(size, planning, max(options.noise), seed, options.smoke):
            yield {"size": size, "seed": seed} | found


def budget(options):
    """Success against model evaluations and time; first seed, noise on the actions."""
    for size in options.size:
        for name in options.model:
            model, _ = learn(name, size, max(options.noise), options.seed, options)
            planning = planning_of(name, size, options)
            row = {"size": size, "model": name, "seed": options.seed}
            for found in run_budget(model, planning, size, options.seed, options.smoke):
                yield row | found


def pictures(options):
    """Action vectors with and without noise, a plan being refined, an episode; first seed."""
    for size in options.size:
        world = envs.crash_gridworld(size)
        states = [world.reset_fn(jax.random.key(seed)) for seed in range(5000, 5008)]
        for name in options.model:
            planning = planning_of(name, size, options)
            models = {
                f"noise {noise}": learn(name, size, noise, options.seed, options)[0]
                for noise in options.noise
            }
            model = next(iter(models.values()))
            stem = f"{name}_{size}"
            draw_actions(models, planning, states, options.out / f"actions_{stem}.png")
            animate_refinement(model, planning, states[0], options.out / f"plan_{stem}.gif")
            plan, params = make_planner(model, planning)
            animate_episode(plan, params, world, states[0], options.out / f"episode_{stem}.gif")


def seeds(options):
    return range(options.seed, options.seed + options.seeds)


def planning_of(name, size, options):
    """The planner's budget."""
    return SMOKE if options.smoke else PLANNING[name, size]


def episodes_of(size, seed, options):
    """Random episodes and weights."""
    return draw_episodes(size, seed, 100 if options.smoke else EPISODES)


def learn(name, size, noise, seed, options):
    """A model, read if it has been trained, and what its row of the table begins with."""
    steps = 20 if options.smoke else LEARNING[name].steps
    episodes = episodes_of(size, seed, options)
    model, last = learn_model(name, size, noise, seed, steps, episodes, options.out / "runs")
    taken = int(episodes[0].num_steps)
    row = {"size": size, "model": name, "noise": noise, "seed": seed, "world_steps": taken}
    return model, row | {"train_seconds": round(last["seconds"])}


def main():
    options = parse_arguments(__doc__)
    options.out.mkdir(parents=True, exist_ok=True)
    for part in (table, together, online):
        if part.__name__ in options.parts:
            write_table(part(options), options.out / f"{part.__name__}.csv")
    if "budget" in options.parts:
        rows = write_table(budget(options), options.out / "budget.csv")
        for size, name in dict.fromkeys((row["size"], row["model"]) for row in rows):
            chosen = [row for row in rows if (row["size"], row["model"]) == (size, name)]
            draw_budget(chosen, options.out / f"budget_{name}_{size}.png")
    if "pictures" in options.parts:
        pictures(options)


if __name__ == "__main__":
    main()
