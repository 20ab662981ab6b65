"""The two stages of training MaxPlusVIN on small mazes."""

import functools

import jax
import optax
from flax import nnx

from jplan import envs, planners, training

CALL = 10  # training steps a call


def batch_fn(batch_size, key):
    tasks = jax.vmap(lambda key: envs.maze(key, 15))(jax.random.split(key, batch_size))
    return training.imitation_batch(tasks)


def loss_fn(inverse, planner, batch, key):
    del key
    logits = planner.solve(batch.maps, num_steps=40).logits[..., inverse]
    return training.imitation_loss(logits, batch)


def make_stages(options, inverse):
    """The two compiled training functions: soft costs and kernels, then hard ones."""
    stages, steps = {}, {"soft": options.soft_steps, "hard": options.hard_steps}
    for stage in steps:
        planner = planners.MaxPlusVIN(4, 2, hard=stage == "hard", rngs=nnx.Rngs(0))
        optimizer = optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps[stage]))
        advance = functools.partial(
            training.scan_steps,
            graphdef=nnx.graphdef(planner),
            optimizer=optimizer,
            batch_fn=functools.partial(batch_fn, options.batch),
            loss_fn=functools.partial(loss_fn, inverse),
            num_steps=CALL,
        )
        stages[stage] = (jax.jit(advance), optimizer, steps[stage])
    return stages


def train(planner, stages, seed, out, key, settings):
    """Run the stages one after the other, each resuming its own folder."""
    keys = iter(jax.random.split(key, len(stages)))
    for name, (advance, optimizer, steps) in stages.items():
        planner = planner.hardened() if name == "hard" else planner
        graphdef, state = training.init_state(planner, optimizer, next(keys))
        state, _ = training.fit(
            advance,
            state,
            num_steps=steps,
            directory=out / name,
            settings=settings | {"stage": name, "seed": seed},
            checkpoint_every=100,
            label=f"seed {seed}, {name}",
        )
        planner = nnx.merge(graphdef, state.params)
    return planner
