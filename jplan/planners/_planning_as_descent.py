"""PaD: plan by descent on the energy of whole trajectories of latents."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jplan._batches import map_batches
from jplan._checks import check_sizes
from jplan._typing import Array, EnergyFn, Params, ProjectFn, Scalar
from jplan.descent import AcceptFn, refine, select_top


@struct.dataclass(kw_only=True)
class LatentPlan:
    """A trajectory of latents, and the candidates that it was chosen from.

    Attributes:
      latents: [T, D], the chosen future.
      energy: [], of it; infinite if no candidate is finite.
      progress: [], where in it the goal is reached, from 0 to 1.
      index: [] int32, which candidate it is.
      candidates: [N, T, D], all of them, refined.
      energies: [N, num_steps + 1], of all at all steps.
      progresses: [N], of all.
    """

    latents: Array
    energy: Array
    progress: Array
    index: Array
    candidates: Array
    energies: Array
    progresses: Array


def planning_as_descent(
    energy_fn: EnergyFn,
    params: Params,
    past: Array,
    goal: Array,
    key: Array,
    *,
    horizon: int,
    candidates: int = 256,
    num_steps: int = 2,
    keep: int = 32,
    step_size: Scalar = 1.0,
    project: ProjectFn | None = None,
    accept: AcceptFn | None = None,
    batch_size: int | None = None,
) -> LatentPlan:
    """Plan by descent on an energy, from noise, with a guess at the arrival for each candidate.

        z ~ N(0, 1), progress ~ U(0, 1);  z <- project(z - step_size * grad_z E(z, progress))

    Of the ``keep`` candidates with the least energy one is drawn with probabilities that are
    proportional to exp(-progress), so that early arrivals are preferred.

    Args:
      energy_fn: ``energy_fn(params, future, past, goal, progress) -> scalar``.
      params: of the energy and the projection.
      past: [P, D], latents up to now, the oldest first.
      goal: [D], latent.
      key: consumed.
      horizon: static, T, latents of the plan, from 1 on.
      candidates: static, N.
      num_steps: static, of the descent; those that the energy was trained with.
      keep: static, K, from 1 on; more than N is N.
      step_size: positive; may be traced.
      project: ``project(params, future) -> future``, after each step.
      accept: see `jplan.refine`; ``jnp.greater`` takes only steps that lower the energy.
      batch_size: static; how many candidates are refined at a time, None for all.

    Returns:
      `LatentPlan`. A candidate that is not finite is never chosen.

    Raises:
      ValueError: if a number is below 1, past and goal do not fit, or the energy is no scalar.

    Differentiability: none; to train through the descent see `jplan.training.denoising_loss`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> def energy(_, future, past, goal, progress):  # even steps from here to there, then rest
      ...     share = jnp.arange(1, 9) / (8 * jnp.maximum(progress, 0.2))
      ...     line = past[-1:] + jnp.minimum(share, 1)[:, None] * (goal - past[-1])[None]
      ...     return jnp.sum((future - line) ** 2)
      >>> plan = jp.planning_as_descent(
      ...     *(energy, None, jnp.zeros((1, 2)), jnp.ones(2), jax.random.key(0)),
      ...     horizon=8,
      ...     step_size=0.5,
      ... )
      >>> plan.latents.shape, bool(jnp.allclose(plan.latents[-1], 1.0))
      ((8, 2), True)

    References: Planning as Descent, arXiv 2512.17846, algorithm 2.
    """
    check_sizes(horizon=horizon, candidates=candidates, keep=keep)
    if past.ndim != 2 or goal.shape != past.shape[1:]:
        raise ValueError(
            f"past and goal have shapes {list(past.shape)} and {list(goal.shape)}, expected [P, D] "
            "and [D]; use vmap for a batch."
        )
    noise_key, progress_key, choice_key = jax.random.split(key, 3)
    noise = jax.random.normal(noise_key, (candidates, horizon, *goal.shape), past.dtype)
    progresses = jax.random.uniform(progress_key, (candidates,), past.dtype)

    @jax.vmap
    def descend(candidate: tuple[Array, Array]) -> tuple[Array, Array]:
        start, progress = candidate
        done = refine(
            lambda params, future: energy_fn(params, future, past, goal, progress),
            *(params, start),
            optimizer=optax.sgd(step_size),
            num_steps=num_steps,
            project=project,
            accept=accept,
        )
        return done.value, done.objectives

    if batch_size is not None:
        check_sizes(batch_size=batch_size)
        latents, energies = map_batches(descend, (noise, progresses), min(batch_size, candidates))
    else:
        latents, energies = descend((noise, progresses))
    lowest = select_top((latents, progresses), energies[:, -1], min(keep, candidates))
    preference = jnp.where(jnp.isfinite(lowest.objective), -lowest.value[1], -jnp.inf)
    # If nothing is finite the first is as good as any, and its energy says so.
    preference = preference.at[0].set(-lowest.value[1][0])
    chosen = jax.random.categorical(choice_key, preference)
    return LatentPlan(
        latents=lowest.value[0][chosen],
        energy=lowest.objective[chosen],
        progress=lowest.value[1][chosen],
        index=lowest.index[chosen],
        candidates=latents,
        energies=energies,
        progresses=progresses,
    )
