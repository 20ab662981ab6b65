"""The options of the experiment."""

import argparse
import pathlib

from stages import LEARNING, PLANS

METHODS = ["GBP", "GBP, open loop", "DistGBP", "GBP, guided"]
OF_POLICY = {"DistGBP", "GBP, guided"}  # measured with noise only
PARTS = ["table", "together", "online", "budget", "pictures"]


def parse_arguments(description):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/gbp_gridworld"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--model", nargs="+", choices=LEARNING, default=list(LEARNING))
    parser.add_argument("--size", nargs="+", type=int, choices=PLANS, default=[8])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.25, 0.0], help="on actions")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--maps", type=int, default=500, help="unseen maps to evaluate on")
    parser.add_argument("--at-once", type=int, default=64, help="episodes that plan at once")
    parser.add_argument("--plans", type=int, help="to distil; 8,000 or 5,000 by default")
    parser.add_argument(
        "--method", nargs="+", choices=METHODS, default=METHODS, help="of the table"
    )
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.model, options.seeds, options.maps = ["motion"], 1, 4
        options.noise = [0.25]
    return options
