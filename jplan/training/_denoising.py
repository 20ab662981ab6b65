"""The losses that a planner by descent is learnt with."""

import math

import jax
import jax.numpy as jnp

from jplan._typing import Array
from jplan.nn import InverseDynamics, StateDecoder, StateEncoder
from jplan.planners import DescentPlanner
from jplan.training._hindsight import HindsightBatch, TransitionBatch

_BLUR = 0.2  # deviation of the noise on latents that actions and states are read from


def denoising_loss(
    planner: DescentPlanner,
    batch: HindsightBatch,
    key: Array,
    *,
    from_noise: float = 0.5,
    arrival_weight: float = 0.1,
    reconstruction_weight: float = 1.0,
    half_weight: float = math.inf,
) -> tuple[Array, dict[str, Array]]:
    """How far descent on the energy stays from what happened, step by step.

        z_0 = sqrt(b) z + sqrt(1 - b) n,  n ~ N(0, 1), z = stop(encoder(future))
        z_t = project(stop(z_t-1) - step_size grad E(stop(z_t-1)))
        loss = sum_t mean w smooth_l1(z_t - z) - arrival_weight * mean log(n p(step | past, goal))
               + reconstruction_weight * mean (decoder(encoder(future) + 0.2 n) - future)^2

    The descent is that of the planning, so the energy is shaped where plans pass. The likelihood is
    that of the step at which the goal was reached, one of n, if the planner is anchored and timed.
    The reconstruction, in units of the scale, keeps the encoder from forgetting what is hard to
    predict: nothing else asks for it.

    Args:
      planner: the networks.
      batch: windows with goals.
      key: consumed.
      from_noise: share of the starts that are nothing but noise, b = 0, as those of plans are; from
        0 on, below 1. The others have b ~ U(0, 1). At 0, as published, a plan begins where
        training hardly ever does.
      arrival_weight: from 0 on; weight of the likelihood, from which the encoder learns as well.
      reconstruction_weight: from 0 on; 0, as published, leaves the decoder untrained.
      half_weight: positive; how many latents into the future the weight w has fallen to a half of
        that of the first, w_i ~ 1 / (1 + i / half_weight), mean 1. All weigh the same, as
        published, at infinity. What is near can be known best, and is what is carried out.

    Returns:
      The loss, and the metrics ``error_first`` and ``error_last``, mean smooth L1 after the first
      and the last step; ``error_noise`` and ``error_clean``, after the last, weighted with 1 - b
      and with b (NaN if all starts are noise); ``energy_drop``, by which the descent lowers the
      energy; ``rank_correlation`` between error and energy of the results (NaN of one window);
      ``effective_rank`` of the clean latents, exp(entropy of the covariance's spectrum), which
      falls to 1 if the encoder collapses; and, of the terms with a weight, ``reconstruction``, the
      mean squared error, and ``arrival``, by how much the mean of -log p is above that of equally
      likely steps, in nats.

    Raises:
      ValueError: if the planner takes no step, ``from_noise`` or a weight is out of range, or the
        batch has other shapes than the planner.

    Differentiability: of second order in the energy, within each step.

    Example:
      >>> from flax import nnx
      >>> small = {"width": 8, "hidden": 16, "heads": 2, "network_hidden": 16}
      >>> planner = DescentPlanner(3, 1, horizon=12, max_past=4, **small, rngs=nnx.Rngs(0))
      >>> batch = HindsightBatch(
      ...     past=jnp.zeros((2, 4, 3)),
      ...     future=jnp.ones((2, 12, 3)),
      ...     goal=jnp.ones((2, 3)),
      ...     progress=jnp.ones(2),
      ... )
      >>> loss, metrics = jax.jit(denoising_loss)(planner, batch, jax.random.key(0))
      >>> bool(loss > metrics["error_last"] > 0)
      True

    Note:
      The paper does not tell the knee of smooth L1, which is 0.1 here: with 1 the far end of a
      plan, which cannot be known well, drowns its beginning, which can.

    References: Planning as Descent, arXiv 2512.17846, algorithm 1. The likelihood and the
      reconstruction are ours.
    """
    if planner.num_steps < 1:
        raise ValueError("the planner's num_steps is 0, expected 1 or more: there is no descent.")
    if not 0 <= from_noise < 1:
        raise ValueError(f"from_noise is {from_noise}, expected from 0 on and below 1.")
    weights = {"arrival": arrival_weight, "reconstruction": reconstruction_weight}
    for name, weight in weights.items():
        if weight < 0:
            raise ValueError(f"{name}_weight is {weight}, expected 0 or more.")
    if not half_weight > 0:
        raise ValueError(f"half_weight is {half_weight}, expected a positive number.")
    past, goal = planner.encoder(batch.past), planner.encoder(batch.goal)
    latents = planner.encoder(batch.future)
    clean = jax.lax.stop_gradient(latents)
    level_key, noise_key, blur_key = jax.random.split(key, 3)
    lowest = -from_noise / (1 - from_noise)
    level = jax.random.uniform(level_key, clean.shape[:1], clean.dtype, lowest).clip(min=0)
    noise = jax.random.normal(noise_key, clean.shape, clean.dtype)
    share = level[:, None, None]
    start = jnp.sqrt(share) * clean + jnp.sqrt(1 - share) * noise
    given = past, goal, batch.progress

    descend = jax.vmap(lambda start, given: planner.descend(start, *given, gradient="per_step"))
    done = descend(start, given)
    of_latents = _smooth_l1(done.iterates[:, 1:] - clean[:, None]).mean(3)
    errors = of_latents.mean(2)
    nearness = 1 / (1 + jnp.arange(planner.horizon, dtype=clean.dtype) / half_weight)
    loss = jnp.sum(jnp.mean(of_latents @ nearness, axis=0)) / nearness.sum()
    costs = {}
    if reconstruction_weight > 0:
        given_back = planner.encoder, planner.decoder, latents, batch.future
        costs["reconstruction"] = _decoding_error(*given_back, blur_key)
    if arrival_weight > 0 and planner.energy.arrival is not None:
        costs["arrival"] = jax.vmap(planner.energy.arrival_cost)(*given).mean()
    loss = loss + sum(weights[name] * cost for name, cost in costs.items())
    last, final = errors[:, -1], done.objective
    among = lambda weight: jnp.sum(weight * last) / jnp.sum(weight)
    return loss, costs | {
        "error_first": errors[:, 0].mean(),
        "error_last": last.mean(),
        "error_noise": among(1 - level),
        "error_clean": among(level),
        "energy_drop": jnp.mean(done.objectives[:, 0] - final),
        "rank_correlation": _rank_correlation(final, last),
        "effective_rank": _effective_rank(clean.reshape(-1, clean.shape[-1])),
    }


def inverse_loss(
    inverse: InverseDynamics,
    batch: tuple[StateEncoder, TransitionBatch],
    key: Array,
    *,
    noise: float = _BLUR,
) -> tuple[Array, dict[str, Array]]:
    """Mean squared error of the actions between latents of states.

    Args:
      inverse: what is trained.
      batch: the encoder, which is not, and single steps.
      key: consumed.
      noise: standard deviation of the noise on the latents that follow, since plans are near those
        that the encoder makes, not among them.

    Returns:
      The loss, and no metrics.

    Differentiability: every mode.

    Example:
      >>> from flax import nnx
      >>> encoder = StateEncoder(3, 8, hidden=16, rngs=nnx.Rngs(0))
      >>> states, actions = jnp.ones((5, 3)), jnp.zeros((5, 1))
      >>> steps = TransitionBatch(states=states, following=states, actions=actions)
      >>> inverse = InverseDynamics(8, 1, hidden=16, rngs=nnx.Rngs(1))
      >>> inverse_loss(inverse, (encoder, steps), jax.random.key(0))[0].shape
      ()
    """
    encoder, steps = batch
    out = inverse(encoder(steps.states), _blur(encoder(steps.following), key, noise))
    return jnp.mean((out - steps.actions) ** 2), {}


def decoder_loss(
    decoder: StateDecoder,
    batch: tuple[StateEncoder, TransitionBatch],
    key: Array,
    *,
    noise: float = _BLUR,
) -> tuple[Array, dict[str, Array]]:
    """Mean squared error of the states that are read from latents, in units of the scale.

    Args:
      decoder: what is trained.
      batch: the encoder, which is not, and single steps.
      key: consumed.
      noise: see `inverse_loss`.

    Returns:
      The loss, and no metrics.

    Differentiability: every mode.

    Example:
      >>> from flax import nnx
      >>> encoder = StateEncoder(3, 8, hidden=16, rngs=nnx.Rngs(0))
      >>> states = jnp.ones((5, 3))
      >>> steps = TransitionBatch(states=states, following=states, actions=states)
      >>> decoder = StateDecoder(8, 3, hidden=16, rngs=nnx.Rngs(1))
      >>> decoder_loss(decoder, (encoder, steps), jax.random.key(0))[0].shape
      ()
    """
    encoder, steps = batch
    latents = encoder(steps.states)
    return _decoding_error(encoder, decoder, latents, steps.states, key, noise), {}


def _decoding_error(
    encoder: StateEncoder,
    decoder: StateDecoder,
    latents: Array,
    states: Array,
    key: Array,
    noise: float = _BLUR,
) -> Array:
    out = decoder(_blur(latents, key, noise))
    return jnp.mean((encoder.standardise(out) - encoder.standardise(states)) ** 2)


def _blur(latents: Array, key: Array, noise: float) -> Array:
    return latents + noise * jax.random.normal(key, latents.shape, latents.dtype)


def _smooth_l1(x: Array) -> Array:
    """|x| beyond a tenth, a parabola below: what can be known well counts as much as the rest."""
    size, knee = jnp.abs(x), 0.1
    return jnp.where(size < knee, 0.5 * x**2 / knee, size - 0.5 * knee)


def _rank_correlation(a: Array, b: Array) -> Array:
    """Spearman's, [B] and [B] -> []."""
    ranks = [jnp.argsort(jnp.argsort(x)).astype(x.dtype) for x in (a, b)]
    return jnp.corrcoef(jnp.stack(ranks))[0, 1]


def _effective_rank(latents: Array) -> Array:
    """Roy & Vetterli 2007: exp of the entropy of the normalised spectrum, [N, D] -> []."""
    spectrum = jnp.linalg.eigvalsh(jnp.cov(latents.T)).clip(min=0)
    share = spectrum / jnp.maximum(spectrum.sum(), jnp.finfo(spectrum.dtype).tiny)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))
