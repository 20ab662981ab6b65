"""How much a plan depends on the noise that it begins from."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from stages import maze

from jplan import envs
from jplan.planners import first_past


@functools.partial(jax.jit, static_argnames=("graphdef", "size", "count", "starts"))
def spread(params, key, scale, *, graphdef, size, count, starts):
    """Of ``count`` tasks: root mean square distance of plans to their mean, cells; mean energy.

    Each task has one progress, drawn anew, and so many starts, which are normal with deviation
    ``scale``. Only the latents up to the arrival count.
    """
    world = envs.point_maze(maze(size))

    def of_task(key):
        planner = nnx.merge(graphdef, params)
        reset_key, progress_key, noise_key = jax.random.split(key, 3)
        state = world.reset_fn(reset_key)
        past = planner.encoder(first_past(world.observe_fn(state), planner.max_past))
        goal = planner.encoder(jnp.append(state.goal, jnp.zeros(2)))
        progress = jax.random.uniform(progress_key)
        noise = scale * jax.random.normal(noise_key, (starts, planner.horizon, planner.width))

        def descend(start):
            done = planner.descend(start, past, goal, progress)
            return planner.decoder(done.value)[:, :2], done.objective

        places, energies = jax.vmap(descend)(noise)
        arrival = planner.max_past + progress * (planner.horizon - planner.max_past)
        counts = jnp.arange(1, planner.horizon + 1) <= arrival
        apart = jnp.sum((places - places.mean(0)) ** 2, axis=-1).mean(0)
        return jnp.sum(counts * apart) / counts.sum(), energies.mean()

    apart, energies = jax.lax.map(of_task, jax.random.split(key, count))
    return {"spread": jnp.sqrt(apart.mean()), "energy": energies.mean()}
