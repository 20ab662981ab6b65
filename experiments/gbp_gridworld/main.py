"""Learn a model of a gridworld from random episodes, plan through it, distil the plans."""

import argparse
import csv
import pathlib

import jax
from episodes import policy_action, run_closed, run_open
from stages import (
    LEARNING,
    PLANNING,
    PLANS,
    POLICY_STEPS,
    draw_episodes,
    draw_plans,
    learn_model,
    learn_policy,
    make_planner,
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/gbp_gridworld"))
    parser.add_argument("--model", nargs="+", choices=LEARNING, default=list(LEARNING))
    parser.add_argument("--size", nargs="+", type=int, choices=PLANS, default=[8])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.25, 0.0], help="on actions")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--maps", type=int, default=500, help="unseen maps to evaluate on")
    parser.add_argument("--no-policy", action="store_true", help="leave DistGBP out")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.model, options.seeds, options.maps = ["motion"], 1, 25
        options.noise = [0.25]
    return options


def run(name, size, noise, seed, options):
    """Rows of the table: planner in closed and open loop, and the policy."""
    steps, plans, policy_steps = LEARNING[name].steps, PLANS[size], POLICY_STEPS
    if options.smoke:
        steps, plans, policy_steps = 20, 100, 20
    runs = options.out / "runs"
    model, last = learn_model(name, size, noise, seed, steps, runs)
    taken = int(draw_episodes(size, seed)[0].num_steps)
    row = {"size": size, "model": name, "noise": noise, "seed": seed, "world_steps": taken}
    row |= {"train_seconds": round(last["seconds"])}
    plan, params = make_planner(model, PLANNING[name, size])
    act = lambda params, picture, key: plan(params, picture, key).actions[0]
    key = jax.random.key(3000 + seed)  # of unseen maps
    yield row | {"method": "GBP"} | run_closed(act, params, size, options.maps, key)
    yield row | {"method": "GBP, open loop"} | run_open(plan, params, size, options.maps, key)
    if noise and not options.no_policy:
        episodes = draw_plans(model, PLANNING[name, size], size, seed, plans)
        policy = learn_policy(episodes, name, size, seed, policy_steps, runs)
        yield (
            row
            | {"method": "DistGBP"}
            | run_closed(*policy_action(policy), size, options.maps, key)
        )


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    names = ["size", "model", "noise", "method", "seed", "success", "crashed", "ms"]
    names += ["world_steps", "train_seconds"]
    with open(options.out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for size in options.size:
            for name in options.model:
                for noise in options.noise:
                    for seed in range(options.seed, options.seed + options.seeds):
                        for row in run(name, size, noise, seed, options):
                            row = {
                                key: round(float(row[key]), 4)
                                if key in ("success", "crashed", "ms") and key in row
                                else row.get(key)
                                for key in names
                            }
                            print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
                            writer.writerow(row)
                            file.flush()


if __name__ == "__main__":
    main()
