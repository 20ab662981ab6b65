"""What a planning problem must offer to the operators and solvers of this package."""

from typing import Any, Protocol

import jax.numpy as jnp

from jplan._typing import Array, Scalar


class MDP(Protocol):
    """A problem with finitely many states, laid out as an array, and ``A`` actions.

    The operators need nothing else, so a new kind of problem (sparse, graph) is a new class with
    these members. Everything an operator does to states ``[...]`` follows from `action_values`.
    """

    @property
    def discount(self) -> Scalar:
        """Discount per step, in [0, 1]."""
        ...

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of a value function: (S,) or (H, W)."""
        ...

    @property
    def num_actions(self) -> int:
        """Number of actions A."""
        ...

    @property
    def dtype(self) -> Any:
        """Floating-point dtype of values."""
        ...

    @property
    def is_terminal(self) -> Array:
        """States where nothing more is earned and the value is 0, bool [...]."""
        ...

    def validate(self) -> None:
        """Raise ValueError (got, expected, fix) if static facts disagree."""
        ...

    def action_values(self, value: Array) -> Array:
        """Q [..., A] from V [...]; 0 in terminal states, ``-inf`` where not allowed."""
        ...

    def log_action_values(self, value: Array) -> Array:
        """As `action_values` with ``log E exp V`` in place of ``discount * E V``."""
        ...


def check_value(mdp: MDP, value: Array) -> Array:
    """``value`` as an array, or ValueError if it does not fit the problem."""
    mdp.validate()
    value = jnp.asarray(value)
    if value.shape != mdp.state_shape:
        raise ValueError(
            f"value: got shape {value.shape}, expected {mdp.state_shape}; functions take one "
            "problem, so use jax.vmap for a batch."
        )
    return value


def check_temperature(temperature: Scalar) -> None:
    """ValueError if a Python temperature is not positive; to be called outside jit."""
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(
            f"temperature: got {temperature}, expected a positive number; the limit 0 is "
            "value_iteration."
        )


def action_probabilities(mdp: MDP, policy: Array) -> Array:
    """Policy as probabilities [..., A]; integer actions become one-hot rows, -1 a zero row."""
    policy = jnp.asarray(policy)
    if jnp.issubdtype(policy.dtype, jnp.integer):
        expected = mdp.state_shape
        one_hot = (policy[..., None] == _action_axis(mdp)).astype(mdp.dtype)
    else:
        expected = (*mdp.state_shape, mdp.num_actions)
        one_hot = policy
    if policy.shape != expected:
        raise ValueError(
            f"policy: got shape {policy.shape} and dtype {policy.dtype}, expected integer actions "
            f"{mdp.state_shape} or probabilities {(*mdp.state_shape, mdp.num_actions)}; use "
            "jax.vmap for a batch."
        )
    return one_hot


def _action_axis(mdp: MDP) -> Array:
    return jnp.arange(mdp.num_actions).reshape((1,) * len(mdp.state_shape) + (-1,))
