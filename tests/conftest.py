import gc
import os
import pathlib
import tempfile

# Before JAX starts: compiled programs are kept between runs, which halves the time of the suite.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "jplan-test-cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# A test runs most programs once or twice, so compiling them well costs more than it gains.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure():
    """One core a worker, since XLA compiles with a thread for every core that it sees."""
    gc.disable()  # `forget_programs` collects: tracing allocates much, and most of it stays
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def check_keys(request):
    """Key reuse is checked where keys are drawn from; the check slows every eager operation."""
    with jax.debug_key_reuse(request.path.parent.name in ("envs", "training")):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """What a module compiled is of little use to the next, and takes memory and memory maps."""
    yield
    jax.clear_caches()
    gc.collect()
