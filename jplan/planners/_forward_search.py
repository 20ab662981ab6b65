"""Differentiable forward search: all sequences of actions to some depth, and a soft backup."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree, Scalar
from jplan._weigh import weigh
from jplan.descent import rollout
from jplan.relax import softmax_value


@struct.dataclass(kw_only=True)
class SearchValues:
    """Result of `forward_search`.

    Attributes:
      action_values: [A], of the actions at the root.
      value: [], of the root, backed up from them as all others are.
    """

    action_values: Array
    value: Array


def forward_search(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    *,
    num_actions: int,
    depth: int,
    backup: Literal["max", "softmax", "logsumexp"] = "max",
    temperature: Scalar = 1.0,
    value_fn: Callable[[Params, PyTree], Array] | None = None,
) -> SearchValues:
    """Values of the actions by trying all sequences of a few of them.

    Q_d(s, a) = reward(s, a) + discount(s, a) V_{d-1}(s'),  V_d(s) = backup_a Q_d(s, a)

    The backup is max_a Q; or softmax, the sum of softmax(Q / temperature)_a Q_a; or
    logsumexp, temperature * log sum_a exp(Q_a / temperature), which counts how many actions there
    are.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``, which is
        given one-hot actions.
      params: of the model and the values of the leaves.
      state: the root, one; use vmap for several.
      num_actions: static, A.
      depth: static, from 1 on.
      backup: static.
      temperature: positive, in reward units; the limit 0 is "max", which does not read it.
      value_fn: ``value_fn(params, state) -> value []`` of the leaves; None is 0.

    Returns:
      `SearchValues`. The model is evaluated A + A^2 + ... + A^depth times, all of a depth at once.

    Raises:
      ValueError: if a number is below 1, the backup is unknown, a Python temperature is not
        positive, or the model does not keep to its contract.

    Differentiability: every mode, in the parameters, the state and the temperature; "max" divides
      the gradient equally among equal actions.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.planners import forward_search
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> forward_search(walk, None, jnp.float32(2.0), num_actions=2, depth=3).action_values
      Array([-3., -7.], dtype=float32)

    References: Farquhar et al. 2018, "TreeQN and ATreeC: differentiable tree-structured models for
    deep reinforcement learning", section 3.2, without its mixture of values at all depths.
    """
    check_sizes(num_actions=num_actions, depth=depth)
    if backup not in ("max", "softmax", "logsumexp"):
        raise ValueError(f"backup is {backup!r}, expected 'max', 'softmax' or 'logsumexp'.")
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}, expected a positive number; the limit 0 is 'max'."
        )
    actions = jnp.eye(num_actions)
    # For its checks of the model.
    jax.eval_shape(functools.partial(rollout, model_fn), params, state, actions)

    def value(q: Array) -> Array:
        match backup:
            case "max":
                return q.max(-1)
            case "softmax":
                return jnp.sum(jax.nn.softmax(q / temperature) * q, -1)
            case _:
                return softmax_value(q, temperature)

    of_actions = jax.vmap(model_fn, (None, None, 0))
    of_nodes = jax.vmap(of_actions, (None, 0, None))
    # All states of one depth, in the order of the sequences that lead to them.
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state)
    steps = []
    for _ in range(depth):
        states, *step = of_nodes(params, states, actions)
        states = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), states)
        steps.append(step)
    rewards, _ = steps[-1]
    leaves = jnp.zeros(rewards.size, rewards.dtype)
    if value_fn is not None:
        leaves = jax.vmap(value_fn, (None, 0))(params, states)

    def back_up(step: list[Array], values: Array) -> Array:
        rewards, discounts = step
        return rewards + weigh(discounts, values.reshape(rewards.shape))

    for step in reversed(steps[1:]):
        leaves = value(back_up(step, leaves))
    q = back_up(steps[0], leaves)[0]
    return SearchValues(action_values=q, value=value(q))
