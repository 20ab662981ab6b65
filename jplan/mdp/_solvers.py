"""Exact solvers: value, policy and modified policy iteration, all on the fixed-point engine."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jplan._typing import Array, FixedPointFn, Scalar
from jplan.fixed_points import (
    AbstractAdjoint,
    Anderson,
    Broyden,
    Implicit,
    Picard,
    Solution,
    fixed_point,
    implicit_at,
)
from jplan.mdp._bellman import evaluation_backup, optimality_backup, soft_backup, sparse_backup
from jplan.mdp._contract import MDP, action_probabilities, check_temperature
from jplan.mdp._graph import GraphMDP
from jplan.mdp._grid import GridMDP
from jplan.mdp._sweeps import flag_no_goal, sweep_grid
from jplan.mdp._tabular import TabularMDP, prune

_BUDGET = 10_000
"""Steps that a solve may take by default; loops stop when they have converged."""

_PATHS = GridMDP, GraphMDP
"""Problems whose values are minus the lengths of paths, -inf where there is none."""


def value_iteration(
    mdp: MDP,
    *,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Solution:
    """Optimal value function.

    V(s) = max_a [R(s, a) + discount * E V(s')]

    A `GridMDP` is solved exactly, by sweeps over its rows and columns: path lengths are summed
    without rounding, and equal paths come out equal. Its ``num_steps`` counts sweeps.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      solver: for tables and graphs ``Picard(max_steps=10_000)`` by default. For grids None means
        the exact sweeps; a solver iterates the plain backup instead.
      adjoint: how the value is differentiated; by default ``Implicit`` with a Picard backward,
        which on a grid runs until it is exact. The sweeps know the reverse mode of ``Implicit``
        only.

    Returns:
      `Solution`; ``value`` [...] in reward units, ``-inf`` in states without a plan. On a grid or
      a graph without any valid goal the status is DIVERGED; on a grid with costs that are not
      positive and finite, or a discount outside (0, 1], the value is NaN as well.

    Raises:
      ValueError: if shapes or dtypes disagree, or the adjoint does not go with the sweeps.

    Differentiability: with respect to reward, transition, discount and the costs of cells or edges,
    off ties (the gradient is split evenly between equal actions).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, value_iteration
      >>> grid = GridMDP.from_free(jnp.ones((2, 3), bool), goal=(0, 0))
      >>> value_iteration(grid).value.round(3)
      Array([[ 0.   , -1.   , -2.   ],
             [-1.   , -1.414, -2.414]], dtype=float32)

    References: Bellman 1957; Puterman 1994, section 6.3.
    """
    mdp.validate()
    if isinstance(mdp, GridMDP) and solver is None:
        backward = Picard(tol=0.0, max_steps=max(mdp.free.size, 1))
        if isinstance(adjoint, Implicit) and adjoint.mode == "reverse":
            backward = adjoint.backward
        elif adjoint is not None:
            raise ValueError(
                f"adjoint: got {adjoint}, expected Implicit() for the exact sweeps of a grid; "
                "give a solver, for instance solver=Picard(max_steps=...), to iterate the plain "
                "backup with any adjoint."
            )
        return sweep_grid(mdp, backward)
    return _solve(_optimality_step, isinstance(mdp, _PATHS), mdp, (), solver, adjoint)


def soft_value_iteration(
    mdp: MDP,
    *,
    temperature: Scalar,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Solution:
    """Maximum-entropy optimal value function.

    V(s) = temperature * log sum_a exp([R(s, a) + discount * E V(s')] / temperature)

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`. With discount 1 the value exists only where the
        temperature is small against the cost of a step; otherwise the status is not CONVERGED.
      temperature: positive scalar in reward units.
      solver: ``Picard(max_steps=10_000)`` by default.
      adjoint: ``Implicit`` with a Picard backward by default.

    Returns:
      `Solution`; ``value`` [...] in reward units.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: with respect to reward, transition, discount, cell cost and temperature.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, soft_value_iteration
      >>> mdp = TabularMDP(transition=jnp.ones((1, 2, 1)), reward=jnp.zeros((1, 2)), discount=0.5)
      >>> soft_value_iteration(mdp, temperature=1.0).value.round(3)
      Array([1.386], dtype=float32)

    References: Ziebart 2010, section 6.2; Haarnoja et al. 2017, theorem 3.
    """
    mdp.validate()
    check_temperature(temperature)
    return _solve(_soft_step, isinstance(mdp, _PATHS), mdp, temperature, solver, adjoint)


def sparse_value_iteration(
    mdp: MDP,
    *,
    temperature: Scalar,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Solution:
    """Sparse (Tsallis-entropy) optimal value function.

    V(s) = max_{p in simplex} sum_a p_a Q(s, a) + temperature / 2 * (1 - |p|^2)

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      temperature: positive scalar in reward units.
      solver: ``Picard(max_steps=10_000)`` by default.
      adjoint: ``Implicit`` with a Picard backward by default.

    Returns:
      `Solution`; ``value`` [...] in reward units.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: with respect to reward, transition, discount, cell cost and temperature.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, sparse_value_iteration
      >>> mdp = TabularMDP(transition=jnp.ones((1, 2, 1)), reward=jnp.zeros((1, 2)), discount=0.5)
      >>> sparse_value_iteration(mdp, temperature=1.0).value.round(3)
      Array([0.5], dtype=float32)

    References: Lee, Choi & Oh 2018, the sparse value iteration.
    """
    mdp.validate()
    check_temperature(temperature)
    return _solve(_sparse_step, isinstance(mdp, _PATHS), mdp, temperature, solver, adjoint)


def policy_iteration(mdp: TabularMDP, *, solver: Picard | None = None) -> Solution:
    """Optimal value function by policy iteration.

    V <- (I - discount P_pi)^{-1} R_pi, with pi greedy for V

    Each step costs a dense linear solve, and few steps are needed.

    Args:
      mdp: table; with discount 1 every greedy policy must end in a terminal state.
      solver: ``Picard()`` by default; its tolerance decides when policies count as equally good.

    Returns:
      `Solution`; ``value`` [S], ``num_steps`` counts policies.

    Raises:
      ValueError: if shapes or dtypes disagree, or the problem is not a table.

    Differentiability: as the optimality backup's fixed point (`implicit_at`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, policy_iteration
      >>> mdp = TabularMDP(
      ...     transition=jnp.ones((1, 2, 1)), reward=jnp.array([[0.0, 1.0]]), discount=0.5
      ... )
      >>> policy_iteration(mdp).value
      Array([2.], dtype=float32)

    References: Howard 1960; Puterman 1994, section 6.4.
    """
    _check_table(mdp)
    return _improve(_policy_step, mdp, Picard() if solver is None else solver)


def modified_policy_iteration(
    mdp: TabularMDP, *, evaluation_steps: int = 20, solver: Picard | None = None
) -> Solution:
    """Optimal value function by modified policy iteration.

    V <- T_pi^m T V, with pi greedy for V

    Evaluation steps touch one action a state, so they are A times cheaper than a full backup.

    Args:
      mdp: table.
      evaluation_steps: m >= 0, static; 0 is value iteration.
      solver: ``Picard(max_steps=10_000)`` by default.

    Returns:
      `Solution`; ``value`` [S].

    Raises:
      ValueError: if shapes or dtypes disagree, the problem is not a table, or m < 0.

    Differentiability: as the optimality backup's fixed point (`implicit_at`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, modified_policy_iteration
      >>> mdp = TabularMDP(
      ...     transition=jnp.ones((1, 2, 1)), reward=jnp.array([[0.0, 1.0]]), discount=0.5
      ... )
      >>> modified_policy_iteration(mdp).value.round(3)
      Array([2.], dtype=float32)

    References: Puterman & Shin 1978; Puterman 1994, section 6.5.
    """
    _check_table(mdp)
    if evaluation_steps < 0:
        raise ValueError(f"evaluation_steps: got {evaluation_steps}, expected 0 or more.")
    step = _ModifiedPolicyStep(evaluation_steps)
    return _improve(step, mdp, Picard(max_steps=_BUDGET) if solver is None else solver)


def evaluate_policy(
    mdp: MDP,
    policy: Array,
    *,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Solution:
    """Value function of a policy.

    V(s) = sum_a pi(a | s) [R(s, a) + discount * E V(s')]

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      policy: [..., A] probabilities, or [...] integer actions with -1 for none.
      solver: ``Picard(max_steps=10_000)`` by default.
      adjoint: ``Implicit`` with a Picard backward by default.

    Returns:
      `Solution`; ``value`` [...], ``-inf`` where the policy gets stuck, and on a grid with integer
      actions also where it runs in a circle. With discount 1 a table's policy that never ends, or a
      grid's stochastic one that may get stuck, does not converge, and the status says so.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: with respect to reward, transition, discount, cell cost and probabilities.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, evaluate_policy
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> evaluate_policy(grid, jnp.array([[-1, 1, 1]])).value
      Array([[ 0., -1., -2.]], dtype=float32)

    References: Sutton & Barto 2018, eq. 4.4.
    """
    mdp.validate()
    is_certain = jnp.issubdtype(jnp.result_type(policy), jnp.integer)
    from_below = isinstance(mdp, _PATHS) and bool(is_certain)
    probabilities = action_probabilities(mdp, policy)
    return _solve(_evaluation_step, from_below, mdp, probabilities, solver, adjoint)


def _optimality_step(params: tuple, value: Array) -> Array:
    return optimality_backup(params[0], value)


def _soft_step(params: tuple, value: Array) -> Array:
    return soft_backup(params[0], value, temperature=params[1])


def _sparse_step(params: tuple, value: Array) -> Array:
    return sparse_backup(params[0], value, temperature=params[1])


def _evaluation_step(params: tuple, value: Array) -> Array:
    return evaluation_backup(params[0], params[1], value)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _solve(
    step: FixedPointFn, from_below: bool, mdp: MDP, extra: Any, solver: Any, adjoint: Any
) -> Solution:
    solver = Picard(max_steps=_BUDGET) if solver is None else solver
    adjoint = Implicit(backward=Picard(max_steps=_BUDGET)) if adjoint is None else adjoint
    lost = jnp.zeros(mdp.state_shape, bool)
    # From -inf, cells without a plan stay there instead of sinking for ever.
    start = jnp.where(mdp.is_terminal, 0, -jnp.inf if from_below else 0).astype(mdp.dtype)
    if isinstance(mdp, TabularMDP):
        mdp, lost = prune(mdp)
        start = _table_start(mdp)
    solution = fixed_point(step, (mdp, extra), start, solver=solver, adjoint=adjoint)
    solution = flag_no_goal(mdp, solution) if isinstance(mdp, _PATHS) else solution
    return dataclasses.replace(solution, value=jnp.where(lost, -jnp.inf, solution.value))


def _table_start(mdp: TabularMDP) -> Array:
    """Zero; NaN if an entry of the table is, since XLA's maximum over many actions drops NaN."""
    zero = jnp.zeros(mdp.state_shape, mdp.dtype)
    rewards = jax.lax.stop_gradient(mdp.action_values(zero))
    return jnp.where(jnp.any(jnp.isnan(rewards)), jnp.nan, zero)


@functools.partial(jax.jit, static_argnums=0)
def _improve(step: FixedPointFn, mdp: TabularMDP, solver: Picard) -> Solution:
    mdp, lost = prune(mdp)
    start = _table_start(mdp)
    solution = fixed_point(step, jax.lax.stop_gradient(mdp), start, solver=solver)
    value = implicit_at(optimality_backup, mdp, solution.value, backward=Picard(max_steps=_BUDGET))
    return dataclasses.replace(solution, value=jnp.where(lost, -jnp.inf, value))


def _greedy_rows(mdp: TabularMDP, value: Array) -> tuple[Array, Array, Array]:
    """Backed-up value, and transition [S, S] and reward [S] of the greedy policy."""
    q = mdp.action_values(value)
    action = jnp.argmax(q, axis=-1)
    going = ~mdp.is_terminal
    rows = jnp.take_along_axis(mdp.transition, action[:, None, None], axis=1)[:, 0]
    reward = jnp.take_along_axis(mdp.reward, action[:, None], axis=1)[:, 0]
    transition = jnp.where(going[:, None] & going[None, :], rows, 0).astype(mdp.dtype)
    return jnp.max(q, axis=-1), transition, jnp.where(going, reward, 0).astype(mdp.dtype)


def _policy_step(mdp: TabularMDP, value: Array) -> Array:
    _, transition, reward = _greedy_rows(mdp, value)
    system = jnp.eye(len(reward), dtype=mdp.dtype) - mdp.discount * transition
    return jnp.linalg.solve(system, reward).astype(value.dtype)


@dataclasses.dataclass(frozen=True)
class _ModifiedPolicyStep:
    """Backup, then evaluation of the greedy policy; equal ones share a compiled solve."""

    evaluation_steps: int

    def __call__(self, mdp: TabularMDP, value: Array) -> Array:
        value, transition, reward = _greedy_rows(mdp, value)

        def evaluate(_: int, value: Array) -> Array:
            future = jnp.matmul(transition, value, precision=jax.lax.Precision.HIGHEST)
            return (reward + mdp.discount * future).astype(value.dtype)

        return jax.lax.fori_loop(0, self.evaluation_steps, evaluate, value)


def _check_table(mdp: TabularMDP) -> None:
    if not isinstance(mdp, TabularMDP):
        raise ValueError(
            f"mdp: got {type(mdp).__name__}, expected TabularMDP; use value_iteration for grids."
        )
    mdp.validate()
