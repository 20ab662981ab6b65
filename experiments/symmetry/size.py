"""Other sizes: trained on 15x15 mazes, then up to 99x99, to convergence and with fixed budgets."""

import functools

import jax
import jax.numpy as jnp
from data import check_symmetry
from flax import nnx

from jplan import envs, planners, training

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
STAGES = {"soft": 500, "hard": 500}
SIZES = {15: 500, 27: 300, 49: 100, 99: 50}  # side of the mazes, and how many
BUDGETS = [15, 30, 50, 80, 141]  # the last is about sqrt(2) times 99
ITERATIONS = 40  # in training


def draw_mazes(key, size, count):
    """Mazes by the law of `envs.maze`."""
    return jax.vmap(lambda key: envs.maze(key, size))(jax.random.split(key, count))


def batch_fn(key):
    """Thirty-two mazes."""
    return training.imitation_batch(draw_mazes(key, 15, 32))


def loss_fn(planner, batch, key):
    """Imitation with a fixed budget."""
    del key
    return training.imitation_loss(planner.solve(batch.maps, num_steps=ITERATIONS).logits, batch)


@functools.partial(jax.jit, static_argnames=("graphdef", "size", "count"))
def measure(state, budget, *, graphdef, size, count):
    """Mean measures over unseen mazes with a budget, which is traced."""
    tasks = draw_mazes(jax.random.key(2027 + size), size, count)
    planner = nnx.merge(graphdef, state)
    plan = lambda maps: planner.solve(maps, num_steps=budget).logits
    measures = training.evaluate(plan, tasks, jax.random.key(0), batch_size=10)
    return {name: jnp.nanmean(getattr(measures, name)) for name in ("success", "optimality")}


def run_size(seed, options):
    """Rows of the table: a planner, a size and a budget each."""
    sizes = {9: 4} if options.smoke else SIZES
    for name in ("SymMaxPlusVIN",) if options.smoke else ("SymMaxPlusVIN", "MaxPlusVIN"):
        make = getattr(planners, name)
        stages = {"soft": 20} if options.smoke else STAGES
        planner, _ = training.train_stages(
            make(4, 2, rngs=nnx.Rngs(seed)),
            SCAN,
            {
                f"{name}_{seed}_{stage}": training.Stage(
                    num_steps=steps,
                    batch_fn=batch_fn,
                    loss_fn=loss_fn,
                    optimizer=training.cosine_adam(1e-2, steps),
                    begin_fn=make.hardened if stage == "hard" else None,
                    settings={"steps": steps},
                )
                for stage, steps in stages.items()
            },
            keys=jax.random.split(jax.random.key(seed), len(stages)),
            directory=options.out / "runs",
        )
        if name == "SymMaxPlusVIN" and not options.smoke:
            check_symmetry(planner, draw_mazes(jax.random.key(7), 15, 4))
        graphdef, state = nnx.split(planner)
        for size, count in sizes.items():
            # A budget of as many steps as cells is convergence.
            for budget in [*(b for b in BUDGETS if b < size * size), size * size]:
                shares = measure(state, budget, graphdef=graphdef, size=size, count=count)
                row = {"planner": name, "seed": seed, "size": size, "mazes": count}
                row |= {"budget": budget if budget < size * size else "convergence"}
                yield row | {key: round(float(share), 5) for key, share in shares.items()}
