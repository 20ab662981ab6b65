"""Losses that a policy is learnt with: of plans, and of its own return in a model."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, PyTree
from jplan._weigh import weigh
from jplan.descent import AbstractActionSpace
from jplan.nn import AbstractWorldModel
from jplan.planners import Plan
from jplan.training._trajectories import Trajectories, check_trajectories


def plan_trajectories(plans: Plan) -> Trajectories:
    """Plans as episodes to learn from, with the states that the model expects.

    Args:
      plans: with a leading axis B, as vmap over first states makes them.

    Returns:
      `Trajectories`. An episode ends where a discount is below a half.

    Differentiability: none.

    Example:
      >>> import jplan as jp
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> plan = lambda place, key: jp.gradient_plan(
      ...     walk, None, place, key, horizon=3, action_space=jp.Simplex(2), num_steps=2
      ... )
      >>> plans = jax.vmap(plan)(jnp.ones(4), jax.random.split(jax.random.key(0), 4))
      >>> plan_trajectories(plans).rewards.shape
      (4, 3)
    """
    out = plans.rollout
    return Trajectories(
        states=out.states,
        actions=plans.actions,
        rewards=out.rewards,
        discounts=jnp.where(out.discounts > 0.5, 1.0, 0.0),
    )


def distill_loss(
    policy: nnx.Module, windows: Trajectories, *, action_space: AbstractActionSpace
) -> tuple[Array, dict[str, Array]]:
    """How far a policy is from the actions of plans.

    Args:
      policy: ``policy(observation) -> latent``, such as `jplan.nn.ConvPolicy`.
      windows: plans, with observations as states; see `plan_trajectories` and
        `jplan.nn.AbstractWorldModel.decode`. What comes after an end does not count, finite or not.
      action_space: of the actions; its ``imitation_loss`` is the measure.

    Returns:
      The mean loss of the steps, and no metrics.

    Raises:
      ValueError: if leading axes differ.

    Differentiability: every mode.

    Example:
      >>> import jplan as jp
      >>> policy = jp.nn.MLPPolicy(3, jp.Simplex(2), hidden=8, rngs=nnx.Rngs(0))
      >>> windows = Trajectories(
      ...     states=jnp.zeros((4, 6, 3)),
      ...     actions=jax.nn.one_hot(jnp.zeros((4, 5), int), 2),
      ...     rewards=jnp.zeros((4, 5)),
      ...     discounts=jnp.ones((4, 5)),
      ... )
      >>> loss, _ = distill_loss(policy, windows, action_space=jp.Simplex(2))
      >>> print(f"{loss:.2f}")
      0.69

    References: Henaff, Whitney & LeCun 2017, algorithm 2, DistGBP.
    """
    check_trajectories(windows)
    windows = windows.masked
    graphdef, params = nnx.split(policy)
    act = lambda observation: nnx.merge(graphdef, params)(observation)
    seen = jax.tree.map(lambda leaf: leaf[:, :-1], windows.states)
    latents = jax.vmap(jax.vmap(act))(seen)
    losses = action_space.imitation_loss(latents, windows.actions)
    is_alive = windows.is_alive
    return jnp.where(is_alive, losses, 0).sum() / is_alive.sum(), {}


def imagined_loss(
    policy: nnx.Module,
    model: AbstractWorldModel,
    observations: PyTree,
    key: Array,
    *,
    action_space: AbstractActionSpace,
    horizon: int,
) -> tuple[Array, dict[str, Array]]:
    """Minus the return of a policy in the episodes that a model imagines.

    a_t = decode(policy(observe(s_t)));  (s_t+1, r_t, discount_t) = model(s_t, a_t)

    The gradient of the return passes through the whole episode, into the policy and, where the
    model is trained as well, into that and its encoder.

    Args:
      policy: ``policy(observation) -> latent``.
      model: see `jplan.nn.AbstractWorldModel`.
      observations: pytree with a leading axis B, where the episodes begin.
      key: consumed, by action spaces whose relaxation is random.
      action_space: of the actions, which are relaxed.
      horizon: static, T, from 1 on.

    Returns:
      Minus the mean return, and no metrics.

    Raises:
      ValueError: if the horizon is below 1.

    Differentiability: as the policy's and the model's, whose slopes have to be finite after a
      discount of 0 as well.

    Example:
      >>> import jplan as jp
      >>> model = jp.nn.MLPModel(3, jp.Simplex(2), hidden=8, rngs=nnx.Rngs(0))
      >>> policy = jp.nn.MLPPolicy(3, jp.Simplex(2), hidden=8, rngs=nnx.Rngs(1))
      >>> loss, _ = imagined_loss(
      ...     *(policy, model, jnp.zeros((4, 3)), jax.random.key(0)),
      ...     action_space=jp.Simplex(2),
      ...     horizon=5,
      ... )
      >>> loss.shape
      ()
    """
    check_sizes(horizon=horizon)
    graphdef, params = nnx.split((policy, model))
    count = jax.tree.leaves(observations)[0].shape[0]

    def step(carry: tuple, key: Array) -> tuple[tuple, Array]:
        state, weight = carry
        policy, model = nnx.merge(graphdef, params)
        action = action_space.decode(policy(model.decode(state)), key=key)
        state, reward, discount = model(state, action)
        return (state, weigh(weight, discount)), weigh(weight, reward)

    def encode(observation: PyTree) -> PyTree:
        return nnx.merge(graphdef, params)[1].encode(observation)

    firsts = jax.vmap(encode)(observations)
    weights = jnp.ones(count)
    keys = jax.random.split(key, (horizon, count))
    _, rewards = jax.lax.scan(jax.vmap(step), (firsts, weights), keys)
    return -rewards.sum(0).mean(), {}
