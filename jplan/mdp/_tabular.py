"""Markov decision processes given as tables."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jplan._typing import Array, Scalar


@struct.dataclass(kw_only=True)
class TabularMDP:
    """Finite Markov decision process with a table for every law.

    Q(s, a) = reward(s, a) + discount * sum_s' transition(s, a, s') V(s')

    Terminal states have value 0 and no outgoing reward, whatever their rows say. A state without
    an allowed action, and one from which every action risks such a state, has the value ``-inf``:
    no plan from there can be carried out. Rows of ``transition`` are used as given; they are not
    normalised.

    Attributes:
      transition: [S, A, S], probabilities; each row [s, a] sums to 1.
      reward: [S, A], expected reward of the step.
      discount: scalar in [0, 1]; a leaf, so it can be swept and differentiated.
      terminal: bool [S] or None.
      action_mask: bool [S, A], True where the action is allowed, or None.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP
      >>> mdp = TabularMDP(
      ...     transition=jnp.array([[[0.0, 1.0]], [[0.0, 1.0]]]),
      ...     reward=jnp.array([[1.0], [2.0]]),
      ...     discount=0.5,
      ... )
      >>> mdp.action_values(jnp.array([0.0, 4.0]))
      Array([[3.],
             [4.]], dtype=float32)
    """

    transition: Array
    reward: Array
    discount: Scalar
    terminal: Array | None = None
    action_mask: Array | None = None

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(S,)."""
        return (self.reward.shape[0],)

    @property
    def num_actions(self) -> int:
        """A."""
        return self.reward.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Common floating-point dtype of the tables and the discount."""
        return jnp.result_type(self.transition, self.reward, self.discount, 1.0)

    @property
    def is_terminal(self) -> Array:
        """Mask of the terminal states, bool [S]."""
        return jnp.zeros(self.state_shape, bool) if self.terminal is None else self.terminal

    def validate(self) -> None:
        """Check the static facts.

        It runs in the public functions and not at construction, because JAX also builds this
        object from placeholders.

        Raises:
          ValueError: if shapes or dtypes disagree or a Python discount is outside [0, 1].
        """
        reward = np.shape(self.reward)
        if len(reward) != 2 or 0 in reward:
            raise ValueError(
                f"reward: got shape {reward}, expected [S, A] with at least one state and one "
                "action; for a reward per state repeat it over the actions."
            )
        num_states, num_actions = reward
        expected = {
            "transition": (self.transition, (num_states, num_actions, num_states)),
            "discount": (self.discount, ()),
            "terminal": (self.terminal, (num_states,)),
            "action_mask": (self.action_mask, (num_states, num_actions)),
        }
        for name, (leaf, shape) in expected.items():
            if leaf is not None and np.shape(leaf) != shape:
                raise ValueError(
                    f"{name}: got shape {np.shape(leaf)}, expected {shape} to go with reward "
                    f"{reward}; axes are [state, action, next state], use jax.vmap for a batch."
                )
        for name, leaf in (("terminal", self.terminal), ("action_mask", self.action_mask)):
            if leaf is not None and jnp.result_type(leaf) != jnp.bool_:
                raise ValueError(
                    f"{name}: got dtype {jnp.result_type(leaf)}, expected bool; compare it, for "
                    f"instance {name}={name} > 0."
                )
        check_discount(self.discount)

    def action_values(self, value: Array) -> Array:
        """Q [S, A] from V [S]; 0 in terminal states, ``-inf`` where not allowed."""
        future = jnp.where(self.is_terminal, 0, value)
        if self.action_mask is None:
            q = self.reward + self.discount * _expect(self.transition, future)
        else:
            # Zero probability times -inf must count as zero, so -inf goes its own way.
            lost = jnp.isneginf(future)
            columns = jnp.stack([jnp.where(lost, 0, future), lost.astype(future.dtype)], axis=-1)
            both = _expect(self.transition, columns)
            q = self.reward + self.discount * both[..., 0]
            q = jnp.where(self.action_mask & (both[..., 1] == 0), q, -jnp.inf)
        return jnp.where(self.is_terminal[:, None], 0, q).astype(self.dtype)

    def log_action_values(self, value: Array) -> Array:
        """Reward(s, a) + log sum_s' transition(s, a, s') exp V(s'), [S, A]."""
        future = jnp.where(self.is_terminal, 0, value)
        possible = (self.transition > 0) & ~jnp.isneginf(future)[None, None, :]
        log_weights = jnp.log(jnp.where(possible, self.transition, 1))
        log_weights = log_weights + jnp.where(jnp.isneginf(future), 0, future)[None, None, :]
        peak = jnp.max(log_weights, axis=-1, where=possible, initial=-jnp.inf)
        peak = lax.stop_gradient(jnp.where(jnp.isneginf(peak), 0, peak))
        shifted = jnp.where(possible, log_weights - peak[..., None], 0)
        total = jnp.sum(jnp.where(possible, jnp.exp(shifted), 0), axis=-1)
        some = jnp.any(possible, axis=-1)
        q = self.reward + peak + jnp.log(jnp.where(some, total, 1))
        allowed = some if self.action_mask is None else some & self.action_mask
        q = jnp.where(allowed, q, -jnp.inf)
        return jnp.where(self.is_terminal[:, None], 0, q).astype(self.dtype)


def prune(mdp: TabularMDP) -> tuple[TabularMDP, Array]:
    """Problem without the states that have no plan, and a mask of those, bool [S].

    They become terminal, and actions that may lead to them are forbidden, so that the values that
    remain are finite and a solver can iterate on them.
    """
    if mdp.action_mask is None:
        return mdp, jnp.zeros(mdp.state_shape, bool)
    mask, terminal = mdp.action_mask, mdp.is_terminal
    transition = lax.stop_gradient(mdp.transition)

    def safe_actions(lost: Array) -> Array:
        return mask & (_expect(transition, lost.astype(transition.dtype)) == 0)

    def grow(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        lost, _ = carry
        grown = ~terminal & ~jnp.any(safe_actions(lost), axis=-1)
        return grown, jnp.any(grown != lost)

    start = (jnp.zeros_like(terminal), jnp.ones((), bool))
    lost, _ = lax.while_loop(lambda carry: carry[1], grow, start)
    pruned = dataclasses.replace(mdp, terminal=terminal | lost, action_mask=safe_actions(lost))
    return pruned, lost


def check_discount(discount: Scalar) -> None:
    """ValueError if a Python discount is outside [0, 1]."""
    if isinstance(discount, int | float) and not 0 <= discount <= 1:
        raise ValueError(f"discount: got {discount}, expected a number in [0, 1].")


def _expect(transition: Array, values: Array) -> Array:
    # Full precision, because accelerators otherwise round the factors to fewer bits.
    return jnp.tensordot(transition, values, axes=1, precision=lax.Precision.HIGHEST)
