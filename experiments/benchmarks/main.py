"""Training steps and plans beside PyTorch and generic JAX: time, compile time, peak memory."""

import argparse
import csv
import pathlib
import time

import jax
import jax_planners as ours
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch_planners as theirs
from flax import nnx

from jplan import viz

# network, width, map size, iterations
CASES = [("VIN", 100, 15, 30), ("VIN", 100, 49, 80)]
CASES += [("ConvGPPN", 40, 15, 30), ("ConvGPPN", 40, 15, 80)]
CASES += [("ConvGPPN", 150, 49, 80)]  # the published width; for a GPU
ON_GPU = jax.default_backend() == "gpu"
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
COLUMNS = ["work", "network", "size", "steps", "implementation", "gradient", "milliseconds"]
COLUMNS += ["ratio", "compile_seconds", "megabytes"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/benchmarks"))
    cases = ", ".join(f"{i} {case[0]} {case[2]}x{case[2]}" for i, case in enumerate(CASES))
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, 2, 3], help=cases)
    parser.add_argument("--repeats", type=int, default=7, help="rounds; the best time counts")
    parser.add_argument("--train-steps", type=int, default=200, help="before anything is measured")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile (minutes)")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def torch_memory(step):
    """Most bytes that PyTorch's allocator held at a time during one step, by its own account."""
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())])
    return int(max(held.max(), 0) - min(held.min(), 0))


def torch_cases(kind, width, steps, params, batch, work, compiled):
    """Name, gradient -> function, compile time, memory."""
    planner = nnx.merge(nnx.graphdef(ours.make_planner(kind, width, steps)), params)
    device = "cuda" if ON_GPU else "cpu"
    tensor = lambda array: torch.from_numpy(np.array(array, np.float32)).to(device)
    maps = tensor(batch.maps).permute(0, 3, 1, 2).contiguous()
    optimal = tensor(batch.optimal)
    target = (optimal / optimal.sum(-1, keepdim=True).clamp(min=1)).permute(0, 3, 1, 2)
    kinds = [(layout, "explicit", False) for layout in FORMATS]
    if work == "train":
        kinds += [("NHWC", "truncated", False), ("NHWC", "implicit", False)]
    if compiled:
        kinds += [("NHWC", "explicit", True)]
    with jax.default_matmul_precision("highest"):
        expected = np.asarray(planner(batch.maps))
    for layout, gradient, is_compiled in kinds:
        options = {"q_channels" if kind == "VIN" else "hidden": width}
        module = getattr(theirs, kind)(4, 2, max_steps=steps, gradient=gradient, **options)
        theirs.load_jax_weights(module, ours.torch_arrays(kind, planner))
        module.to(device)
        theirs.allow_tf32(False)
        given = theirs.plan_fn(module, maps)().permute(0, 2, 3, 1).cpu().numpy()
        theirs.allow_tf32(True)  # as XLA does on a GPU
        np.testing.assert_allclose(given, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
        place = {"memory_format": FORMATS[layout], "compiled": is_compiled}
        if work == "train":
            # The weights stay.
            optimizer = torch.optim.Adam(module.parameters(), 1e-9, capturable=ON_GPU)
            mask = tensor(batch.mask)
            run = theirs.train_step_fn(module, optimizer, maps, target, mask, **place)
        else:
            run = theirs.plan_fn(module, maps, **place)
        clock = time.perf_counter()
        run()
        seconds = time.perf_counter() - clock if is_compiled else 0.0
        memory = torch_memory(run)
        if ON_GPU and not is_compiled:
            run = theirs.replay_fn(run)  # or the launches would take most of the time
        name = f"PyTorch {layout}" + (", compiled" if is_compiled else "")
        yield (name, gradient), (run, seconds, memory)


def measure(case, params, options, work):
    """All implementations of one network in turn, so that a busy moment hits all alike."""
    kind, width, size, steps = case
    batch = jax.jit(ours.maze_batch, static_argnames="size")(jax.random.key(1), size=size)
    runs = dict(torch_cases(kind, width, steps, params, batch, work, options.compiled))
    for adjoint in ours.ADJOINTS if work == "train" else ["truncated"]:
        runs["jplan", adjoint if work == "train" else "-"] = ours.our_case(
            kind, width, steps, params, batch, adjoint, work
        )
    if size <= 15 and steps <= 30:  # autodiff of a convolution in a loop takes minutes beyond
        runs["generic JAX", "explicit"] = ours.generic_case(kind, width, steps, params, batch, work)
    times = dict.fromkeys(runs, float("inf"))
    for _ in range(options.repeats):
        for name, (run, _, _) in runs.items():
            clock = time.perf_counter()
            run()
            if ON_GPU:
                torch.cuda.synchronize()
            times[name] = min(times[name], time.perf_counter() - clock)
    explicit = [name for name in runs if "PyTorch" in name[0] and name[1] == "explicit"]
    best = min(times[name] for name in explicit)
    for name, (_, seconds, memory) in runs.items():
        numbers = [round(1e3 * times[name], 2), round(best / times[name], 2)]
        row = [work, kind, size, steps, *name, *numbers, round(seconds, 1), round(memory / 1e6, 1)]
        print("  ".join(map(str, row)), flush=True)
        yield dict(zip(COLUMNS, row, strict=True))


def draw(rows, path):
    """Bars of the training steps, one group a network."""
    groups = list(dict.fromkeys((row["network"], row["size"], row["steps"]) for row in rows))
    lines = -(-len(groups) // 2)
    figure, panels = plt.subplots(lines, 2, figsize=(9, 3.2 * lines), squeeze=False)
    for axes, (kind, size, steps) in zip(panels.flat, groups, strict=False):
        chosen = [r for r in rows if (r["network"], r["size"], r["steps"]) == (kind, size, steps)]
        chosen = sorted(chosen, key=lambda row: -row["milliseconds"])
        names = [f"{row['implementation']}, {row['gradient']}" for row in chosen]
        times = [row["milliseconds"] for row in chosen]
        bars = axes.barh(names, times)
        for bar, row in zip(bars, chosen, strict=True):
            bar.set_color("tab:orange" if row["implementation"] == "jplan" else "tab:gray")
        axes.bar_label(bars, fmt="%.0f", padding=3)
        axes.set(title=f"{kind} {size}x{size}, K = {steps}", xlabel="ms a training step")
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(times) / 3, 5 * max(times))
    for axes in panels.flat[len(groups) :]:
        axes.remove()
    figure.tight_layout()
    viz.save_figure(figure, path)


def main():
    options = parse_arguments()
    torch.set_flush_denormal(True)  # as XLA does; small gradients are very slow otherwise
    cases = [CASES[index] for index in options.cases]
    if options.smoke:
        cases, options.repeats, options.train_steps = [("VIN", 8, 9, 4)], 1, 10
    params, rows = {}, []
    for case in cases:
        kind, width, *_ = case
        if kind not in params:
            params[kind] = ours.train_briefly(kind, width, options.train_steps)
        for work in ("train", "plan"):
            rows += measure(case, params[kind], options, work)
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "benchmarks.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draw([row for row in rows if row["work"] == "train"], options.out / "training_steps.png")


if __name__ == "__main__":
    main()
