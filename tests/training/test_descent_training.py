import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jplan import training
from jplan.planners import DescentPlanner

SIZES = {"horizon": 6, "max_past": 2, "width": 4, "network_hidden": 8, "hidden": 8, "heads": 2}
SIZES |= {"layers": 1, "kernel_size": 3, "stride": 2}
SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
LOSS = functools.partial(training.denoising_loss, arrival_weight=1.0)


@pytest.fixture(scope="module")
def data():
    """One place, then the next: how far the goal is tells when it is reached."""
    walks = jnp.arange(16.0)[None, :, None] + jnp.arange(5.0)[:, None, None] / 5
    return training.from_episodes(walks, jnp.full((5, 15, 1), 0.5))


def make(data, seed=0):
    mean, scale = data.standard_numbers()
    return DescentPlanner(1, 1, **SIZES, mean=mean, scale=scale, rngs=nnx.Rngs(seed))


def train(data, num_steps, folder=None, planner=None, **options):
    options = {"key": jax.random.key(1), "loss_fn": LOSS} | options
    with jax.debug_key_reuse(False):
        return training.train_descent_planner(
            *(planner or make(data), SCAN, data),
            batch_size=16,
            learning_rate=1e-2,
            num_steps=num_steps,
            directory=folder,
            progress=False,
            **options,
        )


@pytest.fixture(scope="module")
def trained(data):
    return train(data, 200)


def test_energies_tell_how_long_the_way_is(data, trained):
    planner, rows = trained
    assert rows[-1]["error_last"] < rows[0]["error_last"]
    assert rows[-1]["arrival"] < -0.3
    past = planner.encoder(jnp.array([[5.0], [6.0]]))
    for ahead, early_is_lower in ((2.0, True), (6.0, False)):
        goal = planner.encoder(jnp.array([6.0 + ahead]))
        early, late = (planner.energy.arrival_cost(past, goal, jnp.float32(t)) for t in (0, 1))
        assert (early < late) == early_is_lower


def test_heads_leave_the_rest_alone(data, trained, tmp_path):
    planner, _ = trained
    few = data.first_episodes(2)
    with jax.debug_key_reuse(False):
        learn = lambda: training.train_descent_heads(
            *(planner, SCAN, few),
            key=jax.random.key(2),
            num_steps=100,
            directory=tmp_path,
            progress=False,
        )
        whole, rows = learn()
        again, _ = learn()  # read, not trained
    assert rows["inverse"][-1]["loss"] < 0.7 * rows["inverse"][0]["loss"]
    # The decoder has learnt with the energy; 1 is what the mean of all states has.
    assert rows["decoder"][-1]["loss"] < 0.1
    state = lambda planner, name: jax.tree.leaves(nnx.state(getattr(planner, name)))
    for name in ("encoder", "energy", "projector"):
        for a, b in zip(state(whole, name), state(planner, name), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(state(whole, "inverse"), state(again, "inverse"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        (a != b).any()
        for a, b in zip(state(whole, "inverse"), state(planner, "inverse"), strict=True)
    )


def test_the_inverse_dynamics_wait_for_their_own_training(data, trained):
    before, after = (nnx.state(planner.inverse) for planner in (make(data), trained[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), before, after)


def test_actions_are_those_between_two_states():
    """Steps to and fro: an action that is told of the wrong two states has the wrong sign."""
    steps = jax.random.uniform(jax.random.key(4), (20, 15, 1), minval=-1)
    walks = jnp.concatenate([jnp.zeros((20, 1, 1)), jnp.cumsum(steps, axis=1)], axis=1)
    data = training.from_episodes(walks, steps)
    with jax.debug_key_reuse(False):
        planner, _ = training.train_descent_heads(
            *(make(data), SCAN, data),
            key=jax.random.key(0),
            num_steps=400,
            batch_size=64,
            progress=False,
        )
    past = walks[0, :2]
    plan = planner.plan(past, walks[0, 8], jax.random.key(1), candidates=2)
    plan = dataclasses.replace(plan, latents=planner.encoder(walks[0, 2:8]))
    found = planner.first_actions(plan, past, 6)
    assert np.corrcoef(found[:, 0], steps[0, 1:7, 0])[0, 1] > 0.8
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"count is {count}, expected 1 to 6"):
            planner.first_actions(plan, past, count)


def test_a_folder_of_another_run_is_refused(data, tmp_path):
    train(data, 20, tmp_path)
    for options in (
        {"settings": {"kind": "another"}},
        {"key": jax.random.key(2)},
        {"planner": make(data, seed=1)},
        {"loss_fn": training.denoising_loss},
    ):
        with pytest.raises(ValueError, match="other settings"):
            train(data, 20, tmp_path, **options)
    with pytest.raises(ValueError, match="other settings"):
        train(data.first_episodes(4), 20, tmp_path)


def test_heads_of_another_encoder_are_refused(data, tmp_path):
    options = {"key": jax.random.key(2), "num_steps": 20, "directory": tmp_path, "progress": False}
    with jax.debug_key_reuse(False):
        training.train_descent_heads(make(data), SCAN, data, **options)
        with pytest.raises(ValueError, match="other settings"):
            training.train_descent_heads(make(data, seed=1), SCAN, data, **options)


def test_data_that_do_not_fit(data):
    planner = make(data)
    short = training.from_episodes(jnp.zeros((3, 6, 1)), jnp.zeros((3, 5, 1)))
    wide = training.from_episodes(jnp.zeros((3, 9, 2)), jnp.zeros((3, 8, 1)))
    options = {"key": jax.random.key(0), "num_steps": 20, "progress": False}
    with pytest.raises(ValueError, match="longest episode has 6 states"):
        training.train_descent_planner(planner, SCAN, short, **options)
    for call in (training.train_descent_planner, training.train_descent_heads):
        with pytest.raises(ValueError, match=r"have widths \(2, 1\), expected .* \(1, 1\)"):
            call(planner, SCAN, wide, **options)
