"""Self-attention cell, the iteration of a spatial planning transformer, and its positions."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_padding, check_sizes
from jplan._typing import Array, Padding
from jplan.nn._solve_cell import AbstractCell


class AttentionCell(AbstractCell):
    """One block of a transformer over all cells of a map.

        h = norm(z + input + attention(z + input)),  z <- (z + norm(h + network(h))) / 2

    The network has one hidden layer of width ``4 * hidden``. Steps are half steps, since whole ones
    circle instead of converging once the block is trained. Without injection the input is only
    where the iteration starts, and a step is the block, as published.

    Args:
      hidden: channels of the state, a multiple of the number of heads.
      heads: of the attention.
      inject: static; whether each step sees the input.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1 or ``hidden`` no multiple of ``heads``.

    Example:
      >>> cell = AttentionCell(16, heads=4, rngs=nnx.Rngs(0))
      >>> inputs = jnp.ones((5, 6, 16))
      >>> cell(cell.start(inputs), inputs).shape
      (5, 6, 16)

    References:
      Vaswani et al., Attention is all you need, 2017, section 3.
      Chaplot, Pathak and Malik, Differentiable spatial planning using transformers, 2021.
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, appendix C.1 (ID-SPT: one block, iterated, without injection).
    """

    def __init__(self, hidden: int, *, heads: int = 8, inject: bool = True, rngs: nnx.Rngs) -> None:
        check_sizes(hidden=hidden, heads=heads)
        if hidden % heads:
            raise ValueError(
                f"hidden is {hidden}, expected a multiple of {heads}, the number of heads."
            )
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        norm = lambda: nnx.LayerNorm(hidden, param_dtype=float, rngs=rngs)
        self.hidden = hidden
        self.heads = heads
        self.inject = inject
        self.project = linear(hidden, 3 * hidden)
        self.merge = linear(hidden, hidden)
        self.widen = linear(hidden, 4 * hidden)
        self.narrow = linear(4 * hidden, hidden)
        self.attention_norm = norm()
        self.network_norm = norm()

    def start(self, inputs: Array) -> Array:
        """Initial state, [H, W, hidden]: the input, or zero if each step sees that."""
        return jnp.zeros_like(inputs) if self.inject else inputs

    def __call__(self, z: Array, inputs: Array) -> Array:
        """One step, [H, W, hidden] -> [H, W, hidden]."""
        height, width, _ = z.shape
        h = (z + inputs if self.inject else z).reshape(height * width, self.hidden)
        tokens = self.project(h).reshape(height * width, 3, self.heads, -1)
        query, key, value = jnp.moveaxis(tokens, 1, 0)
        # By hand, since jax.nn.dot_product_attention has its softmax in single precision.
        scores = jnp.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
        mixed = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores), value)
        h = self.attention_norm(h + self.merge(mixed.reshape(h.shape)))
        h = self.network_norm(h + self.narrow(jax.nn.relu(self.widen(h)))).reshape(z.shape)
        return (z + h) / 2 if self.inject else h


def position_encoding(
    height: int, width: int, channels: int, *, padding: Padding = "zero"
) -> Array:
    """Waves along both axes of a map, by which attention tells its cells apart.

        [sin(w_k y), cos(w_k y), sin(w_k x), cos(w_k x)],  w_k = 10000^(-k / n)

    for k = 0 .. n - 1, with n = ``channels / 4``. On a torus w_k = 2 pi (k + 1) / side instead, so
    that they close.

    Args:
      height: static, H.
      width: static, W.
      channels: static, C, a multiple of 4.
      padding: static; "wrap" for tori.

    Returns:
      [H, W, C].

    Raises:
      ValueError: if a size is below 1, the channels no multiple of 4 or the padding unknown.

    Example:
      >>> position_encoding(5, 6, 16).shape
      (5, 6, 16)

    References:
      Vaswani et al. 2017, section 3.5, along each axis as in Chaplot, Pathak and Malik 2021.
    """
    check_sizes(height=height, width=width, channels=channels)
    check_padding(padding)
    if channels % 4:
        raise ValueError(
            f"channels is {channels}, expected a multiple of 4: sine and cosine along two axes."
        )
    count = channels // 4

    def waves(side: int) -> Array:
        k = jnp.arange(count, dtype=float)
        pitch = 2 * jnp.pi * (k + 1) / side if padding == "wrap" else 1e4 ** (-k / count)
        angle = jnp.arange(side, dtype=float)[:, None] * pitch[None]
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)

    along = waves(height)[:, None], waves(width)[None]
    whole = [jnp.broadcast_to(a, (height, width, 2 * count)) for a in along]
    return jnp.concatenate(whole, axis=-1)
