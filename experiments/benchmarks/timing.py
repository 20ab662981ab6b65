"""How long a call takes."""

import time

import jax


def best_of(function, repeats):
    """Seconds of the first call, and the least of the later ones."""
    times = []
    for _ in range(1 + repeats):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return times[0], min(times[1:])
