"""Networks from an observation to an action, in one pass."""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, PyTree
from jplan.descent import AbstractActionSpace
from jplan.nn._conv_model import Convolution
from jplan.nn._standard_numbers import standard_numbers


class ActionHead(nnx.Module):
    """Linear layer to a latent of an action space, whatever parts it has.

    Args:
      inputs: width of the input.
      action_space: the space.
      rngs: for the initial parameters.

    Example:
      >>> import jplan as jp
      >>> space = jp.Product({"signal": jp.Simplex(4), "thrust": jp.Box(-jnp.ones(2), jnp.ones(2))})
      >>> latent = ActionHead(8, space, rngs=nnx.Rngs(0))(jnp.ones(8))
      >>> {name: part.shape for name, part in latent.items()}
      {'signal': (4,), 'thrust': (2,)}
    """

    def __init__(self, inputs: int, action_space: AbstractActionSpace, *, rngs: nnx.Rngs) -> None:
        example = jax.eval_shape(action_space.sample, jax.random.key(0))
        shapes, self.treedef = jax.tree.flatten(example)
        self.shapes = tuple(leaf.shape for leaf in shapes)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.linear = nnx.Linear(inputs, sum(self.sizes), param_dtype=float, rngs=rngs)

    def __call__(self, x: Array) -> PyTree:
        """[inputs] -> latent."""
        out = self.linear(x)
        edges = itertools.pairwise((0, *itertools.accumulate(self.sizes)))
        parts = [
            out[begin:end].reshape(shape)
            for (begin, end), shape in zip(edges, self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.treedef, parts)


class ConvPolicy(nnx.Module):
    """3x3 convolutions with ReLU, a dense layer, and a head for the action.

    Args:
      size: height and width of the picture.
      channels: C of the picture.
      action_space: of the actions.
      layers: number of convolutions.
      features: maps of each of them.
      hidden: units of the dense layer.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1; when called, if the picture has another shape.

    Example:
      >>> import jplan as jp
      >>> policy = ConvPolicy((8, 8), 3, jp.Simplex(4), rngs=nnx.Rngs(0))
      >>> policy(jnp.zeros((8, 8, 3))).shape
      (4,)

    References: Henaff, Whitney & LeCun 2017, section 6.1: 2 layers, 16 maps and 16 units on 8x8
      maps; 3, 64 and 64 on 16x16.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        action_space: AbstractActionSpace,
        *,
        layers: int = 2,
        features: int = 16,
        hidden: int = 16,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(
            height=size[0],
            width=size[1],
            channels=channels,
            layers=layers,
            features=features,
            hidden=hidden,
        )
        self.shape = (*size, channels)
        self.convolutions = nnx.List(
            Convolution(width, features, rngs=rngs)
            for width in (channels, *[features] * (layers - 1))
        )
        self.dense = nnx.Linear(size[0] * size[1] * features, hidden, param_dtype=float, rngs=rngs)
        self.head = ActionHead(hidden, action_space, rngs=rngs)

    def __call__(self, observation: Array) -> PyTree:
        """Latent of the action, of one picture [H, W, C]."""
        if observation.shape != self.shape:
            raise ValueError(
                f"observation has shape {list(observation.shape)}, expected {list(self.shape)}; "
                "use vmap for a batch."
            )
        x = observation
        for layer in self.convolutions:
            x = jax.nn.relu(layer(x))
        return self.head(jax.nn.relu(self.dense(x.reshape(-1))))


class MLPPolicy(nnx.Module):
    """Linear layers with ReLU, and a head for the action.

    Args:
      inputs: width of the observation, a vector.
      action_space: of the actions.
      layers: number of layers before the head.
      hidden: width of them.
      mean: [inputs] or [], subtracted from the observation.
      scale: [inputs] or [], positive, which it is divided by.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1 or a scale not positive; when called, if the observation has
        another shape.

    Example:
      >>> import jplan as jp
      >>> MLPPolicy(6, jp.Simplex(4), hidden=8, rngs=nnx.Rngs(0))(jnp.zeros(6)).shape
      (4,)

    References: Henaff, Whitney & LeCun 2017, appendix A.3.
    """

    def __init__(
        self,
        inputs: int,
        action_space: AbstractActionSpace,
        *,
        layers: int = 4,
        hidden: int = 512,
        mean: Array | float = 0.0,
        scale: Array | float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(inputs=inputs, layers=layers, hidden=hidden)
        self.inputs = inputs
        self.mean, self.scale = standard_numbers(mean, scale, inputs)
        self.layers = nnx.List(
            nnx.Linear(width, hidden, param_dtype=float, rngs=rngs)
            for width in (inputs, *[hidden] * (layers - 1))
        )
        self.head = ActionHead(hidden, action_space, rngs=rngs)

    def __call__(self, observation: Array) -> PyTree:
        """Latent of the action, of one observation [inputs]."""
        if observation.shape != (self.inputs,):
            raise ValueError(
                f"observation has shape {list(observation.shape)}, expected [{self.inputs}]; use "
                "vmap for a batch."
            )
        dtype = jnp.result_type(observation, float)
        x = (observation - jnp.array(self.mean, dtype)) / jnp.array(self.scale, dtype)
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return self.head(x)
