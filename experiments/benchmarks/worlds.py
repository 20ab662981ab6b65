"""Worlds a second, and a step of SymVIN beside one with free kernels of the same size."""

import argparse
import csv
import functools
import pathlib

import jax
import optax
from flax import nnx
from timing import best_of

from jplan import envs, planners, training


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/worlds"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def worlds(few):
    """Name, function of one key, how many at once, and how many things each gives."""
    count = 2 if few else 1000
    views = lambda key: envs.panorama(envs.maze(key, 15).free)
    yield "views of 32x32 pixels", views, 2 if few else 32, 15 * 15 * 4
    yield "mazes 15x15", lambda key: envs.maze(key, 15), count, 1
    yield "arm maps 18x18", lambda key: envs.arm_task(key, 18)[1], count, 1
    if not few:
        yield "arm maps 36x36", lambda key: envs.arm_task(key, 36)[1], count, 1
    yield "workspace pictures 96x96", lambda key: envs.arm_image(envs.arm_world(key)), count, 1
    yield "voxel mazes 16x16x16", lambda key: envs.voxel_maze(key, 16), min(count, 100), 1
    yield "roadmaps of 200 nodes", lambda key: envs.roadmap(key, 200), min(count, 100), 1


class Free(nnx.Module):
    """A kernel of given shape without any symmetry."""

    def __init__(self, value):
        self.value = nnx.Param(value)

    def __call__(self):
        return self.value[...]


def freed(planner):
    """The same planner with every expanded kernel a parameter of its own."""
    copy = nnx.merge(*nnx.split(planner))
    copy.kernel.rewards = Free(planner.kernel.rewards())
    copy.kernel.logits = Free(planner.kernel.logits())
    copy.mapper.kernel = Free(planner.mapper.kernel())
    copy.mapper.out = Free(planner.mapper.out())
    return copy


def training_step(planner, batch):
    """A jitted optimiser step on a batch, and its state."""
    optimizer = optax.adam(1e-3)
    graphdef, state = training.init_state(planner, optimizer, jax.random.key(0))
    loss_fn = lambda planner, batch, key: training.imitation_loss(planner(batch.maps), batch)
    step = functools.partial(
        training.train_step, graphdef=graphdef, optimizer=optimizer, loss_fn=loss_fn
    )
    return jax.jit(step), state, batch


def main():
    options = parse_arguments()
    repeats = 1 if options.smoke else options.repeats
    rows = []
    for name, draw, count, things in worlds(options.smoke):
        keys = jax.random.split(jax.random.key(0), count)
        _, seconds = best_of(functools.partial(jax.jit(jax.vmap(draw)), keys), repeats)
        rows.append({"what": name, "value": round(count * things / seconds), "unit": "a second"})
        print(*rows[-1].values(), sep="  ", flush=True)
    maps, size, iterations, width = (2, 7, 4, 8) if options.smoke else (32, 15, 30, 80)
    keys = jax.random.split(jax.random.key(1), maps)
    batch = jax.jit(
        lambda keys: training.imitation_batch(jax.vmap(lambda key: envs.maze(key, size))(keys))
    )(keys)
    make = {"q_channels": width, "hidden": width, "max_steps": iterations}
    symmetric = planners.SymVIN(4, 2, **make, rngs=nnx.Rngs(0))
    plain = planners.VIN(4, 2, **make, rngs=nnx.Rngs(0))
    case = f"{width} channels, K = {iterations}, {maps} maps {size}x{size}"
    cases = {"SymVIN": symmetric, "free kernels": freed(symmetric), "VIN": plain}
    for name, planner in cases.items():
        _, seconds = best_of(functools.partial(*training_step(planner, batch)), repeats)
        value = round(1e3 * seconds, 1)
        rows.append({"what": f"training step, {name}, {case}", "value": value, "unit": "ms"})
        print(*rows[-1].values(), sep="  ", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "worlds.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
