"""A model of worlds in which something moves over a map, and where it comes to decides the rest."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jplan._checks import check_sizes
from jplan._typing import Array
from jplan.nn._convolution import taps
from jplan.nn._world_model import AbstractWorldModel, Prediction

_TINY = 1e-6
"""Keeps a logarithm finite where the model is sure of something else."""

_RARE = 0.05
"""What goes on more rarely than this is not scaled up in full, which bounds the gradient."""


@struct.dataclass(kw_only=True)
class MotionState:
    """State of a `MotionModel`.

    Attributes:
      map: [H, W, C - 1], the picture without the agent.
      agent: [H, W], how likely the agent is in each cell.
      end: [H, W], logit of the episode's end in each cell.
      worth: [H, W], expected reward in each cell.
      classes: [H, W, R], logits of the rewards that there are.

    Example: see `MotionModel`.
    """

    map: Array
    agent: Array
    end: Array
    worth: Array
    classes: Array


class MotionModel(AbstractWorldModel):
    """An action moves the agent by a learnt law, and the cell it comes to decides reward and end.

    arrived(s) = sum_k P(k | action) agent(s - k);  reward = sum_s arrived(s) worth(s);
    discount = sum_s arrived(s) (1 - end(s));  agent'(s) = arrived(s) (1 - end(s)) / discount

    The observation is a picture whose last channel is where the agent is. In the state the agent is
    a distribution over cells, given that the episode has not ended, so a rollout has exact
    expectations. What leaves the picture has ended. The model is told that the map does not change,
    that moves reach the next cells and depend on the action alone, and that rewards and ends depend
    on the cell alone.

    Args:
      channels: C of the picture, the agent's included.
      actions: number of actions A, given as points of the simplex.
      rewards: the R values that a reward can take; in the data another counts as the nearest.
      hidden: width of both networks.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is out of range; when called, if the picture or the action has another
        shape.

    Example:
      >>> model = MotionModel(3, 4, rewards=(1.0, -1.0, -0.01), rngs=nnx.Rngs(0))
      >>> state = model.encode(jnp.zeros((8, 8, 3)).at[4, 4, 2].set(1.0))
      >>> following, reward, discount = model(state, jnp.array([1.0, 0.0, 0.0, 0.0]))
      >>> following.agent.shape, bool(discount < 1)
      ((8, 8), True)

    Note:
      Where the discount is below 0.05 the agent is divided by 0.05, which bounds the gradient; the
      distribution then has a smaller sum, and what follows counts less than it should.
    """

    def __init__(
        self,
        channels: int,
        actions: int,
        *,
        rewards: tuple[float, ...],
        hidden: int = 32,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, actions=actions, hidden=hidden, rewards=len(rewards))
        if channels < 2:
            raise ValueError(f"channels is {channels}, expected the agent's and at least one more.")
        self.channels = channels
        self.actions = actions
        self.rewards = tuple(rewards)
        linear = lambda i, o: nnx.Linear(i, o, param_dtype=float, rngs=rngs)
        self.move = nnx.List([linear(actions, hidden), linear(hidden, 9)])
        self.cell = nnx.List([linear(channels - 1, hidden), linear(hidden, 1 + len(rewards))])

    def encode(self, observation: Array) -> MotionState:
        """What the map is worth, and the agent on it: [H, W, C] -> `MotionState`."""
        if observation.ndim != 3 or observation.shape[-1] != self.channels:
            raise ValueError(
                f"observation has shape {list(observation.shape)}, expected "
                f"[H, W, {self.channels}]; use vmap for a batch."
            )
        observation = observation.astype(jnp.result_type(observation, self.cell[0].kernel[...]))
        judged = self.cell[1](jax.nn.relu(self.cell[0](observation[..., :-1])))
        classes = judged[..., 1:]
        worth = jax.nn.softmax(classes) @ jnp.array(self.rewards, classes.dtype)
        return MotionState(
            map=observation[..., :-1],
            agent=observation[..., -1],
            end=judged[..., 0],
            worth=worth,
            classes=classes,
        )

    def decode(self, state: MotionState) -> Array:
        """The picture with the agent as a distribution, [H, W, C]."""
        return jnp.concatenate([state.map, state.agent[..., None]], axis=-1)

    def predict(self, state: MotionState, action: Array) -> Prediction:
        """What follows from an action [A]; the detail is the agent before the end is taken out."""
        if action.shape != (self.actions,):
            raise ValueError(
                f"action has shape {list(action.shape)}, expected [{self.actions}]; use vmap for "
                "a batch."
            )
        action = action.astype(state.agent.dtype)
        moves = jax.nn.softmax(self.move[1](jax.nn.relu(self.move[0](action))))
        agent, reward, discount, arrived = _arrive(state.agent, moves, state.end, state.worth)
        return Prediction(
            state=dataclasses.replace(state, agent=agent),
            reward=reward,
            discount=discount,
            detail=arrived,
        )

    def loss(
        self, prediction: Prediction, observation: Array, reward: Array, discount: Array
    ) -> Array:
        """Cross-entropies of the cell that the agent came to, of the end and of the reward."""
        arrived, place = prediction.detail, observation[..., -1]
        moved = jnp.log(jnp.sum(arrived * place) + _TINY)
        logit = jnp.sum(prediction.state.end * place)
        ended = optax.sigmoid_binary_cross_entropy(logit, 1 - discount)
        nearest = jnp.argmin(jnp.abs(jnp.array(self.rewards, reward.dtype) - reward))
        classes = jnp.tensordot(place, prediction.state.classes, 2)
        return ended - moved - jax.nn.log_softmax(classes)[nearest]


@functools.partial(jax.checkpoint, prevent_cse=False)  # or a rollout keeps all shifts of each step
def _arrive(agent: Array, moves: Array, end: Array, worth: Array) -> tuple:
    """The agent after a move if the episode goes on, reward, discount, where it came to."""
    shifts = taps(agent[..., None], 3)
    arrived = sum(shift[..., 0] * moves[k] for k, shift in enumerate(shifts))
    going_on = arrived * jax.nn.sigmoid(-end)
    discount = going_on.sum()
    return going_on / jnp.maximum(discount, _RARE), jnp.sum(arrived * worth), discount, arrived
