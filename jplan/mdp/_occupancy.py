"""Occupancy measures, and the inverse problem: rewards from demonstrations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jplan._typing import Array, Scalar
from jplan.fixed_points import (
    AbstractAdjoint,
    Anderson,
    Broyden,
    Implicit,
    Picard,
    Solution,
    Status,
    fixed_point,
)
from jplan.mdp._bellman import action_values, evaluation_backup
from jplan.mdp._contract import MDP, action_probabilities, check_value
from jplan.mdp._solvers import soft_value_iteration

_BUDGET = 10_000


def occupancy_measure(
    mdp: MDP,
    policy: Array,
    initial: Array,
    *,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Solution:
    """Discounted state-action visits of a policy.

    mu(s, a) = sum_t discount^t P(s_t = s, a_t = a) = pi(a | s) d(s)
    d = initial + discount * P_pi^T d

    It is not normalised: with discount below 1 and no terminal states it sums to
    1 / (1 - discount), and ``sum(mu * R)`` is the expected return.

    Args:
      mdp: `TabularMDP`, `GridMDP` or `GraphMDP`.
      policy: [..., A] probabilities, or [...] integer actions with -1 for none.
      initial: [...], distribution of the first state, or any weights.
      solver: ``Picard(max_steps=10_000)`` by default.
      adjoint: ``Implicit`` with a Picard backward by default.

    Returns:
      `Solution`; ``value`` [..., A], zero in terminal states and where the policy is stuck.

    Raises:
      ValueError: if shapes or dtypes disagree.

    Differentiability: with respect to transition, discount, probabilities and initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import GridMDP, occupancy_measure
      >>> grid = GridMDP.from_free(jnp.ones((1, 3), bool), goal=(0, 0), moves=4)
      >>> start = jnp.array([[0.0, 0.0, 1.0]])
      >>> occupancy_measure(grid, jnp.array([[-1, 1, 1]]), start).value.sum(-1)
      Array([[0., 1., 1.]], dtype=float32)

    References: Puterman 1994, section 6.9; Syed, Bowling & Schapire 2008, eq. 2.
    """
    initial = check_value(mdp, initial)
    probabilities = action_probabilities(mdp, policy)
    return _occupancy(mdp, probabilities, initial, solver, adjoint)


def maxent_irl_loss(
    mdp: MDP,
    demonstrations: Array,
    initial: Array,
    *,
    temperature: Scalar = 1.0,
    solver: Picard | Anderson | Broyden | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> Array:
    """Maximum-entropy inverse reinforcement learning: loss of a reward, given demonstrations.

    L(R) = sum_s initial(s) V_soft(s; R) - sum_{s, a} demonstrations(s, a) R(s, a)

    It is convex in the reward, and its gradient is the occupancy of the soft policy minus that of
    the expert. Where the demonstrations are consistent with the dynamics it is the temperature
    times the negative discounted log-likelihood of the demonstrated actions.

    Args:
      mdp: `TabularMDP` or `GridMDP` with the reward (or cell cost) to be judged.
      demonstrations: [..., A], discounted visits of the expert, as `occupancy_measure` returns
        them: the mean over episodes of ``discount^t`` added at (s_t, a_t). Zero in terminal states.
      initial: [...], distribution of the first state of the demonstrations.
      temperature: positive scalar in reward units.
      solver: of the soft value; ``Picard(max_steps=10_000)`` by default.
      adjoint: of the soft value; ``Implicit`` with a Picard backward by default.

    Returns:
      Scalar, in reward units; NaN if the soft value did not converge, since its gradient would then
      mean nothing; inf if a demonstrated action is not allowed.

    Raises:
      ValueError: if shapes or dtypes disagree, or a Python temperature is not positive.

    Differentiability: grad with respect to reward, cell cost, transition, temperature (implicit).

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jplan.mdp import TabularMDP, maxent_irl_loss
      >>> mdp = TabularMDP(transition=jnp.ones((1, 2, 1)), reward=jnp.zeros((1, 2)), discount=0.5)
      >>> expert = jnp.array([[2.0, 0.0]])
      >>> loss = lambda r: maxent_irl_loss(mdp.replace(reward=r), expert, jnp.ones(1))
      >>> jax.grad(loss)(mdp.reward).round(3)
      Array([[-1.,  1.]], dtype=float32)

    References: Ziebart et al. 2008, "Maximum entropy inverse reinforcement learning", eq. 6;
    Ziebart 2010, theorem 6.4 (causal entropy).
    """
    initial = check_value(mdp, initial)
    rewards = action_values(mdp, jnp.zeros(mdp.state_shape, mdp.dtype))
    demonstrations = jnp.asarray(demonstrations)
    if demonstrations.shape != rewards.shape:
        raise ValueError(
            f"demonstrations: got shape {demonstrations.shape}, expected {rewards.shape}; give "
            "visits of each state and action, not a list of actions."
        )
    soft = soft_value_iteration(mdp, temperature=temperature, solver=solver, adjoint=adjoint)
    seen = demonstrations > 0
    earned = jnp.sum(jnp.where(seen, demonstrations * jnp.where(seen, rewards, 0), 0))
    begun = initial > 0
    expected = jnp.sum(jnp.where(begun, initial * jnp.where(begun, soft.value, 0), 0))
    return jnp.where(soft.status == Status.CONVERGED, expected - earned, jnp.nan)


def _visits_step(params: tuple[MDP, Array, Array], visits: Array) -> Array:
    """One step of the flow: the transpose of the evaluation backup."""
    mdp, probabilities, initial = params
    backup = functools.partial(evaluation_backup, mdp, probabilities)
    _, transpose = jax.vjp(backup, jnp.zeros(mdp.state_shape, mdp.dtype))
    return initial.astype(visits.dtype) + transpose(visits)[0]


@jax.jit
def _occupancy(
    mdp: MDP,
    probabilities: Array,
    initial: Array,
    solver: Picard | Anderson | Broyden | None,
    adjoint: AbstractAdjoint | None,
) -> Solution:
    solver = Picard(max_steps=_BUDGET) if solver is None else solver
    adjoint = Implicit(backward=Picard(max_steps=_BUDGET)) if adjoint is None else adjoint
    start = initial.astype(mdp.dtype)
    solution = fixed_point(
        _visits_step, (mdp, probabilities, initial), start, solver=solver, adjoint=adjoint
    )
    visits = jnp.where(mdp.is_terminal, 0, solution.value)
    return dataclasses.replace(solution, value=visits[..., None] * probabilities)
