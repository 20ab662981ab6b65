"""The options of the experiment."""

import argparse
import pathlib

from stages import Learning, Planning

PARTS = ["models", "table", "pictures", "a2c"]


def parse_arguments(description):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path(".runs/spaceship"))
    add("--parts", nargs="+", choices=PARTS, default=PARTS[:3])
    add("--seed", type=int, default=0, help="first seed")
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--flights", type=int, default=10_000, help="random ones that the model is learnt from")
    add("--hidden", type=int, default=128, help="units of a layer; the paper: 512")
    add("--steps", type=int, default=Learning.steps, help="of the model's training")
    add("--windows", type=int, default=Learning.windows, help="of a step of it")
    add("--length", type=int, default=Learning.length, help="of a window; the paper: 40")
    add("--noise", type=float, default=Learning.noise, help="on the signals of windows")
    add("--candidates", type=int, default=Planning.candidates)
    add("--gradient-steps", type=int, default=Planning.num_steps)
    add("--replan-every", type=int, default=Planning.replan_every)
    add("--plans", type=int, default=2000, help="to distil in each round")
    add("--episodes", type=int, default=64, help="unseen starts to evaluate on")
    add("--a2c-steps", type=int, default=3_800_000, help="environment steps of A2C")
    add("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.seeds, options.hidden, options.steps, options.flights = 1, 4, 20, 20
        options.candidates, options.gradient_steps = 2, 1
        options.plans, options.episodes, options.a2c_steps = 2, 2, 160
    options.planning = Planning(
        horizon=4 if options.smoke else Planning.horizon,
        candidates=options.candidates,
        num_steps=options.gradient_steps,
        replan_every=options.replan_every,
    )
    return options
