"""Learn a model of a spaceship's world from random flights, plan through it, learn policies."""

import jax
from episodes import draw_flights, plan_episodes, policy_episodes, random_episodes
from options import parse_arguments
from picture import animate_flight, draw_paths
from policies import distill_policy, imagine_policy
from stages import (
    CAUTION,
    WORLD,
    Cautious,
    Learning,
    draw_episodes,
    learn_model,
    model_errors,
)

from jplan.nn import as_model_fn
from jplan.training import write_table


def seeds(options):
    return range(options.seed, options.seed + options.seeds)


def learn(seed, options):
    """A model, read if it has been trained, the random episodes, and the seconds it took."""
    episodes = draw_episodes(1000 + seed, options.flights)
    names = "steps", "windows", "length", "noise"
    learning = Learning(**{name: getattr(options, name) for name in names})
    model, last = learn_model(learning, options.hidden, seed, episodes, options.out / "runs")
    return model, episodes, last["seconds"]


def models(options):
    """How wrong the models are on unseen random episodes."""
    for seed in seeds(options):
        model, _, seconds = learn(seed, options)
        unseen = draw_episodes(2000 + seed, 20 if options.smoke else 500)
        row = {"seed": seed, "hidden": options.hidden, "train_seconds": seconds}
        yield row | model_errors(model, unseen)


def table(options):
    """Every method's return on the same unseen starts."""
    for seed in seeds(options):
        starts = options.episodes, jax.random.key(3000 + seed)
        row = {"seed": seed, "hidden": options.hidden, "world_steps": 0}
        yield row | {"method": "random"} | random_episodes(*starts)
        oracle = plan_episodes(WORLD.step_fn, None, options.planning, *starts)
        yield row | {"method": "GBP, true world"} | oracle
        model, episodes, _ = learn(seed, options)
        model = Cautious(model, **CAUTION)
        row["world_steps"] = int(episodes.num_steps)
        found = plan_episodes(
            *as_model_fn(model), options.planning, *starts, observe_fn=WORLD.observe_fn
        )
        yield row | {"method": "GBP"} | found
        row["hidden"] = wide = 2 * options.hidden  # units of the policies
        training = {"hidden": wide, "seed": seed, "out": options.out / "runs"}
        training |= {"steps": 20} if options.smoke else {}
        policy = distill_policy(
            *(model, options.planning, episodes), count=options.plans, **training
        )
        yield row | {"method": "DistGBP"} | policy_episodes(policy, *starts)
        policy = imagine_policy(model, episodes, **training)
        yield row | {"method": "imagined"} | policy_episodes(policy, *starts)


def pictures(options):
    """Flights that are planned in the model; first seed."""
    model = Cautious(learn(options.seed, options)[0], **CAUTION)
    flights = draw_flights(
        *(*as_model_fn(model), options.planning, 3, jax.random.key(4000 + options.seed)),
        observe_fn=WORLD.observe_fn,
    )
    draw_paths(flights, options.out / "flights.png")
    animate_flight(
        max(flights, key=lambda flight: flight.rollout.total), options.out / "flight.gif"
    )


def a2c(options):
    """Advantage actor-critic, which learns in the world itself."""
    from a2c import learn_a2c  # needs stable-baselines3

    for seed in seeds(options):
        starts = options.episodes, jax.random.key(3000 + seed)
        wide = 2 * options.hidden  # as the other policies
        found = learn_a2c(options.a2c_steps, wide, seed, *starts)
        yield {"seed": seed, "hidden": wide, "method": "A2C"} | found


def main():
    options = parse_arguments(__doc__)
    options.out.mkdir(parents=True, exist_ok=True)
    for part in (models, table, a2c):
        if part.__name__ in options.parts:
            write_table(part(options), options.out / f"{part.__name__}.csv")
    if "pictures" in options.parts:
        pictures(options)


if __name__ == "__main__":
    main()
