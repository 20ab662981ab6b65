"""Train one ConvGRU planner through three adjoints: who collapses, who does not."""

import argparse
import csv
import functools
import pathlib

import jax
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training, viz

ADJOINTS = {
    "Implicit": jp.Implicit(backward=jp.Anderson(max_steps=15)),
    "Truncated": jp.Truncated(15),
    "Safeguarded": jp.Safeguarded(steps=15, backward=jp.Anderson(max_steps=15)),
}
SETTINGS = {"maps": 8, "size": 15, "hidden": 32, "iterations": 30, "learning_rate": 1e-3}
COLUMNS = ["adjoint", "seed", "step", "seconds", "loss", "accuracy", "success", "residual"]
COLUMNS += ["converged", "gradient_norm"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/stability"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--adjoints", nargs="+", default=list(ADJOINTS), choices=ADJOINTS)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def batch_fn(key):
    return training.imitation_batch(
        jax.vmap(lambda key: envs.maze(key, SETTINGS["size"]))(
            jax.random.split(key, SETTINGS["maps"])
        )
    )


def loss_fn(planner, batch, key):
    """Imitation, with the state of the inner solve beside."""
    del key
    out = planner.solve(batch.maps)
    loss, metrics = training.imitation_loss(out.logits, batch)
    metrics["residual"] = out.solution.residual.mean()
    metrics["converged"] = (out.solution.status == jp.Status.CONVERGED).mean()
    return loss, metrics


def main():
    options = parse_arguments()
    if options.smoke:
        options.seeds, options.steps = 1, 4
    # A step with a gradient that is not finite is left out, as a careful user would have it.
    optimizer = optax.apply_if_finite(
        optax.adam(SETTINGS["learning_rate"]), max_consecutive_errors=options.steps
    )
    rows = []
    for name in options.adjoints:
        for seed in range(options.seeds):
            planner = planners.ConvGPPN(
                *(4, 2),
                hidden=SETTINGS["hidden"],
                max_steps=SETTINGS["iterations"],
                adjoint=ADJOINTS[name],
                rngs=nnx.Rngs(seed),
            )
            graphdef, state = training.init_state(planner, optimizer, jax.random.key(seed))
            advance = functools.partial(
                training.scan_steps,
                graphdef=graphdef,
                optimizer=optimizer,
                batch_fn=batch_fn,
                loss_fn=loss_fn,
                num_steps=2 if options.smoke else 10,
            )
            _, log = training.fit(
                jax.jit(advance),
                state,
                num_steps=options.steps,
                checkpoint_every=100,
                directory=options.out / f"{name}_{seed}",
                settings=SETTINGS | {"adjoint": name, "seed": seed, "steps": options.steps},
                label=f"{name}, seed {seed}",
            )
            rows += [{"adjoint": name, "seed": seed, **row} for row in log]
    with open(options.out / "curves.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for name in options.adjoints:
        final, peak = [], []
        for seed in range(options.seeds):
            curve = [r["success"] for r in rows if (r["adjoint"], r["seed"]) == (name, seed)]
            final.append(sum(curve[-10:]) / len(curve[-10:]))
            peak.append(max(curve))
        shares = "  ".join(
            f"{100 * f:.1f} (peak {100 * p:.1f})" for f, p in zip(final, peak, strict=True)
        )
        print(f"{name:12} success %, mean of the last 10 rows: {shares}")
    draw(rows, options.out / "curves.png")


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for axis, metric in zip(axes, ("success", "residual"), strict=True):
        labels = dict.fromkeys(row["adjoint"] for row in rows)
        curves = {
            label: [
                [row for row in rows if (row["adjoint"], row["seed"]) == (label, seed)]
                for seed in sorted({row["seed"] for row in rows if row["adjoint"] == label})
            ]
            for label in labels
        }
        viz.plot_curves(curves, metric, ax=axis)
    axes[1].set_yscale("log")
    viz.save_figure(figure, path)


if __name__ == "__main__":
    main()
