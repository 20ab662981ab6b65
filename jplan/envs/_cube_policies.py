"""Policies of the cube tasks that learn nothing: what chance and what a script can reach."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jplan.envs._cube_environments import global_numpy_seed, make_cube_environment

CubeActFn = Callable[[np.ndarray], np.ndarray]
"""(observations float32 [B, D]) -> actions [B, 5] in [-1, 1], called once a step.

Row b is the same episode in every call; rows of episodes that are over are ignored."""

CubeStartFn = Callable[[np.ndarray], CubeActFn]
"""(goals float32 [B, D]) -> act_fn, called at the start of B episodes."""

_CENTRE = np.array([0.425, 0.0, 0.0])


def random_cube_policy(*, seed: int = 0) -> CubeStartFn:
    """Uniform random actions.

    Args:
      seed: non-negative; with an episode's goal it decides the actions.

    Returns:
      A policy for `evaluate_cube_policy`, for any number of cubes.

    Differentiability: none.

    Example:
      >>> act_fn = random_cube_policy()(np.zeros((3, 28), np.float32))
      >>> act_fn(np.zeros((3, 28), np.float32)).shape
      (3, 5)
    """

    def start_fn(goals: np.ndarray) -> CubeActFn:
        generators = _generators(goals, seed)
        return lambda observations: np.array([g.uniform(-1, 1, 5) for g in generators])

    return start_fn


def scripted_cube_policy(kind: str = "plan", *, seed: int = 0) -> CubeStartFn:
    """OGBench's scripted oracle without noise: the ceiling for what its data teach.

    Args:
      kind: "plan" follows an open-loop plan, and makes another if it fails ("play" data come from
        it); "markov" is a closed loop ("noisy" data).
      seed: non-negative; with an episode's goal it decides the random way points.

    Returns:
      A policy for `evaluate_cube_policy`, for one cube.

    Raises:
      ValueError: if there is no such kind, or, when it is called, if there are several cubes.
      ImportError: if OGBench is not installed.

    Differentiability: none.

    Example: see `evaluate_cube_policy`.

    References: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL".
    """
    if kind not in ("plan", "markov"):
        raise ValueError(f"kind: got {kind!r}, expected 'plan' or 'markov'")
    # Never reset: the oracles read constants from it.
    env = make_cube_environment("cube-single")
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle

    def make_oracle() -> Any:
        return CubePlanOracle(env=env, noise=0.0) if kind == "plan" else CubeMarkovOracle(env=env)

    def start_fn(goals: np.ndarray) -> CubeActFn:
        if goals.shape[1] != 28:
            raise ValueError(
                f"scripted_cube_policy: got goals of {goals.shape[1]} numbers, expected 28; it is "
                f"for cube-single"
            )
        oracles = [make_oracle() for _ in goals]
        generators = _generators(goals, seed)
        is_started = False
        time = 0.0

        def act_fn(observations: np.ndarray) -> np.ndarray:
            nonlocal is_started, time
            actions = []
            for row, (oracle, generator) in enumerate(zip(oracles, generators, strict=True)):
                info = _privileged(observations[row], goals[row], time)
                if not is_started or oracle.done:
                    with global_numpy_seed(int(generator.integers(1 << 32))):
                        oracle.reset(None, info)
                actions.append(oracle.select_action(None, info))
            is_started = True
            time += env.unwrapped.control_timestep()
            return np.clip(np.array(actions), -1, 1)

        return act_fn

    return start_fn


def _generators(goals: np.ndarray, seed: int) -> list[np.random.Generator]:
    """One for each episode, whatever the batch it is in: goals differ in the pose of the arm."""
    words = np.ascontiguousarray(goals, np.float32).view(np.uint32)
    return [np.random.default_rng((seed, *row)) for row in words.tolist()]


def _privileged(observation: np.ndarray, goal: np.ndarray, time: float) -> dict[str, Any]:
    """What OGBench's oracles read, in metres and radians, from an observation and a goal."""
    state, target = observation.astype(np.float64), goal.astype(np.float64)
    return {
        "time": np.array([time]),
        "proprio/effector_pos": state[12:15] / 10 + _CENTRE,
        "proprio/effector_yaw": np.arctan2(state[[16]], state[[15]]),
        "proprio/gripper_opening": state[[17]] / 3,
        "proprio/gripper_contact": state[[18]],
        "privileged/target_block": 0,
        "privileged/block_0_pos": state[19:22] / 10 + _CENTRE,
        "privileged/block_0_yaw": np.arctan2(state[[27]], state[[26]]),
        "privileged/target_block_pos": target[19:22] / 10 + _CENTRE,
        "privileged/target_block_yaw": np.arctan2(target[[27]], target[[26]]),
    }
