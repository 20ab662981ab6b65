"""The convolutional model of worlds that are pictures."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jplan._checks import check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array
from jplan.nn._convolution import loop_convolution
from jplan.nn._world_model import AbstractWorldModel, Prediction


class ConvModel(AbstractWorldModel):
    """Convolutional encoder, code of the action added in every cell, convolutional decoder.

    h = encode(picture) + W action;  next = sigmoid(skip (picture - 1/2) + decode(h));
    reward, discount = tanh, sigmoid of dense(convolve(h))

    Encoder, decoder and the reward's network have two 3x3 convolutions with ReLU each; the
    decoder's second is linear. The reward's network ends in two dense layers.

    Args:
      size: height and width of the picture.
      channels: C of the picture, whose values are from 0 to 1.
      actions: number of actions A, given as points of the simplex.
      features: maps of all convolutions.
      hidden: units of the dense layer.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1; when called, if the picture or the action has another shape.

    Example:
      >>> model = ConvModel((8, 8), 3, 4, rngs=nnx.Rngs(0))
      >>> picture, reward, _ = model(jnp.zeros((8, 8, 3)), jnp.array([1.0, 0.0, 0.0, 0.0]))
      >>> picture.shape, reward.shape
      ((8, 8, 3), ())

    References: Henaff, Whitney & LeCun 2017, section 6.1.

    Note:
      They give the numbers of maps and units, and take squared errors. How many layers there are is
      ours, and so are cross-entropies, the picture's way past the network, and that the end of the
      episode is predicted.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        actions: int,
        *,
        features: int = 16,
        hidden: int = 16,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(
            height=size[0],
            width=size[1],
            channels=channels,
            actions=actions,
            features=features,
            hidden=hidden,
        )
        self.shape = (*size, channels)
        self.actions = actions
        layer = lambda i, o: Convolution(i, o, rngs=rngs)
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.encoder = nnx.List([layer(channels, features), layer(features, features)])
        self.action = linear(actions, features)
        self.skip = nnx.Param(jnp.full(channels, 4.0, float))
        self.decoder = nnx.List([layer(features, features), layer(features, channels)])
        self.evaluation = nnx.List([layer(features, features), layer(features, features)])
        self.dense = linear(size[0] * size[1] * features, hidden)
        self.outcome = linear(hidden, 2)

    def encode(self, observation: Array) -> Array:
        """The picture itself, in the wider of its dtype and that of the parameters."""
        return observation.astype(jnp.result_type(observation, self.skip[...]))

    def decode(self, state: Array) -> Array:
        """The state itself."""
        return state

    def predict(self, state: Array, action: Array) -> Prediction:
        """What follows from an action [A], [H, W, C] -> `Prediction`."""
        if state.shape != self.shape or action.shape != (self.actions,):
            raise ValueError(
                f"state and action have shapes {list(state.shape)} and {list(action.shape)}, "
                f"expected {list(self.shape)} and [{self.actions}]; use vmap for a batch."
            )
        hidden = state
        for layer in self.encoder:
            hidden = jax.nn.relu(layer(hidden))
        hidden = jax.nn.relu(hidden + self.action(action)[None, None])
        skip = self.skip[...][None, None] * (state - 0.5)
        picture = skip + self.decoder[1](jax.nn.relu(self.decoder[0](hidden)))
        for layer in self.evaluation:
            hidden = jax.nn.relu(layer(hidden))
        reward, going_on = self.outcome(jax.nn.relu(self.dense(hidden.reshape(-1))))
        return Prediction(
            state=jax.nn.sigmoid(picture),
            reward=jnp.tanh(reward),
            discount=jax.nn.sigmoid(going_on),
            detail=(picture, going_on),
        )

    def loss(
        self, prediction: Prediction, observation: Array, reward: Array, discount: Array
    ) -> Array:
        """Cross-entropies of the picture and of the end, and squared error of the reward."""
        logits, going_on = prediction.detail
        picture = optax.sigmoid_binary_cross_entropy(logits, observation).sum()
        end = optax.sigmoid_binary_cross_entropy(going_on, discount)
        return picture + (prediction.reward - reward) ** 2 + end


class Convolution(nnx.Module):
    """3x3 convolution of one picture, [H, W, inputs] -> [H, W, outputs], with a bias."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(draw_weights(rngs, (3, 3, inputs, outputs), gain=2.0))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Array) -> Array:
        return loop_convolution(x, self.kernel[...]) + self.bias[...][None, None]
