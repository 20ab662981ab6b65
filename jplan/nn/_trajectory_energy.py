"""An energy of whole trajectories of latents: convolutions over time, then a transformer."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_kernel_size, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array


class _Block(nnx.Module):
    """Attention and a two-layer network, each added to what it reads, which is normalised."""

    def __init__(self, hidden: int, heads: int, *, rngs: nnx.Rngs) -> None:
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        norm = lambda: nnx.LayerNorm(hidden, param_dtype=float, rngs=rngs)
        self.heads = heads
        self.project = linear(hidden, 3 * hidden)
        self.merge = linear(hidden, hidden)
        self.widen = linear(hidden, 4 * hidden)
        self.narrow = linear(4 * hidden, hidden)
        self.attention_norm = norm()
        self.network_norm = norm()

    def __call__(self, x: Array, mask: Array) -> Array:
        """[tokens, hidden] -> [tokens, hidden]; the mask is [tokens, tokens], of what is seen."""
        parts = self.project(self.attention_norm(x)).reshape(len(x), 3, self.heads, -1)
        query, key, value = parts.transpose(1, 2, 0, 3)
        scores = jnp.einsum("hqd,hkd->hqk", query, key) * query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(mask[None], scores, -jnp.inf))
        mixed = jnp.einsum("hqk,hkd->hqd", weights, value).transpose(1, 0, 2)
        x = x + self.merge(mixed.reshape(x.shape))
        return x + self.narrow(jax.nn.silu(self.widen(self.network_norm(x))))


_HASTE = 2.0  # nats by which a goal at the horizon may be likelier than one at once


class _Arrival(nnx.Module):
    """-log of a density, not normalised, of when the goal is reached."""

    def __init__(self, inputs: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.given = linear(inputs, hidden)
        self.time = linear(hidden, hidden)
        self.mix = linear(hidden, hidden)
        self.readout = linear(hidden, 1)

    def __call__(self, given: Array, wave: Array) -> Array:
        """[inputs] and [hidden] -> []."""
        x = jax.nn.silu(self.given(given) + self.time(wave))
        return self.readout(jax.nn.silu(self.mix(x)))[0]


class TrajectoryEnergy(nnx.Module):
    """Energy of a future, given the past, the goal, and when the goal is to be reached.

        tokens = [goal + waves(progress), progress, convolution(past, future) + waves(time)]
        E = 1/2 sum |future - now - read(transformer(tokens))|^2
            + T (2 progress - log(n p(step | past, goal)))

    where now is the newest of the past and step that of the goal, one of n. It is low for futures
    that can follow the past and are at the goal when they should be. The first part is trained
    through its gradient in the future, which does not make energies of different progress
    comparable. For that is the second, a network of its own without the future, which is trained as
    a likelihood. See `jplan.training.denoising_loss`.

    Args:
      width: of a latent, D.
      horizon: T, latents of the future, more than ``max_past``.
      max_past: P, latents of the past.
      hidden: width of a token, a multiple of twice the ``heads``.
      layers: blocks of the transformer.
      heads: of its attention.
      kernel_size: odd, from ``stride`` on; of the convolution over time.
      stride: latents between two tokens, a divisor of ``max_past + horizon``: attention then sees
        that many times fewer tokens, each of which sees ``kernel_size`` latents.
      causal: whether a token sees only itself and what comes before it.
      anchored: whether energies tell which progress is likely; False leaves the likelihood out, as
        the paper does.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range or does not divide; when called, if a shape is another.

    Differentiability: twice and more in future, past and goal, for all activations are smooth; in
      the progress only the first part is, since steps are whole numbers.

    Example:
      >>> energy = TrajectoryEnergy(16, 12, 4, hidden=32, heads=2, rngs=nnx.Rngs(0))
      >>> future, past, goal = jnp.ones((12, 16)), jnp.ones((4, 16)), jnp.ones(16)
      >>> energy(future, past, goal, jnp.float32(0.5)).shape
      ()

    References: Planning as Descent, arXiv 2512.17846, sections 4.1 and 4.2: a convolutional
      encoder, then a transformer of three blocks with a temporal token. Vaswani et al. 2017,
      "Attention is all you need", section 3.5, for the waves.

    Note:
      The paper tells neither kernel and stride nor the read-out; that of a distance is ours. Its
      gradient begins as the difference to what is expected, near the present. A sum, not a mean:
      the gradient in a latent does not depend on how many there are. The likelihood is ours as
      well, with its weight T, one for each latent of the future. The 2 progress beside it are
      haste: recorded episodes come by a place sooner or later, and the likeliest step need not be
      one at which they were on the way to it.
    """

    def __init__(
        self,
        width: int,
        horizon: int,
        max_past: int,
        *,
        hidden: int = 384,
        layers: int = 3,
        heads: int = 6,
        kernel_size: int = 5,
        stride: int = 4,
        causal: bool = False,
        anchored: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(width=width, horizon=horizon, max_past=max_past, hidden=hidden, layers=layers)
        check_sizes(heads=heads, stride=stride)
        check_kernel_size(kernel_size)
        if hidden % (2 * heads):
            raise ValueError(
                f"hidden is {hidden}, expected a multiple of {2 * heads}, twice the {heads} heads."
            )
        if horizon <= max_past:
            raise ValueError(f"horizon is {horizon}, expected more than max_past, {max_past}.")
        if (max_past + horizon) % stride or kernel_size < stride:
            raise ValueError(
                f"stride is {stride}, expected a divisor of {max_past + horizon}, max_past + "
                f"horizon, and at most the kernel_size, which is {kernel_size}."
            )
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.shapes = ((horizon, width), (max_past, width), (width,), ())
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.stride = stride
        self.causal = causal
        self.kernel = nnx.Param(draw_weights(rngs, (kernel_size * width, hidden)))
        self.goal = linear(width, hidden)
        self.progress = linear(hidden, hidden)
        self.condition = linear((max_past + 1) * width, hidden)
        self.blocks = nnx.List(_Block(hidden, heads, rngs=rngs) for _ in range(layers))
        self.norm = nnx.LayerNorm(hidden, param_dtype=float, rngs=rngs)
        self.readout = linear(hidden, stride * width)
        self.arrival = _Arrival((max_past + 1) * width, hidden, rngs=rngs) if anchored else None

    def __call__(self, future: Array, past: Array, goal: Array, progress: Array) -> Array:
        """Energy [], of a future [T, D], a past [P, D], a goal [D] and its progress [] in [0, 1].

        The progress is the place of the goal in the future: 0 at the latent ``max_past``, counted
        from 1, and 1 at the last.
        """
        expected = self.expected(future, past, goal, progress)
        energy = 0.5 * jnp.sum((future - past[-1:] - expected) ** 2)
        if self.arrival is None:
            return energy
        cost = self.arrival_cost(past, goal, progress) + _HASTE * progress
        return energy + len(future) * cost

    def expected(self, future: Array, past: Array, goal: Array, progress: Array) -> Array:
        """What is expected of the future, relative to now, given all of it, [T, D]."""
        got = tuple(jnp.shape(x) for x in (future, past, goal, progress))
        if got != self.shapes:
            raise ValueError(
                f"future, past, goal and progress have shapes {got}, expected {self.shapes}; use "
                "vmap for a batch."
            )
        (horizon, _), (max_past, _) = self.shapes[:2]
        # As products, since XLA:CPU is slow at the derivatives of convolutions.
        sides = (self.kernel_size - self.stride) // 2, (self.kernel_size - self.stride + 1) // 2
        padded = jnp.pad(jnp.concatenate([past, future]), (sides, (0, 0)))
        count = (max_past + horizon) // self.stride
        shifted = [padded[j :: self.stride][:count] for j in range(self.kernel_size)]
        centres = self.stride * jnp.arange(count, dtype=padded.dtype) + (self.stride - 1) / 2
        steps = jnp.concatenate(shifted, axis=-1) @ self.kernel[...]
        steps = steps + self._waves(centres - max_past)
        wave = self._wave_of(progress)
        timed = self.progress(wave)
        given = self.condition(jnp.concatenate([past.ravel(), goal])) + timed
        x = jnp.concatenate([(self.goal(goal) + wave)[None], timed[None], steps + given[None]])
        mask = jnp.tri(len(x), dtype=bool) if self.causal else jnp.ones((len(x),) * 2, bool)
        for block in self.blocks:
            x = block(x, mask)
        return self.readout(self.norm(x[2:])).reshape(max_past + horizon, -1)[max_past:]

    def arrival_cost(self, past: Array, goal: Array, progress: Array) -> Array:
        """-log(n p(step | past, goal)) of n steps, [], 0 where all are equally likely.

        The progress is rounded to the nearest step, so the value is constant between two of them.
        It is 0 if the energy is not anchored. Past, goal and progress are as for the energy.
        """
        arrival = self.arrival
        if arrival is None:
            return jnp.zeros_like(progress)
        (horizon, _), (max_past, _) = self.shapes[:2]
        count = horizon - max_past + 1
        given = jnp.concatenate([past.ravel(), goal])
        steps = jnp.linspace(0, 1, count, dtype=given.dtype)
        costs = jax.vmap(lambda progress: arrival(given, self._wave_of(progress)))(steps)
        costs = costs + jax.nn.logsumexp(-costs) - math.log(count)
        return costs[jnp.round(progress * (count - 1)).astype(jnp.int32)]

    def _wave_of(self, progress: Array) -> Array:
        (horizon, _), (max_past, _) = self.shapes[:2]
        return self._waves((max_past + progress * (horizon - max_past) - 1)[None])[0]

    def _waves(self, steps: Array) -> Array:
        """Sines and cosines of times, which tell how far apart two of them are, [..., hidden]."""
        count = self.hidden // 2
        pitch = 1e3 ** (-jnp.arange(count, dtype=steps.dtype) / count)
        angle = steps[:, None] * pitch[None]
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
