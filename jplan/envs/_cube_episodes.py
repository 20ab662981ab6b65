"""Episodes of offline data, made by the scripted oracles of OGBench.

The laws are those of OGBench's own generator: *play* follows noisy open-loop plans from one random
target to the next, *noisy* a closed loop with Gaussian noise of a level drawn for each episode and
one random action in ten. OGBench's generator declares a seed and does not use it; here an episode
depends on the seed and its own number only.
"""

from typing import Any, NamedTuple

import numpy as np

from jplan.envs._cube_environments import global_numpy_seed, make_cube_environment, quiet_boxes

KINDS = ("play", "noisy")
COLUMNS = ("observations", "actions", "qpos", "qvel", "terminals")
_NOISE, _RANDOM_ACTIONS = 0.1, 0.1
_NOISE_SCALE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])
# Range of the probability, drawn for each episode, that a target lies on another cube.
_STACK = {
    "cube-single": (0.0, 0.0),
    "cube-double": (0.0, 0.25),
    "cube-triple": (0.05, 0.35),
    "cube-quadruple": (0.1, 0.5),
}


class Recipe(NamedTuple):
    """What decides an episode besides its number."""

    environment: str
    kind: str
    seed: int
    num_states: int


def make_collector(recipe: Recipe) -> tuple[Any, Any]:
    """The environment and the oracle that `collect_episode` takes."""
    env = make_cube_environment(
        recipe.environment,
        mode="data_collection",
        terminate_at_goal=False,
        max_episode_steps=recipe.num_states,
    )
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle

    if recipe.kind == "play":
        return env, CubePlanOracle(env=env, noise=_NOISE, noise_smoothing=0.5)
    return env, CubeMarkovOracle(env=env, min_norm=0.4)


def collect_episode(env: Any, oracle: Any, recipe: Recipe, number: int) -> dict[str, np.ndarray]:
    """Columns of the file for one episode, [T, ...] each; the last action has no next state."""
    own, reset, oracles = np.random.SeedSequence((recipe.seed, number)).spawn(3)
    generator = np.random.default_rng(own)
    level = generator.uniform(0, _NOISE)
    stack = generator.uniform(*_STACK[recipe.environment])
    rows = []
    with global_numpy_seed(_number(oracles)), quiet_boxes():
        observation, info = env.reset(seed=_number(reset))
        oracle.reset(observation, info)
        for _ in range(recipe.num_states):
            if recipe.kind == "noisy" and generator.uniform() < _RANDOM_ACTIONS:
                action = generator.uniform(-1, 1, 5)
            else:
                action = np.array(oracle.select_action(observation, info))
                if recipe.kind == "noisy":
                    action += level * _NOISE_SCALE * generator.normal(size=5)
            # Rounded before it is taken, so that a replay of the file gives the file again.
            action = np.clip(action, -1, 1).astype(np.float32)
            after, _, _, _, info = env.step(action)
            rows.append((observation, action, info["prev_qpos"], info["prev_qvel"]))
            observation = after
            if oracle.done:
                oracle.reset(*env.unwrapped.set_new_target(p_stack=stack))
    episode = {
        name: np.array(column, np.float32)
        for name, column in zip(COLUMNS[:-1], zip(*rows, strict=True), strict=True)
    }
    return episode | {COLUMNS[-1]: np.arange(recipe.num_states) == recipe.num_states - 1}


def _number(seeds: np.random.SeedSequence) -> int:
    return int(seeds.generate_state(1)[0])
