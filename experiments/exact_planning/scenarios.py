"""MovingAI scenarios: every published optimal length against an extracted path."""

import functools
import math
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from jplan import Status, envs, mdp

STARTS = 4  # starts that share one solve


@functools.partial(jax.jit, static_argnames="max_length")
def solve_and_follow(free, goals, starts, *, max_length):
    """Path lengths from the starts [N, K, 2] to the goals [N, 2], one solve a goal."""

    def one(problem):
        goal, starts = problem
        grid = mdp.GridMDP.from_free(free, goal=goal, moves=8)
        solution = mdp.value_iteration(grid)
        follow = lambda start: mdp.extract_path(grid, solution.value, start, max_length=max_length)
        path = jax.vmap(follow)(starts)
        return path.num_straight, path.num_diagonal, path.reached, solution.status

    return jax.lax.map(one, (goals, starts))


def check_scenarios(path, free, limit):
    """Compare every published optimal length with the length of an extracted path."""
    scenarios = envs.load_movingai_scenarios(f"{path}.scen")
    expected = scenarios.optimal_length[:limit]
    by_goal = {}
    for index, goal in enumerate(map(tuple, scenarios.goals[:limit].tolist())):
        by_goal.setdefault(goal, []).append(index)
    jobs = [
        (goal, (indices[i : i + STARTS] * STARTS)[:STARTS])
        for goal, indices in by_goal.items()
        for i in range(0, len(indices), STARTS)
    ]
    length, reached, settled = np.zeros(len(expected)), np.zeros(len(expected), bool), True
    clock = time.perf_counter()
    for first in range(0, len(jobs), 32):
        chunk = jobs[first : first + 32]
        chunk += [chunk[-1]] * (32 - len(chunk))
        indices = np.asarray([indices for _, indices in chunk])
        straight, diagonal, arrived, status = jax.device_get(
            solve_and_follow(
                free,
                jnp.asarray([goal for goal, _ in chunk]),
                jnp.asarray(scenarios.starts[indices]),
                max_length=int(expected.max()) + 8,
            )
        )
        length[indices] = straight + math.sqrt(2) * diagonal.astype(np.float64)
        reached[indices] = arrived
        settled &= bool((status == Status.CONVERGED).all())
    error = np.abs(length - expected)
    same = [f"{a:.6g}" == f"{b:.6g}" for a, b in zip(length, expected, strict=True)]
    return {
        "map": pathlib.Path(path).stem,
        "scenarios": len(expected),
        "reached": int(reached.sum()),
        "all_converged": settled,
        "largest_error": error.max(),
        "within_1e-3_or_3e-6": int((error <= np.maximum(1e-3, 3e-6 * expected)).sum()),
        "same_six_digits": int(np.sum(same)),
        "seconds": round(time.perf_counter() - clock, 1),
    }
