"""Time and memory of the backward pass alone, against the number of forward steps."""

import argparse
import pathlib
import time

import jax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training

SAFEGUARDED = jp.Safeguarded(steps=15, backward=jp.Picard(tol=0.0, max_steps=15))
# Adjoint and forward tolerance. Safeguarded adds an implicit solve where the forward one converged,
# so it is measured where none has (tolerance 0) and where all have (a loose one).
CASES = {
    "Unroll": (jp.Unroll(), 0.0),
    "Truncated": (jp.Truncated(15), 0.0),
    "Safeguarded, none converged": (SAFEGUARDED, 0.0),
    "Safeguarded, all converged": (SAFEGUARDED, 0.1),
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/backward_cost"))
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 80, 160, 320])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that tests the code")
    return parser.parse_args()


def prepare(adjoint, tol, steps, maps):
    """Compiled backward pass on the residuals of a forward pass, and its memory in bytes."""
    planner = planners.ConvGPPN(
        *(4, 2),
        hidden=16,
        max_steps=steps,
        adjoint=adjoint,
        solver=jp.Picard(tol=tol, max_steps=steps),
        rngs=nnx.Rngs(0),
    )
    graphdef, state = nnx.split(planner)

    def forward(state):
        return jax.vjp(lambda state: nnx.merge(graphdef, state)(maps), state)

    logits, pullback = jax.jit(forward)(state)
    backward = jax.jit(lambda pullback, cotangent: pullback(cotangent)[0])
    compiled = backward.lower(pullback, logits).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    memory = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes
    jax.block_until_ready(compiled(pullback, logits))
    return (lambda: jax.block_until_ready(compiled(pullback, logits))), memory


def compare(options):
    keys = jax.random.split(jax.random.key(0), 8 if options.smoke else 32)
    maps = envs.as_map(jax.vmap(lambda key: envs.maze(key, 15))(keys))
    cases = {
        (name, steps): prepare(adjoint, tol, steps, maps)
        for name, (adjoint, tol) in CASES.items()
        for steps in options.steps
    }
    times = dict.fromkeys(cases, float("inf"))
    for _ in range(options.repeats):  # in turn, so that a busy moment hits all alike
        for case, (run, _) in cases.items():
            clock = time.perf_counter()
            run()
            times[case] = min(times[case], time.perf_counter() - clock)
    for (name, steps), (_, memory) in cases.items():
        first = (name, options.steps[0])
        ratio, memory_ratio = times[name, steps] / times[first], memory / cases[first][1]
        yield {
            "adjoint": name,
            "steps": steps,
            "milliseconds": round(1e3 * times[name, steps], 1),
            "time_ratio": round(ratio, 3),
            "megabytes": round(memory / 2**20, 2),
            "memory_ratio": round(memory_ratio, 3),
        }


def main():
    options = parse_arguments()
    if options.smoke:
        options.steps, options.repeats = [20, 40], 1
    training.write_table(compare(options), options.out / "backward.csv")


if __name__ == "__main__":
    main()
