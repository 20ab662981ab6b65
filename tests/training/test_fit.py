import csv
import functools
import json
import pathlib
import signal
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

import jplan as jp
from jplan import envs, planners, training


def batch_fn(key):
    return training.imitation_batch(
        jax.vmap(lambda key: envs.maze(key, 7))(jax.random.split(key, 4))
    )


TRACES = []


def loss_fn(planner, batch, key):
    TRACES.append(None)
    noise = 1e-3 * jax.random.normal(key, batch.optimal.shape)
    return training.imitation_loss(planner.solve(batch.maps, num_steps=9).logits + noise, batch)


def make_planner(seed=0):
    return planners.MaxPlusVIN(4, 2, hidden=4, adjoint=jp.Truncated(4), rngs=nnx.Rngs(seed))


def start(seed=0):
    return training.init_state(make_planner(seed), OPTIMIZER, jax.random.key(seed))


OPTIMIZER = optax.adam(1e-2)
GRAPHDEF, _ = start()
ADVANCE = jax.jit(
    functools.partial(
        training.scan_steps,
        graphdef=GRAPHDEF,
        optimizer=OPTIMIZER,
        batch_fn=batch_fn,
        loss_fn=loss_fn,
        num_steps=4,
    )
)


def run(num_steps, directory=None):
    return training.fit(
        ADVANCE,
        start()[1],
        num_steps=num_steps,
        checkpoint_every=4,
        directory=directory,
        progress=False,
    )


def test_training_lowers_the_loss_without_recompiling():
    run(4)
    traces = len(TRACES)
    state, rows = run(60)
    assert int(state.step) == 60
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert len(TRACES) == traces > 0


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path):
    whole, rows = run(12)
    run(8, tmp_path)
    resumed, resumed_rows = run(12, tmp_path)
    chex.assert_trees_all_equal(whole.params, resumed.params)
    chex.assert_trees_all_equal(whole.opt_state, resumed.opt_state)
    strip = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    for a, b in zip(strip(rows), strip(resumed_rows), strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    with open(tmp_path / "training.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8", "12"]


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import test_fit
test_fit.run(400, {out!r})
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path):
    out = tmp_path / "run"
    script = KILLED.format(folder=str(pathlib.Path(__file__).parent), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = [int(p.name) for p in (out / "checkpoints").glob("[0-9]*") if p.name.isdigit()]
        if done and max(done) >= 8:
            break
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = training.CheckpointFolder(out / "checkpoints").latest_step()
    target = reached + 8
    resumed, _ = run(target, out)
    whole, _ = run(target)
    chex.assert_trees_all_equal(whole.params, resumed.params)
    chex.assert_trees_all_equal(whole.opt_state, resumed.opt_state)


def test_the_directory_of_another_run_is_refused(tmp_path):
    options = {"num_steps": 4, "directory": tmp_path, "progress": False}
    training.fit(ADVANCE, start()[1], settings={"learning_rate": 0.1}, **options)
    with pytest.raises(ValueError, match="other settings"):
        training.fit(ADVANCE, start()[1], settings={"learning_rate": 0.2}, **options)
    with pytest.raises(ValueError, match="at most 0"):
        training.fit(
            *(ADVANCE, start()[1]),
            settings={"learning_rate": 0.1},
            **(options | {"num_steps": 0}),
        )


@pytest.mark.parametrize("damage", ["", "step,loss\n4", "step,loss\n4,0.5\n", None])
def test_a_damaged_table_is_an_error_that_names_it(tmp_path, damage):
    run(8, tmp_path)
    table = tmp_path / "training.csv"
    table.unlink() if damage is None else table.write_text(damage)
    with pytest.raises(ValueError, match=r"training.csv .*damaged"):
        run(12, tmp_path)


def test_a_budget_that_does_not_fit_gets_advice():
    with pytest.raises(ValueError, match="multiple of the steps of one call"):
        run(10)


def test_a_function_that_does_not_advance_is_refused():
    fit = functools.partial(training.fit, state=start()[1], num_steps=4, progress=False)
    onward = lambda state: state.replace(step=state.step + 2)
    changing = lambda state: (onward(state), {"a": 0.0} if int(state.step) else {"b": 0.0})
    for advance_fn, match in [
        (lambda state: (state, {}), "from step 0 to step 0"),
        (lambda state: (onward(state), {"loss": jax.numpy.ones(2)}), r"loss has shape \[2\]"),
        (changing, r"metrics \['a'\], expected \['b'\]"),
    ]:
        with pytest.raises(ValueError, match=match):
            fit(advance_fn)


def test_a_loss_that_is_lost_is_told_once():
    """And not a loss that is fine, though `filterwarnings` makes errors of warnings."""

    def advance(state):
        state = state.replace(step=state.step + 1)
        return state, {"loss": jnp.where(state.step < 3, 1.0, jnp.nan), "spl": jnp.nan}

    fit = functools.partial(training.fit, advance, start()[1], progress=False, label="a maze")
    assert len(fit(num_steps=2)[1]) == 2
    with pytest.warns(RuntimeWarning, match="a maze: the loss is nan at step 3; lower") as told:
        assert len(fit(num_steps=6)[1]) == 6
    assert len(told) == 1


def test_stages_are_trainings_one_after_the_other(tmp_path):
    scan_fn = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
    parts = {"batch_fn": batch_fn, "loss_fn": loss_fn, "optimizer": OPTIMIZER}
    harden = planners.MaxPlusVIN.hardened
    stages = {
        "soft": training.Stage(num_steps=4, settings={"rate": 1}, **parts),
        "hard": training.Stage(num_steps=0, begin_fn=harden, **parts),
        "fine": training.Stage(num_steps=4, settings={"rate": 2}, **parts),
    }
    untrained, calls = make_planner(), {"steps_per_call": 4, "progress": False}
    keys = lambda: jax.random.split(jax.random.key(0), 3)
    run = functools.partial(training.train_stages, untrained, scan_fn, stages, **calls)
    planner, logs = run(keys=keys(), directory=tmp_path)
    assert planner.hard
    assert not untrained.hard
    steps = {name: [row["step"] for row in log] for name, log in logs.items()}
    assert steps == {"soft": [4], "hard": [], "fine": [4]}
    assert {path.name for path in tmp_path.iterdir()} == {"soft", "fine"}
    assert json.loads((tmp_path / "fine" / "settings.json").read_text()) == {"rate": 2}
    train = functools.partial(training.train, scan_fn=scan_fn, num_steps=4, **parts, **calls)
    by_hand, _ = train(untrained, key=keys()[0])
    by_hand, _ = train(by_hand.hardened(), key=keys()[2])
    chex.assert_trees_all_equal(nnx.state(planner), nnx.state(by_hand))
    again, _ = run(keys=keys(), directory=tmp_path)
    chex.assert_trees_all_equal(nnx.state(again), nnx.state(planner))
    with pytest.raises(ValueError, match=r"keys have shape \[3\], expected \[2\]"):
        training.train_stages(untrained, scan_fn, dict(list(stages.items())[:2]), keys=keys())


def test_train_step_is_pure(key):
    _, state = start()
    step = jax.jit(
        lambda state, batch: training.train_step(
            state, batch, graphdef=GRAPHDEF, optimizer=OPTIMIZER, loss_fn=loss_fn
        )
    )
    batch = batch_fn(key)
    (first, metrics), (second, _) = step(state, batch), step(state, batch)
    assert int(first.step) == 1
    assert set(metrics) == {"loss", "accuracy", "success", "gradient_norm"}
    chex.assert_trees_all_equal(first.params, second.params)
    assert metrics["gradient_norm"] > 0


def test_train_compiles_once_for_all_seeds_and_leaves_the_module_alone():
    traces = []

    def loss_fn(planner, maps, key):
        del key
        traces.append(None)
        return jnp.mean((planner(maps) - 1) ** 2), {}

    run = functools.partial(
        training.train,
        scan_fn=jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC),
        batch_fn=lambda key: jax.random.uniform(key, (2, 7, 7, 2)),
        loss_fn=loss_fn,
        optimizer=optax.adam(1e-2),
        num_steps=60,
        progress=False,
    )
    first, again = (
        planners.ConvGPPN(4, 2, hidden=4, max_steps=5, rngs=nnx.Rngs(seed)) for seed in (0, 1)
    )
    before = nnx.state(first)
    trained, rows = run(first, key=jax.random.key(0))
    once = len(traces)
    run(again, key=jax.random.key(1))
    assert len(traces) == once
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    chex.assert_trees_all_equal(nnx.state(first), before)
    assert float(jnp.mean((trained(jnp.ones((1, 7, 7, 2))) - 1) ** 2)) < 0.2
    with pytest.raises(ValueError, match="multiple of the steps of one call"):
        run(first, key=jax.random.key(0), num_steps=30)
