"""FCN: the reactive baseline whose kernel spans the map."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array
from jplan.fixed_points import AbstractAdjoint, Solver
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    flatten_batch,
    restore_batch,
)
from jplan.planners._reactive import as_size, check_map_size, coordinates, reactive_output, refuse


class FCN(AbstractMapPlanner):
    """Fully convolutional network whose first kernel spans the whole map, seen from each cell.

    The first layer has kernels of [2 H - 1, 2 W - 1] on the zero-padded map, so what it gives at a
    cell depends on the map relative to that cell; per-cell layers follow. `solve` is the
    convolution; `policy` crops the map around the agent and takes one product, which is cheaper
    where few positions of each map are trained on.

    Args:
      actions: number of actions A.
      channels: channels of the maps.
      size: height and width of the maps, or one number for both.
      hidden: channels of the layers, each followed by ReLU; a linear map to the logits comes last.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range.

    Example:
      >>> planner = FCN(4, 2, size=9, hidden=(20, 20), rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1, and the code released with it.

    Note:
      The layers are those of the released code, which the three widths of ``hidden`` are from; the
      initial values are LeCun normal, biases zero.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        size: int | tuple[int, int],
        hidden: tuple[int, ...] = (150, 150, 10),
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(actions=actions, channels=channels)
        if not isinstance(hidden, tuple | list) or not hidden:
            raise ValueError(
                f"hidden is {hidden!r}, expected the width of each layer, such as (150, 150, 10)."
            )
        check_sizes(**{f"hidden[{layer}]": width for layer, width in enumerate(hidden)})
        hidden = tuple(hidden)
        self.actions = actions
        self.channels = channels
        self.size = as_size(size, smallest=1)
        self.hidden = hidden
        height, width = self.size
        shape = (2 * height - 1, 2 * width - 1, channels, hidden[0])
        self.kernel = nnx.Param(draw_weights(rngs, shape))
        self.bias = nnx.Param(jnp.zeros(hidden[0]))
        self.layers = nnx.List(
            nnx.Linear(before, after, param_dtype=float, rngs=rngs)
            for before, after in itertools.pairwise(hidden)
        )
        self.readout = nnx.Linear(hidden[-1], actions, use_bias=False, param_dtype=float, rngs=rngs)

    def policy(self, maps: Array, position: Array) -> Array:
        """Logits of the action in the agent's cell, as in `CNN.policy`."""
        check_map_size(maps, self.channels, self.size)
        height, width = self.size
        y, x = coordinates(maps, position)
        shape = (2 * height - 1, 2 * width - 1, self.channels)

        def look(m: Array, y: Array, x: Array) -> Array:
            padded = jnp.pad(m, ((height - 1, height - 1), (width - 1, width - 1), (0, 0)))
            return jax.lax.dynamic_slice(padded, (y, x, 0), shape)

        views = jax.vmap(look)(flatten_batch(maps), y.reshape(-1), x.reshape(-1))
        seen = jnp.einsum("bhwc,hwco->bo", views, self.kernel[...])
        return self._per_cell(restore_batch(seen, maps))

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`, with the options None as in `CNN.solve`."""
        refuse(solver=solver, adjoint=adjoint, num_steps=num_steps)
        check_map_size(maps, self.channels, self.size)
        dtype = jnp.result_type(maps, self.kernel[...])
        seen = jax.lax.conv_general_dilated(
            flatten_batch(maps).astype(dtype),
            self.kernel[...].astype(dtype),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return reactive_output(self._per_cell(seen), maps)

    def _per_cell(self, seen: Array) -> Array:
        seen = nnx.relu(seen + jnp.expand_dims(self.bias[...], tuple(range(seen.ndim - 1))))
        for layer in self.layers:
            seen = nnx.relu(layer(seen))
        return self.readout(seen)
