"""CNN: the reactive baseline that sees the agent as a channel of the map."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array
from jplan.fixed_points import AbstractAdjoint, Solver
from jplan.planners._planner import AbstractMapPlanner, PlannerOutput, flatten_batch
from jplan.planners._reactive import as_size, check_map_size, coordinates, reactive_output, refuse

CHUNK = 64
"""Positions that `CNN.solve` runs at a time."""


class CNN(AbstractMapPlanner):
    """Convolutional network that sees the whole map and the agent on it.

    Five 3x3 convolutions with 50, 50, 100, 100 and 100 kernels and ReLU, with 2x2 max-pooling
    after the first and the third, then a linear map to the logits. The agent's cell is one more
    input channel, so the native call is `policy`, one position at a time.

    Args:
      actions: number of actions A.
      channels: channels of the maps.
      size: height and width of the maps, or one number for both; at least 4.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range.

    Example:
      >>> planner = CNN(4, 2, size=9, rngs=nnx.Rngs(0))
      >>> planner.policy(jnp.ones((5, 9, 9, 2)), jnp.zeros((5, 2), int)).shape
      (5, 4)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.1, and the code released with it.

    Note:
      The layers are those of the released code; the initial values are flax's.
    """

    def __init__(
        self, actions: int, channels: int, *, size: int | tuple[int, int], rngs: nnx.Rngs
    ) -> None:
        check_sizes(actions=actions, channels=channels)
        self.actions = actions
        self.channels = channels
        self.size = as_size(size, smallest=4)
        widths = (channels + 1, 50, 50, 100, 100, 100)
        self.convolutions = nnx.List(
            nnx.Conv(before, after, (3, 3), param_dtype=float, rngs=rngs)
            for before, after in itertools.pairwise(widths)
        )
        cells = (self.size[0] // 4) * (self.size[1] // 4)
        self.readout = nnx.Linear(
            cells * widths[-1], actions, use_bias=False, param_dtype=float, rngs=rngs
        )

    def policy(self, maps: Array, position: Array) -> Array:
        """Logits of the action in the agent's cell.

        Args:
          maps: [..., H, W, C], floating point.
          position: integer [..., 2], (y, x) of the agent; one outside the map counts as the
            nearest cell in it. For many positions on one map use ``vmap``.

        Returns:
          [..., A].

        Raises:
          ValueError: if a shape or a dtype is another.
        """
        check_map_size(maps, self.channels, self.size)
        y, x = coordinates(maps, position)
        rows = jax.nn.one_hot(y, self.size[0], dtype=maps.dtype)[..., :, None, None]
        columns = jax.nn.one_hot(x, self.size[1], dtype=maps.dtype)[..., None, :, None]
        seen = jnp.concatenate([maps, rows * columns], axis=-1)
        for layer, convolution in enumerate(self.convolutions):
            seen = nnx.relu(convolution(seen))
            if layer in (0, 2):
                seen = nnx.max_pool(seen, (2, 2), strides=(2, 2))
        return self.readout(seen.reshape((*seen.shape[:-3], self.readout.in_features)))

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """`policy` at every cell: H * W passes a map, so train on `policy`.

        See `AbstractMapPlanner.solve`; there is nothing to solve, so the options must be None and
        ``solution`` is None. The value of a cell is its largest logit.
        """
        refuse(solver=solver, adjoint=adjoint, num_steps=num_steps)
        check_map_size(maps, self.channels, self.size)
        cells = jnp.stack(jnp.indices(self.size), axis=-1).reshape(-1, 2)

        def everywhere(m: Array) -> Array:
            logits = jax.lax.map(lambda cell: self.policy(m, cell), cells, batch_size=CHUNK)
            return logits.reshape(*self.size, self.actions)

        return reactive_output(jax.lax.map(everywhere, flatten_batch(maps)), maps)
