"""The safeguard that Anderson and Broyden share: restart from the last good point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from jplan._typing import Array, PyTree

GROWTH = 2.0
"""A step whose residual norm grows by more than this factor is taken back."""


@struct.dataclass
class GuardedState:
    """Last accepted point, its residual vector, and the solver's own memory."""

    point: Array  # [n]
    gap: Array  # [n]
    norm: Array  # []
    count: Array  # [] accepted points since the last restart
    memory: Any


def guarded_init(z: PyTree, empty_memory: Callable[[Array], Any]) -> GuardedState:
    """Empty state for the flattened problem."""
    flat, _ = ravel_pytree(z)
    norm = jnp.asarray(jnp.inf, jnp.promote_types(flat.dtype, jnp.float32))
    return GuardedState(
        point=flat,
        gap=jnp.zeros_like(flat),
        norm=norm,
        count=jnp.zeros((), jnp.int32),
        memory=empty_memory(flat),
    )


def guarded_step(
    z: PyTree,
    fz: PyTree,
    state: GuardedState,
    *,
    empty_memory: Callable[[Array], Any],
    propose: Callable[..., tuple[Array, Any]],
    damping: Any,
) -> tuple[PyTree, GuardedState]:
    """Take the accelerated step, or go back to the last good point and take a plain one there.

    ``propose(point, gap, memory, count, point_change, gap_change)`` returns the next point and the
    memory that includes the newest change. The step after a restart is always accepted, so that
    a map which expands at first is followed as plain iteration would follow it.
    """
    point, unravel = ravel_pytree(z)
    image, _ = ravel_pytree(fz)
    gap = jnp.where(image == point, 0, image - point)
    # Only compared, never returned: keep it out of the gradient, where sqrt(0) is NaN.
    wide = jax.lax.stop_gradient(gap).astype(state.norm.dtype)
    norm = jnp.linalg.norm(wide)
    accepted = jnp.isfinite(norm) & (norm <= GROWTH * state.norm)

    change = jnp.where(state.count > 0, 1, 0).astype(point.dtype)
    known = jnp.where(accepted, gap, 0)
    proposal, memory = propose(
        point,
        known,
        state.memory,
        state.count,
        change * (point - state.point),
        change * (known - state.gap),
    )
    restart = state.point + jnp.asarray(damping, point.dtype) * state.gap
    fresh = empty_memory(point)
    pick = lambda new, old: jnp.where(accepted, new, old)
    flat = pick(proposal, jnp.where(state.count > 0, restart, image)).astype(point.dtype)
    state = GuardedState(
        point=pick(point, flat),
        gap=pick(gap, 0),
        norm=pick(norm, jnp.inf),
        count=pick(state.count + 1, 0),
        memory=jax.tree.map(pick, memory, fresh),
    )
    return unravel(flat), state
