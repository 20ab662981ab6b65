"""What the planners of action sequences return, and how they judge it."""

import enum

import jax.numpy as jnp
from flax import struct

from jplan._typing import Array, ModelFn, Params, PyTree
from jplan.descent import AbstractActionSpace, Rollout, rollout


class PlanStatus(enum.IntEnum):
    """What to think of a plan; `Plan.status` holds these numbers.

    * ``FINE``: none of the others.
    * ``DIVERGED``: no candidate has a finite return.
    * ``FLAT_START``: no candidate had a gradient to begin with, so the plan is the best of the
      random ones; draw the first latents otherwise, or more of them.
    * ``RELAXATION_GAP``: the relaxed plan promises more than the quantised one holds, by more than
      a tenth: the model is wrong between the actions. Train it with noise on them, or use another
      relaxation.

    Example:
      >>> PlanStatus.FINE == 0
      True
    """

    FINE = 0
    DIVERGED = 1
    FLAT_START = 2
    RELAXATION_GAP = 3


@struct.dataclass(kw_only=True)
class Plan:
    """Actions, and what the model says of them.

    Attributes:
      actions: pytree with a leading axis [T], as the world takes them.
      latent: with a leading axis [T], what they were quantised from; `jplan.descent.shift_plan`
        makes a warm start of it.
      rollout: `jplan.descent.Rollout` of the actions.
      soft_return: [], of the relaxed actions.
      hard_return: [], of the actions.
      status: [] int32, a `PlanStatus`.
      returns: [N, num_steps + 1], of all candidates at all steps, relaxed if the planner relaxes.
    """

    actions: PyTree
    latent: PyTree
    rollout: Rollout
    soft_return: Array
    hard_return: Array
    status: Array
    returns: Array

    @property
    def gap(self) -> Array:
        """How much more the relaxed actions promise, []."""
        return self.soft_return - self.hard_return


def make_plan(
    model_fn: ModelFn,
    params: Params,
    state: PyTree,
    action_space: AbstractActionSpace,
    latent: PyTree,
    *,
    soft_return: Array | None = None,
    returns: Array | None = None,
    is_flat: Array | bool = False,
) -> Plan:
    """The plan of a latent [T, ...], and its diagnosis; both returns default to the plan's own."""
    actions = action_space.quantise(latent)
    out = rollout(model_fn, params, state, actions)
    soft_return = out.total if soft_return is None else soft_return
    returns = out.total[None, None] if returns is None else returns
    largest = jnp.maximum(jnp.abs(soft_return), jnp.abs(out.total))
    has_gap = soft_return - out.total > 0.1 * largest
    lost = ~jnp.isfinite(soft_return) | ~jnp.isfinite(out.total)
    status = jnp.select(
        [lost, jnp.asarray(is_flat), has_gap],
        [PlanStatus.DIVERGED, PlanStatus.FLAT_START, PlanStatus.RELAXATION_GAP],
        PlanStatus.FINE,
    )
    return Plan(
        actions=actions,
        latent=latent,
        rollout=out,
        soft_return=soft_return,
        hard_return=out.total,
        status=status.astype(jnp.int32),
        returns=returns,
    )
