"""Network from a picture around an arm's base to its configuration map."""

import jax
import numpy as np
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array
from jplan.nn._observation_mappers import ResidualBlock


class PolarMapper(nnx.Module):
    """Network from a picture to a configuration map that shifts when the picture is turned.

    The first joint turns the whole arm, so a workspace that is turned by a bin has a map that is
    shifted by a row. The picture is sampled along circles around its middle, where the base is, and
    one layer, the same for every row, leads from all that is seen, relative to the row's angle, to
    the row's cells; a residual block on the torus and a linear layer follow. Quarter turns shift
    the map exactly, where they are whole bins, other turns as well as pixels allow.

    Args:
      bins: side of the configuration map.
      size: side of the picture in pixels.
      radii: number of circles, out to the edge of the picture.
      rays: samples of a circle for each bin.
      hidden: channels of the map.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1; when called, if the picture has another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> mapper = PolarMapper(bins=9, size=24, radii=4, rays=2, hidden=4, rngs=nnx.Rngs(0))
      >>> mapper(jnp.zeros((24, 24, 1))).shape
      (9, 9)
    """

    def __init__(
        self,
        *,
        bins: int,
        size: int = 96,
        radii: int = 32,
        rays: int = 8,
        hidden: int = 8,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(bins=bins, size=size, radii=radii, rays=rays, hidden=hidden)
        self.bins = bins
        self.size = size
        self.radii = radii
        self.rays = rays
        self.hidden = hidden
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.look = linear(bins * rays * radii, bins * hidden)
        self.refine = ResidualBlock(hidden, padding="wrap", rngs=rngs)
        self.out = linear(hidden, 1)

    def __call__(self, picture: Array) -> Array:
        """Logits of free configurations, [size, size, 1] -> [bins, bins]."""
        if picture.shape != (self.size, self.size, 1):
            raise ValueError(
                f"the picture has shape {list(picture.shape)}, expected [{self.size}, {self.size}, "
                "1]; draw it with jplan.envs.arm_image(world, size=...), and use vmap for a batch."
            )
        angle = np.arange(self.bins * self.rays)[:, None] * (2 * np.pi / self.bins / self.rays)
        radius = (np.arange(self.radii)[None] + 0.5) * (self.size / 2 / self.radii)
        middle = self.size / 2 - 0.5
        at = [middle - radius * np.sin(angle), middle + radius * np.cos(angle)]
        sampled = jax.scipy.ndimage.map_coordinates(
            picture[..., 0].astype(self.out.kernel.dtype), at, order=1, mode="nearest"
        )
        sampled = sampled.reshape(self.bins, -1)
        turns = (np.arange(self.bins)[:, None] + np.arange(self.bins)[None]) % self.bins
        seen = sampled[turns].reshape(self.bins, -1)  # from each row's angle on, all around
        field = self.look(seen).reshape(self.bins, self.bins, self.hidden)
        return self.out(jax.nn.relu(self.refine(field)))[..., 0]
