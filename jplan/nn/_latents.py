"""Networks around a plan of latents: to them, back to them, and from them to actions and states."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array
from jplan.nn._standard_numbers import standard_numbers


def standard_latent(z: Array) -> Array:
    """Mean 0 and variance 1 over the last axis, so that unit normal noise is of a latent's size."""
    centred = z - z.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-6)


class _TwoLayers(nnx.Module):
    """Linear, SiLU, linear; smooth, since descent needs its second derivatives."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.widen = nnx.Linear(inputs, hidden, param_dtype=float, rngs=rngs)
        self.narrow = nnx.Linear(hidden, outputs, param_dtype=float, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.narrow(jax.nn.silu(self.widen(x)))


class StateEncoder(nnx.Module):
    """A latent of each state on its own: two layers, then mean 0 and variance 1.

    z = standard(network((s - mean) / scale))

    Args:
      inputs: width of a state.
      width: of a latent, D.
      hidden: units of the hidden layer.
      mean: [inputs] or [], subtracted from the states.
      scale: [inputs] or [], positive, what they are divided by.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1 or a scale not positive; when called, if the states have
        another width.

    Example:
      >>> StateEncoder(4, 16, rngs=nnx.Rngs(0))(jnp.ones((7, 4))).shape
      (7, 16)

    References: Planning as Descent, arXiv 2512.17846, section 4.1.

    Note:
      The last normalisation has no learnt scale, so that latents keep the size of the noise that
      plans begin from.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        hidden: int = 512,
        mean: Array | float = 0.0,
        scale: Array | float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(inputs=inputs, width=width, hidden=hidden)
        self.inputs = inputs
        self.mean, self.scale = standard_numbers(mean, scale, inputs)
        self.network = _TwoLayers(inputs, hidden, width, rngs=rngs)

    def standardise(self, states: Array) -> Array:
        """States in units of the scale, [..., inputs] -> [..., inputs]."""
        if states.shape[-1:] != (self.inputs,):
            raise ValueError(
                f"states have shape {list(states.shape)}, expected [..., {self.inputs}]."
            )
        dtype = jnp.result_type(states, self.network.widen.kernel[...])
        shape = (1,) * (states.ndim - 1) + (self.inputs,)
        mean, scale = (jnp.array(x, dtype).reshape(shape) for x in (self.mean, self.scale))
        return (states - mean) / scale

    def __call__(self, states: Array) -> Array:
        """Latents, [..., inputs] -> [..., width]."""
        return standard_latent(self.network(self.standardise(states)))


class LatentProjector(nnx.Module):
    """Back to where the encoder's latents are: a residual two-layer network, then standardised.

    z <- standard(z + network(z))

    Args:
      width: of a latent, D.
      hidden: units of the hidden layer.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1.

    Example:
      >>> LatentProjector(16, rngs=nnx.Rngs(0))(jnp.ones((7, 16))).shape
      (7, 16)

    References: Planning as Descent, arXiv 2512.17846, section 4.2.

    Note:
      The paper names neither the residual nor the normalisation.
    """

    def __init__(self, width: int, *, hidden: int = 512, rngs: nnx.Rngs) -> None:
        check_sizes(width=width, hidden=hidden)
        self.network = _TwoLayers(width, hidden, width, rngs=rngs)

    def __call__(self, z: Array) -> Array:
        """[..., width] -> [..., width]."""
        return standard_latent(z + self.network(z))


class InverseDynamics(nnx.Module):
    """The action in [-1, 1] that leads from one latent to the next.

    a = tanh(network(z_t, z_t+1))

    Args:
      width: of a latent, D.
      actions: width of an action, A.
      hidden: units of the hidden layer.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1.

    Example:
      >>> inverse = InverseDynamics(16, 2, rngs=nnx.Rngs(0))
      >>> inverse(jnp.ones((7, 16)), jnp.zeros((7, 16))).shape
      (7, 2)

    References: Planning as Descent, arXiv 2512.17846, section 4.5.
    """

    def __init__(self, width: int, actions: int, *, hidden: int = 512, rngs: nnx.Rngs) -> None:
        check_sizes(width=width, actions=actions, hidden=hidden)
        self.network = _TwoLayers(2 * width, hidden, actions, rngs=rngs)

    def __call__(self, z: Array, following: Array) -> Array:
        """[..., width] twice -> [..., actions]."""
        return jnp.tanh(self.network(jnp.concatenate([z, following], axis=-1)))


class StateDecoder(nnx.Module):
    """The state that a latent stands for; a probe, by which plans of latents can be looked at.

    s = mean + scale * network(z)

    Args:
      width: of a latent, D.
      outputs: width of a state.
      hidden: units of the hidden layer.
      mean: see `StateEncoder`.
      scale: see `StateEncoder`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1 or a scale not positive.

    Example:
      >>> StateDecoder(16, 4, rngs=nnx.Rngs(0))(jnp.ones((7, 16))).shape
      (7, 4)
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        *,
        hidden: int = 512,
        mean: Array | float = 0.0,
        scale: Array | float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(width=width, outputs=outputs, hidden=hidden)
        self.mean, self.scale = standard_numbers(mean, scale, outputs)
        self.network = _TwoLayers(width, hidden, outputs, rngs=rngs)

    def __call__(self, z: Array) -> Array:
        """[..., width] -> [..., outputs]."""
        out = self.network(z)
        shape = (1,) * (out.ndim - 1) + (len(self.mean),)
        mean, scale = (jnp.array(x, out.dtype).reshape(shape) for x in (self.mean, self.scale))
        return mean + scale * out
