"""Learn to plan by descent from what a wanderer in a maze did, and get to unseen goals."""

import argparse
import dataclasses
import pathlib
import time

import jax
from episodes import measure, run_episodes
from flax import nnx
from picture import draw_plans
from robustness import spread
from stages import Learning, draw_data, learn_heads, learn_planner

from jplan.training import write_table

PARTS = "table", "replanning", "labels", "data", "noise", "pictures"

VARIANTS = {
    "PaD": Learning(),
    "without projector": Learning(projected=False),
    "without lambda": Learning(timed=False),
    "without anchor": Learning(anchored=False),
    "uniform corruption": Learning(from_noise=0.0),
    "without reconstruction": Learning(reconstruction=0.0),
    "without reconstruction and projector": Learning(reconstruction=0.0, projected=False),
}


def learn(name, seed, options, episodes=None, labelled=1.0):
    """A planner of a kind, read if it has been trained, and a row that describes it."""
    learning = dataclasses.replace(VARIANTS[name], steps=options.steps, batch=options.batch)
    count = episodes or options.episodes
    data = draw_data(options.size, count, seed)
    directory = options.out / "runs" / f"{name} {count}_{seed}"
    planner, last = learn_planner(learning, data, seed, directory / "energy")
    known = data.first_episodes(max(1, round(labelled * count)))
    heads = directory / f"{len(known.lengths)} labelled"
    planner = learn_heads(planner, known, options.head_steps, seed, heads)
    row = {"method": name, "seed": seed, "episodes": count, "labelled": labelled}
    return planner, row | {key: last[key] for key in ("seconds", "effective_rank")}


def run(planner, options, seed, replan_every=None):
    """How the planner fares, and the seconds that all episodes took, compilation included."""
    chosen = {"candidates": options.candidates, "keep": options.keep}
    chosen["replan_every"] = replan_every or options.replan_every
    begin = time.perf_counter()
    episodes = run_episodes(planner, options.size, options.tasks, seed, **chosen)
    seconds = time.perf_counter() - begin
    return {"replan_every": chosen["replan_every"], **measure(episodes), "run_seconds": seconds}


def seeds(options):
    return range(options.seed, options.seed + options.seeds)


def table(options):
    """Every kind of planner."""
    for name in options.method:
        for seed in seeds(options):
            planner, row = learn(name, seed, options)
            yield row | run(planner, options, seed)


def replanning(options):
    """One planner, planning more and less often."""
    for seed in seeds(options):
        planner, row = learn("PaD", seed, options)
        for every in (1, 2, 4, 8, 16):
            yield row | run(planner, options, seed, every)


def labels(options):
    """Few actions known to the inverse dynamics, all states to the rest."""
    for seed in seeds(options):
        for share in (0.01, 0.1, 1.0):
            planner, row = learn("PaD", seed, options, labelled=share)
            yield row | run(planner, options, seed)


def data(options):
    """Fewer episodes to learn from."""
    for seed in seeds(options):
        for divisor in (40, 10, 4):
            planner, row = learn("PaD", seed, options, episodes=options.episodes // divisor)
            yield row | run(planner, options, seed)


def noise(options):
    """Plans from smaller and larger noise than that of the training."""
    for seed in seeds(options):
        planner, row = learn("PaD", seed, options)
        graphdef, params = nnx.split(planner)
        sizes = {"size": options.size, "count": options.tasks, "starts": options.candidates}
        for scale in (0.5, 1.0, 2.0):
            key = jax.random.key(6000 + seed)
            found = spread(params, key, scale, graphdef=graphdef, **sizes)
            yield row | {"scale": scale} | {name: float(x) for name, x in found.items()}


def pictures(options):
    """The landscape, the refinement and paths."""
    planner, _ = learn("PaD", options.seed, options)
    draw_plans(planner, options.size, jax.random.key(4000 + options.seed), options.out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path(".runs/pad_pointmaze"))
    add("--parts", nargs="+", choices=PARTS, default=["table", "replanning", "pictures"])
    add("--method", nargs="+", choices=VARIANTS, default=list(VARIANTS)[:3])
    add("--seed", type=int, default=0, help="first seed")
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--size", type=int, default=9, help="of the maze, odd")
    add("--episodes", type=int, default=400, help="to learn from, of 500 steps")
    add("--steps", type=int, default=Learning.steps, help="of the training")
    add("--batch", type=int, default=Learning.batch, help="windows in a step of it")
    add("--head-steps", type=int, default=2000, help="of inverse dynamics and decoder")
    add("--tasks", type=int, default=200, help="unseen starts and goals")
    add("--candidates", type=int, default=64)
    add("--keep", type=int, default=8, help="candidates that one is drawn from")
    add("--replan-every", type=int, default=2, help="steps that are taken of each plan")
    add("--smoke", action="store_true", help="a run of seconds that tests the code")
    options = parser.parse_args()
    if options.smoke:
        options.out /= "smoke"
        options.parts, options.method, options.seeds = ["table", "noise"], ["PaD"], 1
        options.episodes = 8
        options.steps, options.head_steps, options.batch = 20, 20, 4
        options.tasks, options.candidates, options.keep = 2, 4, 2
    options.out.mkdir(parents=True, exist_ok=True)
    for part in (table, replanning, labels, data, noise):
        if part.__name__ in options.parts:
            write_table(part(options), options.out / f"{part.__name__}.csv")
    if "pictures" in options.parts:
        pictures(options)


if __name__ == "__main__":
    main()
