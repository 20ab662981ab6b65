"""Learnt models of the world: what they predict, how wrong it is, and their form as a function."""

import abc
import dataclasses

import jax
from flax import nnx, struct

from jplan._typing import Array, ModelFn, PyTree


@struct.dataclass(kw_only=True)
class Prediction:
    """What a model expects of one step.

    Attributes:
      state: the next state, of the form of the first; the model can go on from it.
      reward: [].
      discount: [], of all that follows; 0 where the episode ends.
      detail: what else `AbstractWorldModel.loss` reads, such as logits.

    Example: see `AbstractWorldModel`.
    """

    state: PyTree
    reward: Array
    discount: Array
    detail: PyTree = None


class AbstractWorldModel(nnx.Module):
    """A model of one step of the world that knows its own loss; each subclass is final.

    A module is called as ``model(state, action) -> (next_state, reward, discount)``; `as_model_fn`
    makes of it what the planners take. A rollout begins with ``encode(observation)``: what does not
    change in it is computed there, once.

    Example: see `MLPModel` and `as_model_fn`.
    """

    @abc.abstractmethod
    def encode(self, observation: PyTree) -> PyTree:
        """The model's state, of one observation of the world."""

    @abc.abstractmethod
    def decode(self, state: PyTree) -> PyTree:
        """The observation that a state of the model stands for, which a policy may act on."""

    @abc.abstractmethod
    def predict(self, state: PyTree, action: PyTree) -> Prediction:
        """What follows from an action, of one state."""

    @abc.abstractmethod
    def loss(
        self, prediction: Prediction, observation: PyTree, reward: Array, discount: Array
    ) -> Array:
        """How far a prediction is from what was observed after the action, []."""

    def __call__(self, state: PyTree, action: PyTree) -> tuple[PyTree, Array, Array]:
        """``(next_state, reward, discount)``, of one state."""
        out = self.predict(state, action)
        return out.state, out.reward, out.discount


@dataclasses.dataclass(frozen=True)
class _ModelFn:
    """A model as a function of its parameters; equal for equal structure, so nothing recompiles."""

    graphdef: nnx.GraphDef

    def __call__(
        self, params: nnx.State, state: PyTree, action: PyTree
    ) -> tuple[PyTree, Array, Array]:
        return nnx.merge(self.graphdef, params)(state, action)


def as_model_fn(module: nnx.Module) -> tuple[ModelFn, nnx.State]:
    """A module as a pure function and its parameters.

    Args:
      module: called as ``module(state, action) -> (next_state, reward, discount)``, such as an
        `AbstractWorldModel`; it must not change its own state.

    Returns:
      ``model_fn(params, state, action)``, equal for modules of equal structure, and the params.

    Differentiability: as the module's.

    Example:
      >>> import jax
      >>> import jplan as jp
      >>> model = jp.nn.MLPModel(4, jp.Simplex(3), hidden=8, rngs=nnx.Rngs(0))
      >>> model_fn, params = as_model_fn(model)
      >>> plan = jp.gradient_plan(
      ...     *(model_fn, params, jax.numpy.zeros(4), jax.random.key(0)),
      ...     horizon=5,
      ...     action_space=jp.Simplex(3),
      ... )
      >>> plan.actions.shape
      (5, 3)
    """
    graphdef, params = nnx.split(module)
    return _ModelFn(graphdef), params


def ensemble_model_fn(model_fn: ModelFn, *, caution: float = 0.0) -> ModelFn:
    """Several models of one world as one, that shuns what they disagree on.

    reward = mean_k r_k - caution * std_k r_k

    Each member goes on from its own state, so that the spread of the states shows in the rewards.

    Args:
      model_fn: of one member.
      caution: static, from 0 on; how many standard deviations of the rewards are taken off.

    Returns:
      A model of stacked parameters [K, ...] and stacked states [K, ...]; the discount is the mean.
      Stack with ``jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)``, and repeat the first
      state K times.

    Raises:
      ValueError: if the caution is below 0.

    Differentiability: as the model's.

    Example:
      >>> import jax.numpy as jnp
      >>> drift = lambda speed, place, action: (place + speed * action, place, 1.0)
      >>> both = ensemble_model_fn(drift, caution=1.0)
      >>> _, reward, _ = both(jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0]), 1.0)
      >>> print(reward)
      0.0

    References: Chua et al. 2018, "Deep reinforcement learning in a handful of trials", section 4,
      for ensembles whose members keep their own states.
    """
    if not (isinstance(caution, int | float) and caution >= 0):
        raise ValueError(f"caution is {caution!r}, expected a Python number from 0 on.")
    return _EnsembleFn(model_fn, caution)


@dataclasses.dataclass(frozen=True)
class _EnsembleFn:
    model_fn: ModelFn
    caution: float

    def __call__(self, params: PyTree, state: PyTree, action: PyTree) -> tuple:
        member = jax.vmap(self.model_fn, in_axes=(0, 0, None))
        states, rewards, discounts = member(params, state, action)
        rewards = jax.numpy.asarray(rewards)
        # Where all agree the standard deviation has no derivative.
        spread = jax.numpy.sqrt(rewards.var(0) + jax.numpy.finfo(rewards.dtype).tiny)
        return states, rewards.mean(0) - self.caution * spread, jax.numpy.mean(discounts)
