"""Exact shortest paths: published optimal lengths, and time beside scipy's Dijkstra in C."""

import argparse
import math
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from scenarios import check_scenarios
from scipy.sparse import coo_array, csgraph

from jplan import envs, mdp, training

OFFSETS = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/exact_planning"))
    parser.add_argument(
        "--map",
        nargs="+",
        default=["elevation"],
        help="maps to time; a .map with its .map.scen beside it is checked as well",
    )
    parser.add_argument("--goals", type=int, default=32, help="goals of the batch that is timed")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def load(path):
    if path != "elevation":
        return np.asarray(envs.load_map(path))
    elevation, cell_size = envs.load_jacksboro_elevation()
    return np.asarray(envs.free_from_elevation(elevation, cell_size=cell_size, max_slope=20.0))


def best_of(repeats, call):
    call()
    times = []
    for _ in range(repeats):
        clock = time.perf_counter()
        call()
        times.append(time.perf_counter() - clock)
    return min(times)


def compare_times(path, free, num_goals):
    """One goal and a batch of goals, in one run, after compilation."""
    height, width = free.shape
    opened = np.asarray(mdp.GridMDP.from_free(jnp.asarray(free), goal=(0, 0), moves=8).open_moves())
    rows, columns, lengths = [], [], []
    for action, (dy, dx) in enumerate(OFFSETS):
        y, x = np.nonzero(opened[..., action])
        rows.append(y * width + x)
        columns.append((y + dy) * width + x + dx)
        lengths.append(np.full(len(y), math.hypot(dy, dx)))
    edges = (np.concatenate(rows), np.concatenate(columns))
    graph = coo_array((np.concatenate(lengths), edges), (height * width,) * 2).tocsr()
    cells = np.argwhere(free)
    goals = cells[np.random.default_rng(0).integers(len(cells), size=num_goals)]
    flat, one, many = goals[:, 0] * width + goals[:, 1], jnp.asarray(goals[0]), jnp.asarray(goals)

    free = jnp.asarray(free)
    value = lambda goal: mdp.value_iteration(mdp.GridMDP.from_free(free, goal=goal, moves=8)).value
    batch = jax.jit(lambda goals: jax.lax.map(value, goals))
    distance = np.where(np.isfinite(value(one)), -np.asarray(value(one)), np.inf).ravel()
    exact = csgraph.dijkstra(graph, indices=flat[0])
    np.testing.assert_allclose(distance[cells @ [width, 1]], exact[cells @ [width, 1]], rtol=1e-6)
    ours = best_of(5, lambda: value(one).block_until_ready())
    theirs = best_of(5, lambda: csgraph.dijkstra(graph, indices=flat[0]))
    ours_many = best_of(2, lambda: batch(many).block_until_ready())
    theirs_many = best_of(2, lambda: csgraph.dijkstra(graph, indices=flat))
    row = {"map": pathlib.Path(path).stem, "size": f"{height}x{width}", "goals": num_goals}
    row |= {"jplan_ms": 1e3 * ours, "scipy_ms": 1e3 * theirs, "ratio": ours / theirs}
    row |= {"jplan_batch_ms": 1e3 * ours_many, "scipy_batch_ms": 1e3 * theirs_many}
    return row | {"batch_ratio": ours_many / theirs_many}


def main():
    options = parse_arguments()
    goals, scenarios = (2, 32) if options.smoke else (options.goals, None)
    maps = {path: load(path) for path in options.map}
    timings = (compare_times(path, free, goals) for path, free in maps.items())
    training.write_table(timings, options.out / "timings.csv")
    known = {path: free for path, free in maps.items() if pathlib.Path(f"{path}.scen").exists()}
    checks = (check_scenarios(path, jnp.asarray(free), scenarios) for path, free in known.items())
    if known:
        training.write_table(checks, options.out / "scenarios.csv")


if __name__ == "__main__":
    main()
