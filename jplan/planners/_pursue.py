"""A controller for goals: plan latents, carry out the first few actions, look, plan anew."""

import jax
import jax.numpy as jnp
from flax import struct

from jplan._checks import check_sizes
from jplan._typing import Array, PyTree
from jplan.envs import World
from jplan.planners._descent_planner import DescentPlanner


@struct.dataclass(kw_only=True)
class Pursuit:
    """Result of `pursue`.

    Attributes:
      states: pytree with a leading axis [T + 1], of the world.
      actions: [T, A].
      rewards: [T].
      discounts: [T], 0 from the end of the episode on.
      energies: [T / replan_every], of the plans; NaN where there is none, for the episode is over,
        and the actions are 0.
      progresses: [T / replan_every], where in each plan the goal is; likewise.
    """

    states: PyTree
    actions: Array
    rewards: Array
    discounts: Array
    energies: Array
    progresses: Array

    @property
    def length(self) -> Array:
        """[] int32: steps up to the end of the episode, T if it does not end."""
        is_over = self.discounts == 0
        return jnp.where(is_over.any(), jnp.argmax(is_over) + 1, len(is_over)).astype(jnp.int32)


def first_past(observation: Array, max_past: int) -> Array:
    """The past of an episode that begins: it has always been so.

    Args:
      observation: [D], the first.
      max_past: static, P.

    Returns:
      [P, D].

    Differentiability: every mode.

    Example:
      >>> first_past(jnp.array([1.0, 2.0]), 2).tolist()
      [[1.0, 2.0], [1.0, 2.0]]
    """
    return jnp.broadcast_to(observation[None], (max_past, *observation.shape))


def extend_past(past: Array, observation: Array) -> Array:
    """The past one step later: the oldest state goes.

    Args:
      past: [P, D], the oldest first.
      observation: [D], the newest.

    Returns:
      [P, D].

    Differentiability: every mode.

    Example:
      >>> extend_past(jnp.array([[1.0], [2.0]]), jnp.array([3.0])).tolist()
      [[2.0], [3.0]]
    """
    return jnp.concatenate([past[1:], observation[None]])


def pursue(
    planner: DescentPlanner,
    world: World,
    state: PyTree,
    goal: Array,
    key: Array,
    *,
    num_steps: int,
    replan_every: int = 1,
    candidates: int = 64,
    keep: int = 8,
    num_refinements: int | None = None,
) -> Pursuit:
    """Run an episode towards a goal, with a new plan every few steps.

    Args:
      planner: learnt from observations of the world.
      world: what really happens; its observations are vectors.
      state: of the world, one, where the episode begins.
      goal: [D], observation to arrive at.
      key: consumed.
      num_steps: static, T, a multiple of ``replan_every``.
      replan_every: static, actions that are carried out of each plan, up to the horizon.
      candidates: static, see `planning_as_descent`.
      keep: static, see `planning_as_descent`.
      num_refinements: static; None for those of the training.

    Returns:
      `Pursuit`. For several episodes map over states, goals and keys: with `jax.lax.map` an episode
      that is over plans no more, with `jax.vmap` it does. Each plan begins from new noise.

    Raises:
      ValueError: if the numbers do not fit.

    Differentiability: none.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jplan import envs
      >>> free = np.zeros((5, 5), bool)
      >>> free[1:4, 1:4] = True
      >>> world = envs.point_maze(free)
      >>> small = {"width": 8, "hidden": 16, "heads": 2, "network_hidden": 16}
      >>> planner = DescentPlanner(4, 2, horizon=12, max_past=4, **small, rngs=nnx.Rngs(0))
      >>> state = world.reset_fn(jax.random.key(0))
      >>> goal = jnp.append(state.goal, jnp.zeros(2))
      >>> episode = pursue(planner, world, state, goal, jax.random.key(1), num_steps=3)
      >>> episode.actions.shape
      (3, 2)

    References: Planning as Descent, arXiv 2512.17846, section 4.4.
    """
    check_sizes(num_steps=num_steps, replan_every=replan_every)
    if num_steps % replan_every or replan_every > planner.horizon:
        raise ValueError(
            f"replan_every is {replan_every}, expected at most {planner.horizon}, the planner's "
            f"horizon, and a divisor of num_steps, which is {num_steps}."
        )

    def step(carry: tuple, action: Array) -> tuple[tuple, tuple]:
        state, past = carry
        state, reward, discount = world.step_fn(None, state, action)
        return (state, extend_past(past, world.observe_fn(state))), (state, reward, discount)

    def think(past: Array, key: Array) -> tuple[Array, Array, Array]:
        plan = planner.plan(
            *(past, goal, key), candidates=candidates, keep=keep, num_steps=num_refinements
        )
        return planner.first_actions(plan, past, replan_every), plan.energy, plan.progress

    def control(carry: tuple, key: Array) -> tuple[tuple, tuple]:
        is_over, _, past = carry
        # A branch, not a choice: but for vmap, nothing is planned once the episode is over.
        actions, *numbers = jax.eval_shape(think, past, key)
        nothing = jnp.zeros_like(actions), *(jnp.full_like(x, jnp.nan) for x in numbers)
        plan = jax.lax.cond(is_over, lambda *_: nothing, think, past, key)
        carry, (states, rewards, discounts) = jax.lax.scan(step, carry[1:], plan[0])
        is_over = is_over | (discounts == 0).any()
        return (is_over, *carry), (states, rewards, discounts, *plan)

    start = jnp.array(False), state, first_past(world.observe_fn(state), planner.max_past)
    keys = jax.random.split(key, num_steps // replan_every)
    _, (*parts, energies, progresses) = jax.lax.scan(control, start, keys)
    join = lambda leaf: leaf.reshape(num_steps, *leaf.shape[2:])
    states, rewards, discounts, actions = jax.tree.map(join, parts)
    return Pursuit(
        states=jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, states),
        actions=actions,
        rewards=rewards,
        discounts=discounts,
        energies=energies,
        progresses=progresses,
    )
