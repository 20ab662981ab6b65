"""MCTS: search a tree of discrete actions, with mctx."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jplan._checks import check_sizes
from jplan._typing import Array, ModelFn, Params, PyTree
from jplan.descent import Simplex, rollout, select
from jplan.planners._plan import Plan, make_plan


def mcts_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    key: Array,
    *,
    horizon: int,
    action_space: Simplex,
    num_simulations: int = 50,
    policy: Literal["muzero", "gumbel"] = "muzero",
    prior_fn: Callable[[Params, PyTree], tuple[Array, Array]] | None = None,
) -> Plan:
    """Plan by Monte Carlo tree search, the way MuZero or Gumbel MuZero does it.

    plan = argmax_n return(path to n) + discount(path to n) value(n),  n any state in the tree

    Each simulation goes down the tree, adds a state, judges it and tells the states above. Jit a
    partial of it: without, each call traces the search anew.

    Args:
      model_fn: ``model_fn(params, state, action) -> (next_state, reward, discount)``, which is
        given one-hot actions.
      params: of the model and the prior.
      state: where the plan begins, one; use vmap for several, about as fast as a batch of mctx.
      key: consumed.
      horizon: static, T, the greatest depth of the tree.
      action_space: a `jplan.descent.Simplex`; its relaxation plays no role.
      num_simulations: static, from 1 on.
      policy: static, how a simulation chooses its way: "muzero" by PUCT, "gumbel" by sequential
        halving, which relies on the prior more and is the worse of the two without one.
      prior_fn: ``prior_fn(params, state) -> (logits [A], value [])``, what a policy and a value
        function say of a state. None: all actions are alike, and the value of a state is the return
        of random actions from it up to the horizon, with nothing beyond.

    Returns:
      `Plan`; ``returns`` is [1, num_simulations + 1], of the sequences in the order in which they
      were found, ``-inf`` for simulations that ended where another had. Below the state that was
      judged best, the actions go on as it was judged: with the random ones, or the prior's
      likeliest. The model is evaluated num_simulations (T + 1) + 2 T times; with a prior
      num_simulations + 2 T times, and the prior nearly as often.

    Raises:
      ImportError: without mctx, the extra ``search``.
      ValueError: if the action space is no Simplex, the model or the prior does not fit it, a
        number is below 1, or the policy is unknown.

    Differentiability: none; `forward_search` is a search that can be trained through.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> from jplan.planners import mcts_plan
      >>> walk = lambda _, place, step: (place + step[1] - step[0], -abs(place), 1.0)
      >>> options = {"horizon": 3, "action_space": jp.Simplex(2)}
      >>> run = jax.jit(lambda place, key: mcts_plan(walk, None, place, key, **options))
      >>> plan = run(jnp.float32(2.0), jax.random.key(0))
      >>> plan.actions.argmax(-1)[:2], float(plan.hard_return)
      (Array([0, 0], dtype=int32), -3.0)

    References: Schrittwieser et al. 2020, "Mastering Atari, Go, chess and shogi by planning with a
    learned model"; Danihelka et al. 2022, "Policy improvement by planning with Gumbel".

    Note:
      Those papers act once and take the most visited action, for their values are noisy and their
      opponents move. Here the model is deterministic, so a sequence that was found can be had.
      Their noise at the root is for training data and left out.
    """
    check_sizes(horizon=horizon, num_simulations=num_simulations)
    if not isinstance(action_space, Simplex):
        raise ValueError(
            f"action_space is a {type(action_space).__name__}, expected a Simplex: a tree has a "
            "branch for each action; use cem_plan for others."
        )
    mctx = _import_mctx()
    policies = {
        "muzero": functools.partial(mctx.muzero_policy, dirichlet_fraction=0.0),
        "gumbel": functools.partial(mctx.gumbel_muzero_policy, gumbel_scale=0.0),
    }
    if policy not in policies:
        raise ValueError(f"policy is {policy!r}, expected 'muzero' or 'gumbel'.")
    num_actions = action_space.num_actions
    one_hot = functools.partial(jax.nn.one_hot, num_classes=num_actions)
    some = one_hot(jnp.zeros(horizon, int))
    dtype = jax.eval_shape(functools.partial(rollout, model_fn), params, state, some).total.dtype
    if prior_fn is not None:
        shapes = jax.tree.map(jnp.shape, jax.eval_shape(prior_fn, params, state))
        if shapes != ((num_actions,), ()):
            raise ValueError(
                f"prior_fn returns shapes {shapes}, expected logits [{num_actions}] and a value []."
            )

    def clocked(params: Params, state: tuple, action: Array) -> tuple[tuple, Array, Array]:
        """The model with a count of steps in its state, and no reward after the horizon."""
        place, depth = state
        place, reward, discount = model_fn(params, place, action)
        reward = jnp.where(depth < horizon, reward, 0).astype(dtype)
        return (place, depth + 1), reward, jnp.asarray(discount, dtype)

    def judge(key: Array, node: _Node) -> tuple[_Node, Array, Array]:
        """A node with all its actions and its estimate; logits [A] and value []."""
        place, depth = node.state
        if prior_fn is None:
            drawn = jax.random.randint(key, (horizon,), 0, num_actions)
            actions = jnp.where(jnp.arange(horizon) < depth, node.actions, drawn)
            rest = one_hot(jnp.roll(actions, -depth))
            value = rollout(clocked, params, node.state, rest).total
            node, logits = node._replace(actions=actions), jnp.zeros(num_actions, dtype)
        else:
            logits, value = prior_fn(params, place)
        value = jnp.where(node.weight == 0, 0, value)  # there is nothing after an end
        return node._replace(estimate=node.gained + node.weight * value), logits, value

    def expand(_: None, key: Array, action: Array, nodes: _Node) -> tuple[Any, _Node]:
        node, action = jax.tree.map(lambda leaf: leaf[0], (nodes, action))  # a batch of one
        state, *step = clocked(params, node.state, one_hot(action))
        reward, discount = jax.tree.map(lambda leaf: jnp.where(node.weight == 0, 0, leaf), step)
        node = node._replace(
            state=state,
            actions=node.actions.at[node.state[1]].set(action),
            gained=node.gained + node.weight * reward,
            weight=node.weight * discount,
        )
        node, logits, value = judge(key, node)
        step = {"reward": reward, "discount": discount, "prior_logits": logits}
        step, node = jax.tree.map(lambda leaf: leaf[None], (step | {"value": value}, node))
        return mctx.RecurrentFnOutput(**step), node

    root_key, search_key = jax.random.split(key)
    zero = jnp.zeros((), dtype)
    start = jax.tree.map(jnp.asarray, (state, 0))
    node = _Node(start, jnp.zeros(horizon, int), zero, zero + 1, zero)
    root = dict(zip(("embedding", "prior_logits", "value"), judge(root_key, node), strict=True))
    root = mctx.RootFnOutput(**jax.tree.map(lambda leaf: leaf[None], root))
    searched = policies[policy](None, search_key, root, expand, num_simulations, max_depth=horizon)
    tree = jax.tree.map(lambda leaf: leaf[0], searched.search_tree)
    found: _Node = tree.embeddings
    returns = jnp.where(tree.node_visits > 0, found.estimate, -jnp.inf)
    best = select((found.actions, found.state[1]), -returns)
    actions, depth = best.value
    if prior_fn is not None:

        def follow(state: tuple, action: Array) -> tuple[tuple, Array]:
            likeliest = prior_fn(params, state[0])[0].argmax().astype(action.dtype)
            action = jnp.where(state[1] < depth, action, likeliest)
            return clocked(params, state, one_hot(action))[0], action

        actions = jax.lax.scan(follow, start, actions)[1]
    return make_plan(
        *(model_fn, params, state, action_space, one_hot(actions)), returns=returns[None]
    )


class _Node(NamedTuple):
    """What is known of a state in the tree."""

    state: PyTree  # and its depth
    actions: Array  # [T], those that lead to it, and those that it is judged by
    gained: Array  # [], the return on the way
    weight: Array  # [], the product of the discounts on the way
    estimate: Array  # [], of the whole return


def _import_mctx() -> Any:
    """The package, or ImportError with the extra that brings it."""
    try:
        import mctx
    except ImportError as error:
        raise ImportError(
            "mcts_plan needs mctx; install it with: python -m pip install 'jplan[search]'"
        ) from error
    return mctx
