"""From a model to policies: by imitation of its plans, and by their own return in it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from stages import SCAN, SPACE, WIDTH, WORLD, make_plan_fn, standardise

from jplan import training
from jplan.nn import MLPPolicy, as_model_fn
from jplan.planners import policy_plan

POLICY_BATCH, POLICY_RATE, POLICY_STEPS = 256, 1e-3, 3000
ROUNDS, KEPT = 6, 3  # of distillation, and how many the policy learns from
IMAGINED, IMAGINED_HORIZON, IMAGINED_STEPS = 64, 20, 3000


def draw_plans(model, planning, states, key, latents=None, chunk=256):
    """Plans of the model from given states, their first half: what comes late is of no account.

    One candidate of each plan may be given.
    """
    model_fn, params = as_model_fn(model)
    plan = make_plan_fn(model_fn, planning)
    half = max(planning.horizon // 2, 1)

    @jax.jit
    def some(params, *given):
        plans = jax.vmap(functools.partial(plan, params))(*given)
        found = training.plan_trajectories(plans)
        cut = lambda leaf, count: leaf[:, :count]
        return training.Trajectories(
            states=cut(found.states, half + 1),
            actions=jax.tree.map(lambda leaf: cut(leaf, half), found.actions),
            rewards=cut(found.rewards, half),
            discounts=cut(found.discounts, half),
        )

    given = states, jax.random.split(key, len(states))
    given += () if latents is None else (latents,)
    cut = lambda first: jax.tree.map(lambda leaf: leaf[first : first + chunk], given)
    parts = [some(params, *cut(first)) for first in range(0, len(states), chunk)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def imagine_flights(policy, model, firsts, num_steps):
    """A policy's flights in the model, `jplan.planners.Plan`."""
    return follow_policy(*as_model_fn(model), *nnx.split(policy), firsts, num_steps)


@functools.partial(jax.jit, static_argnums=(0, 2, 5))
def follow_policy(model_fn, params, graphdef, weights, firsts, num_steps):
    """`imagine_flights`, compiled once for all models and policies of one form."""
    follow = functools.partial(
        *(policy_plan, model_fn, params),
        *(lambda weights, state: nnx.merge(graphdef, weights)(state), weights),
        horizon=num_steps,
        action_space=SPACE,
    )
    return jax.vmap(follow)(firsts)


def improve_plans(policy, model, planning, firsts, key):
    """Plans that begin where a policy comes to, and with what it would do there."""
    time_key, plan_key = jax.random.split(key)
    visited = imagine_flights(policy, model, firsts, WORLD.max_steps).rollout.states
    times = jax.random.randint(time_key, (len(firsts),), 0, WORLD.max_steps)
    states = visited[jnp.arange(len(firsts)), times]
    latents = imagine_flights(policy, model, states, planning.horizon).latent
    return draw_plans(model, planning, states, plan_key, latents)


def distill_batch(key, plans):
    """Steps of plans."""
    return training.draw_windows(plans, key, batch_size=POLICY_BATCH, length=1)


def distill_loss(policy, windows, key):
    """Imitation of the plans."""
    del key
    return training.distill_loss(policy, windows, action_space=SPACE)


def imagine_batch(key, episodes, params):
    """States of random episodes, and the model."""
    windows = training.draw_windows(episodes, key, batch_size=IMAGINED, length=1)
    return windows.states[:, 0], params


@functools.cache
def make_imagine_loss(graphdef):
    """Minus the return in the model, which is of the batch and not trained."""

    def loss(policy, batch, key):
        states, params = batch
        model = nnx.merge(graphdef, params)
        return training.imagined_loss(
            policy, model, states, key, action_space=SPACE, horizon=IMAGINED_HORIZON
        )

    return loss


def learn_policy(name, episodes, *data, batch_fn, loss_fn, hidden, seed, steps, out, **settings):
    """A policy of four layers, as in the paper."""
    policy, _ = training.train(
        MLPPolicy(WIDTH, SPACE, hidden=hidden, **standardise(episodes), rngs=nnx.Rngs(seed)),
        SCAN,
        *data,
        batch_fn=batch_fn,
        loss_fn=loss_fn,
        optimizer=training.cosine_adam(POLICY_RATE, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        directory=out / f"{name}_{seed}",
        settings=settings | {"steps": steps, "hidden": hidden},
        checkpoint_every=1000,
        label=f"{name} policy, seed {seed}",
    )
    return policy


def distill_policy(model, planning, episodes, *, count, seed, steps=POLICY_STEPS, **options):
    """DistGBP: a policy that imitates plans, which from the second round on begin from it."""
    parts, policy = [], None
    for index, key in enumerate(jax.random.split(jax.random.key(5000 + seed), ROUNDS)):
        draw_key, plan_key = jax.random.split(key)
        windows = training.draw_windows(episodes, draw_key, batch_size=count, length=1)
        firsts = windows.states[:, 0]
        if policy is None:
            parts.append(draw_plans(model, planning, firsts, plan_key))
        else:
            parts.append(improve_plans(policy, model, planning, firsts, plan_key))
        plans = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts[-KEPT:])
        policy = learn_policy(
            *(f"distilled_{index}", episodes, plans),
            batch_fn=distill_batch,
            loss_fn=distill_loss,
            plans=count,
            planning=dataclasses.asdict(planning),
            seed=seed,
            steps=steps,
            **options,
        )
    return policy


def imagine_policy(model, episodes, *, steps=IMAGINED_STEPS, **options):
    """A policy that was trained by its own return in the model."""
    graphdef, params = nnx.split(model)
    return learn_policy(
        *("imagined", episodes, episodes, params),
        batch_fn=imagine_batch,
        loss_fn=make_imagine_loss(graphdef),
        steps=steps,
        **options,
    )
