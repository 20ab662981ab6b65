"""Worlds to plan in: random grid tasks, and loaders of real maps.

Generators are pure functions of a key: unbatched, static in size, made for ``vmap`` and ``jit``.
Maps are bool [H, W], True where one can stand; cells are ``(y, x)``.
"""

from jplan.envs._arm import (
    ArmWorld,
    arm_configurations,
    arm_image,
    arm_links,
    arm_task,
    arm_task_at,
    arm_world,
)
from jplan.envs._components import largest_component
from jplan.envs._crash_gridworld import GridState, crash_gridworld
from jplan.envs._cube_data import generate_cube_data
from jplan.envs._cube_environments import CUBE_ENVIRONMENTS, make_cube_environment
from jplan.envs._cube_policies import (
    CubeActFn,
    CubeStartFn,
    random_cube_policy,
    scripted_cube_policy,
)
from jplan.envs._cube_protocol import evaluate_cube_policy
from jplan.envs._cube_results import CubeResults, wilson_interval
from jplan.envs._cube_tasks import CubeTasks, draw_cube_tasks, load_cube_tasks, save_cube_tasks
from jplan.envs._diffplan import load_diffplan_mazes
from jplan.envs._elevation import free_from_elevation, load_jacksboro_elevation
from jplan.envs._gif import save_gif
from jplan.envs._grid_tasks import GridTask, as_map, random_free_cell
from jplan.envs._gymnasium import to_gymnasium
from jplan.envs._gymnax import GymnaxState, from_gymnax, to_gymnax
from jplan.envs._images import load_image_map
from jplan.envs._load_map import load_map
from jplan.envs._mazes import maze
from jplan.envs._movingai import Scenarios, load_movingai_map, load_movingai_scenarios
from jplan.envs._panorama import panorama
from jplan.envs._path_world import path_world
from jplan.envs._point_maze import PointState, point_maze, wander
from jplan.envs._roadmap import Roadmap, roadmap, roadmap_mdp
from jplan.envs._spaceship import SpaceshipState, spaceship
from jplan.envs._vin_grids import vin_grid
from jplan.envs._voxel_mazes import voxel_maze
from jplan.envs._world import ObserveFn, ResetFn, World

__all__ = [
    "CUBE_ENVIRONMENTS",
    "ArmWorld",
    "CubeActFn",
    "CubeResults",
    "CubeStartFn",
    "CubeTasks",
    "GridState",
    "GridTask",
    "GymnaxState",
    "ObserveFn",
    "PointState",
    "ResetFn",
    "Roadmap",
    "Scenarios",
    "SpaceshipState",
    "World",
    "arm_configurations",
    "arm_image",
    "arm_links",
    "arm_task",
    "arm_task_at",
    "arm_world",
    "as_map",
    "crash_gridworld",
    "draw_cube_tasks",
    "evaluate_cube_policy",
    "free_from_elevation",
    "from_gymnax",
    "generate_cube_data",
    "largest_component",
    "load_cube_tasks",
    "load_diffplan_mazes",
    "load_image_map",
    "load_jacksboro_elevation",
    "load_map",
    "load_movingai_map",
    "load_movingai_scenarios",
    "make_cube_environment",
    "maze",
    "panorama",
    "path_world",
    "point_maze",
    "random_cube_policy",
    "random_free_cell",
    "roadmap",
    "roadmap_mdp",
    "save_cube_tasks",
    "save_gif",
    "scripted_cube_policy",
    "spaceship",
    "to_gymnasium",
    "to_gymnax",
    "vin_grid",
    "voxel_maze",
    "wander",
    "wilson_interval",
]
