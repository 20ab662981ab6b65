"""Networks from observations to maps: views from the cells, and pictures of a workspace."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.nn._convolution import loop_convolution


class PanoramaMapper(nnx.Module):
    """Network from the four views of every cell to a map, one logit a cell for being free.

    Two strided convolutions and a linear layer, the same for each view, make an embedding; those
    of the four views, side by side, go through two 3x3 convolutions over the map.

    Args:
      size: pixels of a view in height and width, a multiple of 4, at least 20.
      embedding: width of the embedding of a view.
      hidden: width between the two convolutions over the map.
      padding: static; of these, see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, ``size`` no such multiple, or the padding unknown; when
        called, if the views have another shape.

    Example:
      >>> mapper = PanoramaMapper(size=20, embedding=8, hidden=4, rngs=nnx.Rngs(0))
      >>> mapper(jnp.zeros((5, 6, 4, 20, 20, 3), jnp.uint8)).shape
      (5, 6)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, appendix D.1; Lee et al., Gated path planning networks, 2018.

    Note:
      The code released with them reshapes where it ought to permute, which mixes the pixels of
      different cells.
    """

    def __init__(
        self,
        *,
        size: int = 32,
        embedding: int = 256,
        hidden: int = 64,
        padding: Padding = "zero",
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(size=size, embedding=embedding, hidden=hidden)
        check_padding(padding)
        if size % 4 or size < 20:
            raise ValueError(f"size is {size}, expected a multiple of 4 from 20 on.")
        self.size = size
        self.padding: Padding = padding
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        blocks = (size // 4 - 1) // 2  # a side, after the first convolution and the halving
        self.first = linear(8 * 8 * 3, 32)
        self.second = linear(4 * 4 * 32, 64)
        self.embed = linear((blocks - 1) ** 2 * 64, embedding)
        self.mix = nnx.Param(draw_weights(rngs, (3, 3, 4 * embedding, hidden)))
        self.out = nnx.Param(draw_weights(rngs, (3, 3, hidden, 1)))
        self.mix_bias = nnx.Param(jnp.zeros(hidden))
        self.out_bias = nnx.Param(jnp.zeros(()))

    def __call__(self, views: Array) -> Array:
        """Logits of one map, [H, W, 4, size, size, 3] -> [H, W]; views count from 0 to 255."""
        wanted = (4, self.size, self.size, 3)
        if views.ndim != 6 or views.shape[2:] != wanted:
            raise ValueError(
                f"views have shape {list(views.shape)}, expected [H, W, *{list(wanted)}]; render "
                "them with jplan.envs.panorama(free, size=...), and use vmap for a batch."
            )
        height, width = views.shape[:2]
        x = views.reshape(-1, *wanted[1:]).astype(self.mix.dtype) / 255
        x = jax.nn.relu(self.first(_patches(x, 4)))
        x = jax.nn.relu(
            self.second(_patches(x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2], 2))
        )
        x = jax.nn.relu(self.embed(x.reshape(len(x), -1)))
        x = x.reshape(height, width, -1)
        x = (
            loop_convolution(x, self.mix[...], padding=self.padding)
            + self.mix_bias[...][None, None]
        )
        x = loop_convolution(jax.nn.relu(x), self.out[...], padding=self.padding)
        return x[..., 0] + self.out_bias[...]


def _patches(x: Array, stride: int) -> Array:
    """Windows of side ``2 * stride``, one every ``stride``: [B, H, W, C] -> [B, h, w, P].

    A strided convolution as one product. Its gradient as a convolution is slow in a loop on CPU.
    """
    batch, height, width, channels = x.shape
    h, w = height // stride, width // stride
    blocks = x.reshape(batch, h, stride, w, stride, channels).swapaxes(2, 3)
    blocks = blocks.reshape(batch, h, w, -1)
    windows = [blocks[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)]
    return jnp.concatenate(windows, axis=-1)


class WorkspaceMapper(nnx.Module):
    """Residual U-net from a picture of the workspace to a configuration map, one logit a cell.

    The picture is taken in blocks of 6 x 6 pixels; twice the side is halved and the channels are
    doubled, with a dense layer over all cells at the bottom, for an arm's angle and its place in
    the picture have nothing local in common; then the way back up, with what the way down had at
    each side added, is resized to the map.

    Args:
      bins: side of the configuration map.
      size: side of the picture in pixels, a multiple of 24.
      hidden: channels at the top.
      padding: static; of the last layers, which are on the configuration map; "wrap" for the torus
        that an arm's is.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, ``size`` no such multiple, or the padding unknown; when
        called, if the picture has another shape.

    Example:
      >>> mapper = WorkspaceMapper(bins=18, size=48, hidden=4, rngs=nnx.Rngs(0))
      >>> mapper(jnp.zeros((48, 48, 1))).shape
      (18, 18)

    References:
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, appendix D.1 and figure 8; Ronneberger, Fischer and Brox, U-net, 2015.

    Note:
      Theirs begins at a third of the picture's side, this one at a sixth with the pixels as
      channels, which takes half the time. There is no normalisation, so the last convolution of
      each residual block starts at zero.
    """

    def __init__(
        self,
        *,
        bins: int,
        size: int = 96,
        hidden: int = 32,
        padding: Padding = "wrap",
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(bins=bins, size=size, hidden=hidden)
        check_padding(padding)
        if size % 24:
            raise ValueError(
                f"size is {size}, expected a multiple of 24 such as {size // 24 * 24 or 24}."
            )
        self.bins = bins
        self.size = size
        self.padding: Padding = padding
        widths = [hidden * 2**depth for depth in range(3)]
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        block = lambda width: ResidualBlock(width, rngs=rngs)
        self.enter = linear(36, hidden)
        self.down = nnx.List([block(width) for width in widths])
        self.wider = nnx.List([linear(4 * w, 2 * w) for w in widths[:-1]])
        cells = (size // 24) ** 2 * widths[-1]
        self.bottom = linear(cells, cells)
        self.narrower = nnx.List([linear(2 * w, w) for w in widths[:-1]])
        self.up = nnx.List([block(width) for width in widths[:-1]])
        self.last = ResidualBlock(hidden, padding=padding, rngs=rngs)
        self.out = linear(hidden, 1)

    def __call__(self, picture: Array) -> Array:
        """Logits of one picture, [size, size, 1] -> [bins, bins]."""
        if picture.shape != (self.size, self.size, 1):
            raise ValueError(
                f"the picture has shape {list(picture.shape)}, expected [{self.size}, {self.size}, "
                "1]; draw it with jplan.envs.arm_image(world, size=...), and use vmap for a batch."
            )
        x = self.enter(_blocks(picture.astype(self.out.kernel.dtype), 6))
        levels = []
        for depth, block in enumerate(self.down):
            x = block(x)
            if depth < len(self.wider):
                levels.append(x)
                x = jax.nn.relu(self.wider[depth](_blocks(x, 2)))
        x = x + jax.nn.relu(self.bottom(x.reshape(-1))).reshape(x.shape)
        for depth in reversed(range(len(levels))):
            x = jnp.repeat(jnp.repeat(self.narrower[depth](x), 2, axis=0), 2, axis=1)
            x = self.up[depth](x + levels[depth])
        x = jax.image.resize(x, (self.bins, self.bins, x.shape[-1]), "nearest")
        return self.out(jax.nn.relu(self.last(x)))[..., 0]


class ResidualBlock(nnx.Module):
    """``x + K2 * relu(K1 * relu(x) + b)`` with two 3x3 convolutions, the second from zero on.

    Args:
      channels: of the map.
      kernel_size: odd.
      padding: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel even or the padding unknown.

    Example:
      >>> x = jnp.ones((4, 5, 8))
      >>> bool((ResidualBlock(8, rngs=nnx.Rngs(0))(x) == x).all())
      True

    References: He et al., Identity mappings in deep residual networks, 2016.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        padding: Padding = "zero",
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels)
        check_kernel_size(kernel_size)
        check_padding(padding)
        shape = (kernel_size, kernel_size, channels, channels)
        self.padding: Padding = padding
        self.first = nnx.Param(draw_weights(rngs, shape, gain=2.0))
        self.second = nnx.Param(jnp.zeros(shape))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Array) -> Array:
        """[H, W, C] -> [H, W, C]."""
        h = loop_convolution(jax.nn.relu(x), self.first[...], padding=self.padding)
        h = jax.nn.relu(h + self.bias[...][None, None])
        return x + loop_convolution(h, self.second[...], padding=self.padding)


def _blocks(x: Array, side: int) -> Array:
    """Blocks of cells as channels, [H, W, C] -> [H / side, W / side, side * side * C]."""
    height, width, _ = x.shape
    blocks = x.reshape(height // side, side, width // side, side, -1).swapaxes(1, 2)
    return blocks.reshape(height // side, width // side, -1)
