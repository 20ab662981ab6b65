"""The multi-layer model of states that are vectors."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.flatten_util import ravel_pytree

from jplan._checks import check_sizes
from jplan._typing import Array, PyTree
from jplan.descent import AbstractActionSpace
from jplan.nn._standard_numbers import standard_numbers
from jplan.nn._world_model import AbstractWorldModel, Prediction


class PReLUStack(nnx.Module):
    """Two linear layers, each followed by a PReLU.

    Args:
      inputs: width of the input.
      hidden: width of both layers.
      rngs: for the initial parameters.

    Example:
      >>> PReLUStack(3, 8, rngs=nnx.Rngs(0))(jnp.ones(3)).shape
      (8,)
    """

    def __init__(self, inputs: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            nnx.Linear(width, hidden, param_dtype=float, rngs=rngs) for width in (inputs, hidden)
        )
        self.slopes = nnx.Param(jnp.full(2, 0.25))

    def __call__(self, x: Array) -> Array:
        """[..., inputs] -> [..., hidden]."""
        for layer, slope in zip(self.layers, self.slopes[...], strict=True):
            y = layer(x)
            x = jnp.where(y >= 0, y, slope * y)
        return x


class MLPModel(AbstractWorldModel):
    """Encoder of the state, linear code of the action added, heads for the next state and reward.

    h = encode(state) + W flat(action);  next_state = state + out(g(h));  reward = out'(g'(h))

    Encoder and both heads are two layers with PReLU, the heads with one more that is linear. The
    next state is predicted as a difference, in units of ``scale``.

    Args:
      inputs: width of the state, a vector.
      action_space: of the actions.
      hidden: width of all layers.
      mean: [inputs] or [], what the encoder subtracts from the state.
      scale: [inputs] or [], positive: what the encoder divides by, and the unit of the
        differences.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1 or a scale not positive; when called, if the state has
        another shape.

    Example:
      >>> import jplan as jp
      >>> space = jp.Product({"signal": jp.Simplex(4), "thrust": jp.Box(-jnp.ones(2), jnp.ones(2))})
      >>> model = MLPModel(6, space, hidden=8, rngs=nnx.Rngs(0))
      >>> state, reward, _ = model(jnp.zeros(6), space.sample(jax.random.key(0)))
      >>> state.shape, reward.shape
      ((6,), ())

    References: Henaff, Whitney & LeCun 2017, appendix A.3.

    Note:
      They do not say whether the next state is predicted as a difference, or scaled.
    """

    def __init__(
        self,
        inputs: int,
        action_space: AbstractActionSpace,
        *,
        hidden: int = 512,
        mean: Array | float = 0.0,
        scale: Array | float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(inputs=inputs, hidden=hidden)
        example = jax.eval_shape(action_space.sample, jax.random.key(0))
        width = sum(leaf.size for leaf in jax.tree.leaves(example))
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.inputs = inputs
        self.mean, self.scale = standard_numbers(mean, scale, inputs)
        self.encoder = PReLUStack(inputs, hidden, rngs=rngs)
        self.action = linear(width, hidden)
        self.dynamics = PReLUStack(hidden, hidden, rngs=rngs)
        self.step = linear(hidden, inputs)
        self.evaluation = PReLUStack(hidden, hidden, rngs=rngs)
        self.reward = linear(hidden, 1)

    def encode(self, observation: Array) -> Array:
        """The observation itself, in the wider of its dtype and that of the parameters."""
        return observation.astype(jnp.result_type(observation, self.step.kernel[...]))

    def decode(self, state: Array) -> Array:
        """The state itself."""
        return state

    def predict(self, state: Array, action: PyTree) -> Prediction:
        """What follows from an action, [inputs] -> `Prediction`."""
        if state.shape != (self.inputs,):
            raise ValueError(
                f"state has shape {list(state.shape)}, expected [{self.inputs}]; use vmap for a "
                "batch."
            )
        scale = jnp.array(self.scale, state.dtype)
        scaled = (state - jnp.array(self.mean, state.dtype)) / scale
        hidden = self.encoder(scaled) + self.action(ravel_pytree(action)[0])
        following = state + scale * self.step(self.dynamics(hidden))
        reward = self.reward(self.evaluation(hidden))[0]
        return Prediction(state=following, reward=reward, discount=jnp.ones_like(reward))

    def loss(
        self, prediction: Prediction, observation: Array, reward: Array, discount: Array
    ) -> Array:
        """Squared errors of the next state, in units of ``scale``, and of the reward."""
        del discount
        error = (prediction.state - observation) / jnp.array(self.scale, observation.dtype)
        return jnp.mean(error**2) + (prediction.reward - reward) ** 2
