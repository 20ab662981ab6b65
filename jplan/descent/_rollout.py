"""What a model says of a sequence of actions."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jplan._typing import Array, ModelFn, Params, PyTree
from jplan._weigh import weigh


@struct.dataclass(kw_only=True)
class Rollout:
    """Result of `rollout`.

    Attributes:
      states: pytree with a leading axis [T + 1], the first state included.
      rewards: [T].
      discounts: [T], each multiplying all that follows.
      total: [], the discounted sum of the rewards. What follows a discount of 0 is as the model
        says, and need not be finite for this.
    """

    states: PyTree
    rewards: Array
    discounts: Array
    total: Array


def rollout(model_fn: ModelFn, params: Params, state: PyTree, actions: PyTree) -> Rollout:
    """Follow a sequence of actions through a model.

    total = sum_t (prod_{k < t} discount_k) reward_t

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``.
      params: of the model.
      state: the first state, one.
      actions: pytree with a leading axis T.

    Returns:
      `Rollout`.

    Raises:
      ValueError: if the model returns something else, a state of another form, or a reward or
        discount that is no scalar.

    Differentiability: as the model's, in all of its arguments. In reverse mode its slopes
      have to be finite after a discount of 0 as well.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.descent import rollout
      >>> walk = lambda _, position, step: (position + step, -abs(position + step), 0.9)
      >>> out = rollout(walk, None, jnp.float32(2.0), jnp.array([-1.0, -1.0]))
      >>> out.states, out.total
      (Array([2., 1., 0.], dtype=float32), Array(-1., dtype=float32))
    """
    first = jax.tree.map(lambda leaf: leaf[0], actions)
    _check_model(model_fn, params, state, first)
    state = jax.tree.map(jnp.asarray, state)

    def step(carry: tuple, action: PyTree) -> tuple[tuple, tuple]:
        state, weight, total = carry
        state, reward, discount = model_fn(params, state, action)
        reward, discount = jnp.asarray(reward, weight.dtype), jnp.asarray(discount, weight.dtype)
        total = total + weigh(weight, reward)
        return (state, weigh(weight, discount), total), (state, reward, discount)

    _, reward, discount = jax.eval_shape(model_fn, params, state, first)
    is_float = jnp.issubdtype(reward.dtype, jnp.floating)
    dtype = reward.dtype if is_float else jnp.result_type(reward, discount, 1.0)
    start = state, jnp.ones((), dtype), jnp.zeros((), dtype)
    (_, _, total), (states, rewards, discounts) = lax.scan(step, start, actions)
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, states)
    return Rollout(states=states, rewards=rewards, discounts=discounts, total=total)


def _check_model(model_fn: ModelFn, params: Params, state: PyTree, action: PyTree) -> None:
    """ValueError unless a model takes such states and actions and keeps to the contract."""
    describe = lambda tree: jax.tree.map(
        lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree
    )
    try:
        out = jax.eval_shape(model_fn, params, state, action)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the model fails on a state {describe(state)} and an action {describe(action)}; it is "
            "called as model_fn(params, state, action) with one state, and the action space "
            f"decides the form of the action. It says: {error}"
        ) from error
    if not isinstance(out, tuple) or len(out) != 3:
        raise ValueError(
            f"the model returns {describe(out)}, expected (next_state, reward, discount)."
        )
    following, reward, discount = out
    shapes = lambda tree: jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)
    if shapes(following) != shapes(state):
        raise ValueError(
            f"the model turns a state {describe(state)} into {describe(following)}, expected the "
            "same form and dtype; cast the first state."
        )
    if jnp.shape(reward) or jnp.shape(discount):
        raise ValueError(
            f"the model returns a reward and a discount of shapes {list(jnp.shape(reward))} and "
            f"{list(jnp.shape(discount))}, expected scalars: it is a model of one state."
        )
