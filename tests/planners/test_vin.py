"""What is VIN's own: chunks on CPU, kernels of the map, the policy's head."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jplan as jp
from jplan import envs, planners
from jplan.planners import _vin


def make(**options):
    options = {"q_channels": 5, "hidden": 6, "max_steps": 12} | options
    return planners.VIN(4, 2, **options, rngs=nnx.Rngs(0))


def some_maps(count=6, size=7):
    keys = jax.random.split(jax.random.key(0), count)
    return envs.as_map(jax.jit(jax.vmap(lambda key: envs.maze(key, size)))(keys))


def test_chunks_change_nothing(monkeypatch):
    planner, maps = make(), some_maps(7)
    graphdef, state = nnx.split(planner)
    budgets = jnp.arange(1, 8)

    def run_all():
        def loss(state, num_steps):
            out = nnx.merge(graphdef, state).solve(maps, num_steps=num_steps)
            return jnp.sum(jnp.sin(out.logits)), out

        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        return [run(state, num_steps) for num_steps in (None, budgets)]

    whole = run_all()
    for maps_at_once in (1, 4):  # 7 is 4 and a rest
        monkeypatch.setattr(_vin, "_CACHE", maps_at_once * 7 * 7 * 5 * 4)
        parts = run_all()
        close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5)
        jax.tree.map(close, whole, parts)
        counts, expected = (result[1][0][1].solution.num_steps for result in (parts, whole))
        np.testing.assert_array_equal(counts, expected)


def test_a_kernel_of_the_map_changes_the_plan_of_that_map_only():
    planner, common, maps = make(observed_kernel=True), make(), some_maps(2)
    common.readout.kernel[...] = planner.readout.kernel[...]
    plan = nnx.jit(lambda planner, maps: planner(maps))
    before = plan(planner, maps)
    expected = plan(common, maps)  # it starts at zero
    np.testing.assert_allclose(before, expected, rtol=1e-4, atol=1e-5)
    planner.kernel_mapper.out[...] = jax.random.normal(
        jax.random.key(1), planner.kernel_mapper.out[...].shape
    )
    after = plan(planner, maps)
    assert float(np.abs(after - before).max()) > 0.01
    shown = plan(planner, maps.at[1].set(1 - maps[1]))
    np.testing.assert_allclose(shown[0], after[0], rtol=1e-4, atol=1e-5)
    kernels = [planner.kernel(planner.kernel_mapper(m)) for m in (maps[1], 1 - maps[1])]
    assert float(np.abs(kernels[0] - kernels[1]).max()) > 0.01


def test_iterations_do_not_blow_up():
    planner, maps = make(max_steps=3000), some_maps(2)
    planner.kernel.weights[...] = 10.0 * planner.kernel.weights[...]
    out = nnx.jit(lambda maps: planner.solve(maps))(maps)
    assert bool(np.all(np.isfinite(out.logits)))
    assert bool(jnp.all(out.solution.status == jp.Status.CONVERGED))


def test_any_head_reads_the_advantages():
    class Head(nnx.Module):
        def __call__(self, advantages):
            return advantages[..., :4]

    planner = make()
    planner.readout = Head()
    logits = nnx.jit(lambda maps: planner(maps))(some_maps(2))
    assert float(logits.max()) <= 0
