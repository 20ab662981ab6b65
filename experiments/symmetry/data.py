"""Data efficiency: SymVIN beside VIN with as many channels, on training sets of several sizes."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from jplan import envs, planners, testing, training

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
MAPS = [30, 100, 300, 1000, 3000]
BINS, ITERATIONS, BATCH, STEPS, UNSEEN = 18, 30, 16, 1000, 1000
PLANNERS = {"SymVIN": planners.SymVIN, "VIN": planners.VIN}


def draw_tasks(key, bins, count):
    """Configuration maps of arms among polygons, and goals, as in `experiments/arm`."""
    return jax.vmap(lambda key: envs.arm_task(key, bins)[1])(jax.random.split(key, count))


@functools.cache
def make_batch_fn(bins, count, seed):
    """Batches from a set of so many maps; the smaller sets are the beginnings of the larger."""
    tasks = jax.jit(draw_tasks, static_argnums=(1, 2))(jax.random.key(1000 + seed), bins, max(MAPS))

    def batch_fn(key):
        chosen = jax.random.randint(key, (BATCH,), 0, count)
        return training.imitation_batch(jax.tree.map(lambda leaf: leaf[chosen], tasks), wrap=True)

    return batch_fn


def loss_fn(planner, batch, key):
    """Imitation of all optimal actions in all configurations that can reach the goal."""
    del key
    return training.imitation_loss(planner(batch.maps), batch)


@functools.partial(jax.jit, static_argnames=("graphdef", "bins", "count"))
def measure(state, *, graphdef, bins, count):
    """Mean measures over unseen maps."""
    tasks = draw_tasks(jax.random.key(2027), bins, count)
    measures = training.evaluate(
        nnx.merge(graphdef, state), tasks, jax.random.key(0), batch_size=20, wrap=True
    )
    return {name: jnp.nanmean(getattr(measures, name)) for name in ("success", "optimality")}


def run_data(seed, options):
    """Rows of the table: a planner and a number of maps each."""
    bins, steps, unseen = (7, 20, 8) if options.smoke else (BINS, STEPS, UNSEEN)
    for count in options.maps:
        for name, make in list(PLANNERS.items())[: 1 if options.smoke else None]:
            planner = make(
                *(4, 2),
                q_channels=80,
                hidden=80,
                padding="wrap",
                max_steps=ITERATIONS,
                rngs=nnx.Rngs(seed),
            )
            planner, log = training.train(
                planner,
                SCAN,
                batch_fn=make_batch_fn(bins, count, seed),
                loss_fn=loss_fn,
                optimizer=training.cosine_adam(1e-2, steps),
                key=jax.random.key(seed),
                num_steps=steps,
                directory=options.out / "runs" / f"{name}_{count}_{seed}",
                settings={"steps": steps},
                label=f"{name}, {count} maps, seed {seed}",
            )
            if name == "SymVIN":
                check_symmetry(planner, draw_tasks(jax.random.key(7), bins, 4))
            graphdef, state = nnx.split(planner)
            shares = measure(state, graphdef=graphdef, bins=bins, count=unseen)
            row = {"planner": name, "maps": count, "seed": seed, "steps": steps}
            row |= {"train_success": round(log[-1]["success"], 5)}
            row |= {key: round(float(share), 5) for key, share in shares.items()}
            yield row | {"train_seconds": round(log[-1]["seconds"], 1)}


def check_symmetry(planner, tasks):
    """AssertionError unless trained logits of the 8 copies agree to 1e-5 of the largest one."""
    maps = envs.as_map(tasks)
    plan = nnx.jit(lambda maps: planner(maps))
    largest = float(jnp.abs(plan(maps)).max())
    testing.assert_grid_equivariant(plan, maps, atol=1e-5 * largest)
