"""Reference rows of OGBench's cube tasks by its protocol: chance, scripts, published rates."""

import argparse
import csv
import pathlib
import time

from published import published_rows

from jplan import envs

POLICIES = {
    "random": envs.random_cube_policy,
    "script of noisy": lambda: envs.scripted_cube_policy("markov"),
    "script of play": lambda: envs.scripted_cube_policy("plan"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/pad_cube"))
    parser.add_argument("--episodes", type=int, default=50, help="of each of the five tasks")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    policies = POLICIES
    if options.smoke:
        options.out /= "smoke"
        options.episodes = 1
        policies = {"script of noisy": POLICIES["script of noisy"]}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"tasks_{options.episodes}.npz"
    if not path.exists():
        tasks = envs.draw_cube_tasks("cube-single", episodes_per_task=options.episodes)
        envs.save_cube_tasks(path, tasks)
    tasks = envs.load_cube_tasks(path)
    rows = []
    for method, make in policies.items():
        begin = time.perf_counter()
        results = envs.evaluate_cube_policy(make(), tasks)
        seconds = time.perf_counter() - begin
        found = [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            for row in ({"method": method, **row, "seconds": seconds} for row in results.summary())
        ]
        rows += found
        for row in found:
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    for data_set in ("cube-single-play", "cube-single-noisy"):
        for row in published_rows(data_set):
            print(f"published, {data_set}: {row['method']} {row['success']} ± {row['deviation']} %")
    with open(options.out / "references.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
