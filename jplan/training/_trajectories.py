"""Trajectories as plain arrays: drawn in a world, and cut into windows to learn a model from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, PyTree
from jplan.envs import World


@struct.dataclass(kw_only=True)
class Trajectories:
    """Episodes of equal length; what comes after an end is not to be looked at.

    Attributes:
      states: pytree with leading axes [B, T + 1]; states of a world, or observations.
      actions: pytree with leading axes [B, T].
      rewards: [B, T].
      discounts: [B, T], 0 where the episode ends.

    Example: see `collect`.
    """

    states: PyTree
    actions: PyTree
    rewards: Array
    discounts: Array

    @property
    def is_alive(self) -> Array:
        """[B, T]: whether the episode had not ended before the step."""
        before = jnp.cumprod(self.discounts[:, :-1] != 0, axis=1, dtype=jnp.int32)
        first = jnp.ones((len(before), 1), before.dtype)
        return jnp.concatenate([first, before], axis=1).astype(bool)

    @property
    def masked(self) -> "Trajectories":
        """The same with the first step in place of what comes after an end, which may be anything.

        So losses and their gradients are finite there before they are left out.
        """
        is_alive = self.is_alive
        is_reached = jnp.concatenate([jnp.ones_like(is_alive[:, :1]), is_alive], axis=1)

        def mask(is_kept: Array, tree: PyTree) -> PyTree:
            widen = lambda leaf: is_kept.reshape(is_kept.shape + (1,) * (leaf.ndim - 2))
            return jax.tree.map(lambda leaf: jnp.where(widen(leaf), leaf, leaf[:, :1]), tree)

        return Trajectories(
            states=mask(is_reached, self.states),
            actions=mask(is_alive, self.actions),
            rewards=mask(is_alive, self.rewards),
            discounts=mask(is_alive, self.discounts),
        )

    @property
    def num_steps(self) -> Array:
        """[]: steps taken in the world, in all."""
        return self.is_alive.sum()


def check_trajectories(trajectories: Trajectories) -> None:
    """ValueError unless all leaves have the leading axes that they should have.

    Args:
      trajectories: to be checked.

    Raises:
      ValueError: if there is no episode or no step, or a leaf has other leading axes.
    """
    lead = jnp.shape(trajectories.rewards)
    if len(lead) != 2 or 0 in lead:
        raise ValueError(
            f"rewards have shape {list(lead)}, expected [B, T] with at least one episode and step."
        )
    wanted = {"states": (lead[0], lead[1] + 1), "actions": lead, "discounts": lead}
    for name, axes in wanted.items():
        for leaf in jax.tree.leaves(getattr(trajectories, name)):
            if jnp.shape(leaf)[:2] != axes:
                raise ValueError(
                    f"{name} have a leaf of shape {list(jnp.shape(leaf))}, expected it to begin "
                    f"with {list(axes)}, as the rewards are {list(lead)}."
                )


def collect(
    world: World,
    key: Array,
    num_episodes: int,
    *,
    policy_fn: Callable[[PyTree, Array], PyTree] | None = None,
    num_steps: int | None = None,
) -> Trajectories:
    """Episodes of a policy in a world, drawn at once.

    Args:
      world: see `jplan.envs.World`.
      key: consumed.
      num_episodes: static, B.
      policy_fn: ``policy_fn(state, key) -> action`` on one state of the world; None draws actions
        at random, ``quantise(sample(key))`` of the world's action space.
      num_steps: static, T; None is the world's ``max_steps``.

    Returns:
      `Trajectories` of the world's states.

    Raises:
      ValueError: if a number is below 1.

    Differentiability: as the world's and the policy's.

    Example:
      >>> from jplan import envs
      >>> gather = jax.jit(lambda key: collect(envs.crash_gridworld(8), key, 100))
      >>> episodes = gather(jax.random.key(0))
      >>> episodes.rewards.shape, bool(episodes.num_steps < 3200)
      ((100, 32), True)
    """
    length = world.max_steps if num_steps is None else num_steps
    if num_episodes < 1 or length < 1:
        raise ValueError(
            f"num_episodes and num_steps are {num_episodes} and {length}, expected from 1 on."
        )
    space = world.action_space
    act = policy_fn or (lambda state, key: space.quantise(space.sample(key)))

    def step(state: PyTree, key: Array) -> tuple[PyTree, tuple]:
        action = act(state, key)
        following, reward, discount = world.step_fn(None, state, action)
        return following, (following, action, reward, discount)

    reset_key, step_key = jax.random.split(key)
    firsts = jax.vmap(world.reset_fn)(jax.random.split(reset_key, num_episodes))
    keys = jax.random.split(step_key, (length, num_episodes))
    _, (states, *rest) = jax.lax.scan(jax.vmap(step), firsts, keys)
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), firsts, states)
    swap = lambda leaf: jnp.swapaxes(leaf, 0, 1)
    states, (actions, rewards, discounts) = jax.tree.map(swap, (states, rest))
    return Trajectories(states=states, actions=actions, rewards=rewards, discounts=discounts)


def draw_windows(
    trajectories: Trajectories,
    key: Array,
    *,
    batch_size: int,
    length: int,
    weights: Array | None = None,
) -> Trajectories:
    """Windows that begin at random steps, none after an end.

    Args:
      trajectories: B episodes of T steps.
      key: consumed.
      batch_size: static, number of windows.
      length: static, steps of a window, up to T.
      weights: [B, T], from 0 on, how often a window should begin there; None for all alike.

    Returns:
      `Trajectories` with leading axes [batch_size, length]. If no window can begin anywhere, all
      rewards are NaN.

    Raises:
      ValueError: if leading axes differ, a number is out of range, or there are more than 2^23
        steps, which a float32 does not tell apart.

    Differentiability: none.

    Example:
      >>> from jplan import envs
      >>> gather = jax.jit(lambda key: collect(envs.crash_gridworld(8), key, 100))
      >>> episodes = gather(jax.random.key(0))
      >>> draw_windows(episodes, jax.random.key(1), batch_size=16, length=5).rewards.shape
      (16, 5)
    """
    check_trajectories(trajectories)
    total = trajectories.rewards.shape[1]
    if batch_size < 1 or not 1 <= length <= total:
        raise ValueError(
            f"batch_size and length are {batch_size} and {length}, expected from 1 on, and at most "
            f"{total} for the length, the steps of an episode."
        )
    if trajectories.rewards.size > 2**23:
        raise ValueError(
            f"there are {trajectories.rewards.size} steps, expected at most {2**23}; draw from a "
            "part of the episodes at a time."
        )
    starts = trajectories.is_alive[:, : total - length + 1].astype(jnp.float32)
    if weights is not None:
        if jnp.shape(weights) != trajectories.rewards.shape:
            raise ValueError(
                f"weights have shape {list(jnp.shape(weights))}, expected that of the rewards, "
                f"{list(trajectories.rewards.shape)}."
            )
        starts = jnp.where(starts > 0, weights[:, : total - length + 1], 0)
    # The place of a uniform number among the cumulated weights.
    edges = jnp.cumsum(starts.reshape(-1))
    level = jax.random.uniform(key, (batch_size,)) * edges[-1]
    index = jnp.searchsorted(edges, level, side="right").clip(max=edges.size - 1)
    episode, step = index // starts.shape[1], index % starts.shape[1]
    cut = lambda steps: lambda leaf: leaf[episode[:, None], step[:, None] + jnp.arange(steps)[None]]
    return Trajectories(
        states=jax.tree.map(cut(length + 1), trajectories.states),
        actions=jax.tree.map(cut(length), trajectories.actions),
        rewards=jnp.where(edges[-1] > 0, cut(length)(trajectories.rewards), jnp.nan),
        discounts=cut(length)(trajectories.discounts),
    )
