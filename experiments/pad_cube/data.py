"""Make the offline data of an OGBench cube task; the same command continues a stopped run."""

import argparse
import pathlib

from jplan.envs import generate_cube_data


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--kind", choices=["play", "noisy"], default="noisy")
    parser.add_argument("--environment", default="cube-single")
    parser.add_argument("--episodes", type=int, default=1000, help="a tenth more for validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help=".npz file (default: .runs/pad_cube/...)")
    options = parser.parse_args()
    if options.out is None:
        name = f"{options.environment}-{options.kind}-v0.npz"
        options.out = pathlib.Path(".runs/pad_cube") / name
    return options


def main():
    options = parse_arguments()
    generate_cube_data(
        options.out,
        environment=options.environment,
        kind=options.kind,
        num_episodes=options.episodes,
        num_validation=max(1, options.episodes // 10),
        seed=options.seed,
        processes=options.processes,
    )
    print(options.out)


if __name__ == "__main__":
    main()
