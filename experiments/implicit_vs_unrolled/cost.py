"""Time and memory of plans and gradients, and nothing learnt."""

import functools
import time

import jax
from flax import nnx
from runs import Run, batch_fn, loss_fn, make_planner


def compile_case(run, width=None):
    """The compiled plan and gradient of a run's planner, and the gradient's memory in bytes."""
    graphdef, state = nnx.split(make_planner(run, width))
    batch = jax.eval_shape(functools.partial(batch_fn, run), jax.random.key(0))

    def objective(state, batch):
        return loss_fn(run, nnx.merge(graphdef, state), batch, jax.random.key(0))[0]

    plan = jax.jit(lambda state, batch: nnx.merge(graphdef, state)(batch.maps))
    gradient = jax.jit(jax.grad(objective)).lower(state, batch).compile()
    analysis = gradient.memory_analysis()
    assert analysis is not None
    return state, plan, gradient, analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def published_memory(adjoint, *, size, iterations, width=150, maps=32):
    """Gigabytes of a gradient of ConvGPPN at the published width and batch, by XLA's plan."""
    run = Run("ConvGPPN", adjoint, iterations, size=size, maps=maps)
    return compile_case(run, width)[-1] / 1e9


def best_times(cases, repeats):
    """Least milliseconds of each function, the functions taking turns."""
    times = dict.fromkeys(cases, float("inf"))
    for _ in range(repeats + 1):  # the first round warms up
        for name, run in cases.items():
            clock = time.perf_counter()
            jax.block_until_ready(run())
            times[name] = min(times[name], time.perf_counter() - clock)
    return {name: 1e3 * seconds for name, seconds in times.items()}


def cost_rows(runs, repeats):
    """A row for each run: milliseconds forward and backward, megabytes of the gradient."""
    cases, memory = {}, {}
    for run in runs:
        state, plan, gradient, memory[run] = compile_case(run)
        batch = jax.jit(functools.partial(batch_fn, run))(jax.random.key(1))
        cases[run, "forward"] = functools.partial(plan, state, batch)
        cases[run, "both"] = functools.partial(gradient, state, batch)
    times = best_times(cases, repeats)
    for run in runs:
        forward, both = times[run, "forward"], times[run, "both"]
        fields = ("planner", "adjoint", "size", "iterations", "backward", "backward_steps")
        row = {name: getattr(run, name) for name in fields}
        row |= {"forward_ms": round(forward, 1), "backward_ms": round(both - forward, 1)}
        yield row | {"megabytes": round(memory[run] / 1e6, 1)}
