"""What the reactive baselines share: one map size, one position for each map, no solve."""

from typing import Any

import jax.numpy as jnp

from jplan._typing import Array
from jplan.planners._planner import PlannerOutput, check_maps, restore_batch


def reactive_output(logits: Array, maps: Array) -> PlannerOutput:
    """The result of a planner without an inner solve."""
    return restore_batch(PlannerOutput(logits=logits, value=logits.max(-1), solution=None), maps)


def as_size(size: int | tuple[int, int], *, smallest: int) -> tuple[int, int]:
    """Height and width; ValueError if they are anything else."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or any(not isinstance(side, int) or side < smallest for side in sides):
        raise ValueError(
            f"size is {size!r}, expected the height and the width of the maps, whole numbers from "
            f"{smallest} on."
        )
    return sides[0], sides[1]


def check_map_size(maps: Array, channels: int, size: tuple[int, int]) -> None:
    """`check_maps`, and a ValueError if the maps have another size."""
    check_maps(maps, channels)
    if maps.shape[-3:-1] != size:
        raise ValueError(
            f"maps have shape {list(maps.shape)}, expected [..., {size[0]}, {size[1]}, "
            f"{channels}]: a reactive planner is made for one size; pad the maps, or make a "
            f"planner with size={maps.shape[-3:-1]}."
        )


def coordinates(maps: Array, position: Array) -> tuple[Array, Array]:
    """Coordinates y and x, [...] each, moved into the map; ValueError unless each map has one."""
    position = jnp.asarray(position)
    expected = (*maps.shape[:-3], 2)
    if position.shape != expected or not jnp.issubdtype(position.dtype, jnp.integer):
        raise ValueError(
            f"position has shape {list(position.shape)} and dtype {position.dtype}, expected "
            f"{list(expected)} and integer: one (y, x) for each map; use vmap for many positions "
            "on one map."
        )
    height, width = maps.shape[-3:-1]
    return position[..., 0].clip(0, height - 1), position[..., 1].clip(0, width - 1)


def refuse(**options: Any) -> None:
    """ValueError if an option of a solve is given."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{name} is {value!r}, expected None: a reactive planner solves nothing; leave "
                "the argument out."
            )
