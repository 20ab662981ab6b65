"""Losses of models and policies, and what training on them comes to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jplan as jp
from jplan import training
from jplan.nn import AbstractWorldModel, MLPPolicy, MotionModel, Prediction
from jplan.training import Trajectories

BOX = jp.Box(-jnp.ones(1), jnp.ones(1))


class Drift(AbstractWorldModel):
    """A place that moves by a learnt multiple of the action; the reward is minus its square."""

    def __init__(self, speed, part=None):
        self.speed = nnx.Param(jnp.float32(speed))
        self.part = part  # of the action that moves it, where that has several

    def encode(self, observation):
        return observation

    def decode(self, state):
        return state

    def predict(self, state, action):
        move = action if self.part is None else action[self.part]
        following = state + self.speed[...] * move
        return Prediction(
            state=following, reward=-jnp.sum(following**2), discount=jnp.ones((), jnp.float32)
        )

    def loss(self, prediction, observation, reward, discount):
        return jnp.sum((prediction.state - observation) ** 2) + (prediction.reward - reward) ** 2


def windows(discounts=(1.0, 1.0)):
    """From 0 by two steps of 1 at speed 1, B = 1."""
    return Trajectories(
        states=jnp.array([[[0.0], [1.0], [2.0]]]),
        actions=jnp.ones((1, 2, 1)),
        rewards=jnp.array([[-1.0, -4.0]]),
        discounts=jnp.array([discounts]),
    )


def loss_of(speed, key=0, **options):
    return training.model_loss(Drift(speed), windows(), jax.random.key(key), **options)


def test_model_goes_on_from_its_own_predictions():
    # Speed 2: places 2 and 4; errors 1 and 2, rewards -4 and -16 for -1 and -4.
    loss, metrics = loss_of(2.0, action_noise=0.0)
    np.testing.assert_allclose(loss, (1 + 9 + 4 + 144) / 2)
    np.testing.assert_allclose(metrics["loss_first"], 10.0)
    np.testing.assert_allclose(metrics["reward_error"], np.sqrt((9 + 144) / 2), rtol=1e-6)
    assert loss_of(1.0, action_noise=0.0)[0] == 0


def test_what_comes_after_an_end_does_not_count():
    loss, _ = training.model_loss(
        Drift(2.0), windows((0.0, 1.0)), jax.random.key(0), action_noise=0.0
    )
    np.testing.assert_allclose(loss, 10.0)


def padded():
    """An episode of one step, and behind its end what is no number."""
    ended = windows((0.0, 1.0))
    return ended.replace(
        states=ended.states.at[:, 2].set(jnp.nan),
        actions=ended.actions.at[:, 1].set(jnp.inf),
        rewards=ended.rewards.at[:, 1].set(-jnp.inf),
    )


def test_what_comes_after_an_end_need_not_be_finite():
    def loss_fn(model, windows):
        return training.model_loss(model, windows, jax.random.key(0), action_noise=0.0)[0]

    ended, padding = (
        nnx.value_and_grad(loss_fn)(Drift(2.0), w) for w in (windows((0, 1)), padded())
    )
    np.testing.assert_allclose(padding[0], 10.0)
    assert padding[1]["speed"][...] == ended[1]["speed"][...] != 0


def test_noise_and_adversary_make_it_worse():
    right = loss_of(1.0, action_noise=0.1)[0]
    assert right > 0
    assert loss_of(1.0, action_noise=0.1, adversary=0.1)[0] > right
    # At speed 2 places are too far out, so the worst actions nearby are larger: 1.5 for 1, which
    # goes to 3 and 6; errors 2 and 4, rewards -9 and -36.
    worst = loss_of(2.0, action_noise=0.0, adversary=0.5)[0]
    np.testing.assert_allclose(worst, (4 + 64 + 16 + 32**2) / 2, rtol=1e-5)


def test_noise_on_one_part_of_the_actions():
    parts = windows().replace(actions={"go": jnp.ones((1, 2, 1)), "call": jnp.ones((1, 2, 3))})
    loss = lambda **noise: training.model_loss(
        Drift(1.0, "go"), parts, jax.random.key(0), action_noise=noise
    )[0]
    assert loss(go=0.0, call=1.0) == 0
    assert loss(go=0.1, call=0.0) > 0


def test_distilled_policy_by_hand():
    policy = MLPPolicy(1, BOX, layers=1, hidden=4, rngs=nnx.Rngs(0))
    both, _ = training.distill_loss(policy, windows(), action_space=BOX)
    outputs = np.array([policy(jnp.array([place]))[0] for place in (0.0, 1.0)])
    np.testing.assert_allclose(both, np.mean((outputs - 1) ** 2) / 2, rtol=1e-5)
    first, _ = training.distill_loss(policy, windows((0.0, 1.0)), action_space=BOX)
    np.testing.assert_allclose(first, (outputs[0] - 1) ** 2 / 2, rtol=1e-5)

    def loss_fn(policy, windows):
        return training.distill_loss(policy, windows, action_space=BOX)[0]

    ended, padding = (nnx.grad(loss_fn)(policy, w) for w in (windows((0.0, 1.0)), padded()))
    for one, other in zip(jax.tree.leaves(ended), jax.tree.leaves(padding), strict=True):
        np.testing.assert_array_equal(one, other)


def test_policy_learns_in_imagined_episodes():
    starts = jnp.array([[1.0], [-0.5]])

    def loss_fn(policy, batch, key):
        return training.imagined_loss(
            *(policy, Drift(1.0), batch, key), action_space=BOX, horizon=4
        )

    policy = MLPPolicy(1, BOX, layers=1, hidden=8, rngs=nnx.Rngs(0))
    policy, rows = training.train(
        policy,
        jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC),
        starts,
        batch_fn=lambda key, starts: starts,
        loss_fn=loss_fn,
        optimizer=optax.adam(3e-2),
        key=jax.random.key(0),
        num_steps=200,
        steps_per_call=100,
        progress=False,
    )
    # The best policy steps to 0 at once and earns nothing and loses nothing.
    assert rows[-1]["loss"] < 0.05 < rows[0]["loss"]


def test_imagined_return_is_that_of_a_rollout():
    policy = MLPPolicy(1, BOX, layers=1, hidden=4, rngs=nnx.Rngs(1))
    loss, _ = training.imagined_loss(
        *(policy, Drift(0.5), jnp.array([[0.3]]), jax.random.key(0)), action_space=BOX, horizon=3
    )
    place, total = jnp.array([0.3]), 0.0
    for _ in range(3):
        place = place + 0.5 * policy(place)
        total -= float(place[0] ** 2)
    np.testing.assert_allclose(-loss, total, rtol=1e-5)


def test_planner_loss_by_hand():
    # One step down (1 + speed x)^2 from the start leads to x - 0.2 speed (1 + speed x).
    expert = Trajectories(
        states=jnp.array([[[1.0], [0.6]]]),
        actions=jnp.array([[[-0.4]]]),
        rewards=jnp.zeros((1, 1)),
        discounts=jnp.ones((1, 1)),
    )
    start = float(BOX.sample(jax.random.split(jax.random.key(0))[0], (1, 1))[0, 0, 0])

    def loss(speed):
        return training.planner_loss(
            *(Drift(speed), expert, jax.random.key(0)),
            action_space=BOX,
            num_steps=1,
            optimizer=optax.sgd(0.1),
        )[0]

    value, slope = jax.value_and_grad(loss)(1.5)
    error = start - 0.2 * 1.5 * (1 + 1.5 * start) + 0.4
    np.testing.assert_allclose(value, error**2 / 2, rtol=1e-5)
    np.testing.assert_allclose(slope, -0.2 * error * (1 + 2 * 1.5 * start), rtol=1e-5)


def test_planner_loss_ends_with_the_expert():
    """What an expert does after an end does not count, and the default descent has a gradient."""
    space = jp.Product({"signal": jp.Simplex(2), "thrust": BOX})

    class Both(Drift):
        def predict(self, state, action):
            return super().predict(state, action["thrust"] - action["signal"][:1])

    def experts(late):
        thrust = jnp.array([[[0.5], [late]]])
        signal = jax.nn.one_hot(jnp.zeros((1, 2), int), 2)
        shown = windows((0.0, 1.0))
        return shown.replace(actions={"signal": signal, "thrust": thrust})

    @jax.jit
    def loss(speed, late):
        return training.planner_loss(
            *(Both(speed), experts(late), jax.random.key(0)), action_space=space
        )[0]

    with jax.debug_key_reuse(False):  # all gradient steps share what is random in the relaxation
        assert loss(1.5, 0.0) == loss(1.5, 1.0) > 0
        slope = jax.grad(loss)(1.5, 0.0)
        assert jax.grad(loss)(1.5, jnp.nan) == slope
    assert jnp.isfinite(slope)
    assert slope != 0


def test_noise_of_parts_that_actions_do_not_have():
    with pytest.raises(ValueError, match="action_noise has the structure"):
        loss_of(1.0, action_noise={"thrust": 0.1})


def test_model_learns_from_what_is_planned_through_it():
    """The expert stops at 0 by steps that are right at speed 0.5, and nothing else is shown."""
    steps = jnp.linspace(-0.4, 0.4, 5)[:, None, None] / 0.5
    experts = Trajectories(
        states=jnp.concatenate([-0.5 * steps, 0 * steps], axis=1),
        actions=steps,
        rewards=jnp.zeros((5, 1)),
        discounts=jnp.ones((5, 1)),
    )
    model, rows = training.train(
        Drift(1.0),
        jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC),
        experts,
        batch_fn=lambda key, experts: experts,
        loss_fn=lambda *inputs: training.planner_loss(
            *inputs, action_space=BOX, num_steps=20, optimizer=optax.sgd(0.4)
        ),
        optimizer=optax.adam(3e-2),
        key=jax.random.key(0),
        num_steps=100,
        steps_per_call=50,
        progress=False,
    )
    np.testing.assert_allclose(model.speed[...], 0.5, atol=0.02)
    assert rows[-1]["loss"] < 1e-3


def test_joint_training_reaches_the_model_too():
    policy = MLPPolicy(1, BOX, layers=1, hidden=4, rngs=nnx.Rngs(1))

    def loss(speed):
        return training.imagined_loss(
            *(policy, Drift(speed), jnp.array([[0.3]]), jax.random.key(0)),
            action_space=BOX,
            horizon=3,
        )[0]

    slope = jax.grad(loss)(0.5)
    near = (loss(0.51) - loss(0.49)) / 0.02
    np.testing.assert_allclose(slope, near, rtol=1e-2)


def test_plans_become_episodes_that_end():
    ends = lambda _, place, step: (place + 1, place, jnp.where(place >= 1, 0.0, 0.97))
    plan = lambda place, key: jp.gradient_plan(
        ends, None, place, key, horizon=3, action_space=jp.Simplex(2), candidates=2, num_steps=1
    )
    plans = jax.vmap(plan)(jnp.array([0.0, 5.0]), jax.random.split(jax.random.key(0), 2))
    episodes = training.plan_trajectories(plans)
    np.testing.assert_array_equal(episodes.is_alive, [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(episodes.states, [[0, 1, 2, 3], [5, 6, 7, 8]])


def test_motion_model_learns_a_gridworld():
    world = jp.envs.crash_gridworld(8)
    look = jax.vmap(jax.vmap(world.observe_fn))

    def batch_fn(key, episodes):
        drawn = training.draw_windows(episodes, key, batch_size=32, length=3)
        return drawn.replace(states=look(drawn.states))

    model, _ = training.train(
        MotionModel(3, 4, rewards=(1.0, -1.0, -0.01), hidden=16, rngs=nnx.Rngs(0)),
        jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC),
        jax.jit(lambda key: training.collect(world, key, 500))(jax.random.key(0)),
        batch_fn=batch_fn,
        loss_fn=training.model_loss,
        optimizer=optax.adam(2e-2),
        key=jax.random.key(1),
        num_steps=300,
        steps_per_call=100,
        progress=False,
    )
    state = world.reset_fn(jax.random.key(7))
    picture = model.encode(world.observe_fn(state))
    for action in jnp.eye(4):
        following, reward, discount = world.step_fn(None, state, action)
        expected = model.predict(picture, action)
        place = jnp.unravel_index(jnp.argmax(expected.detail), (8, 8))
        np.testing.assert_array_equal(place, following.agent)
        np.testing.assert_allclose(expected.reward, reward, atol=0.1)
        np.testing.assert_allclose(expected.discount, discount, atol=0.1)


def test_bad_horizon():
    with pytest.raises(ValueError, match="horizon is 0"):
        training.imagined_loss(
            *(None, Drift(1.0), jnp.zeros((1, 1)), jax.random.key(0)), action_space=BOX, horizon=0
        )


def test_plans_of_no_steps():
    with pytest.raises(ValueError, match="num_steps is 0"):
        training.planner_loss(
            Drift(1.0), windows(), jax.random.key(0), action_space=BOX, num_steps=0
        )


@pytest.mark.parametrize("kind", ["motion", "conv"])
def test_pictures_of_another_precision(kind, x64):
    seen = jnp.zeros((2, 4, 5, 5, 3), jnp.float32).at[..., 2, 2, 2].set(1.0)
    drawn = Trajectories(
        states=seen,
        actions=jax.nn.one_hot(jnp.zeros((2, 3), int), 4, dtype=jnp.float32),
        rewards=jnp.zeros((2, 3), jnp.float32),
        discounts=jnp.ones((2, 3), jnp.float32),
    )
    model = {
        "motion": lambda: MotionModel(3, 4, rewards=(0.0, 1.0), hidden=4, rngs=nnx.Rngs(0)),
        "conv": lambda: jp.nn.ConvModel((5, 5), 3, 4, features=2, hidden=2, rngs=nnx.Rngs(0)),
    }[kind]()
    loss = jax.jit(lambda key: training.model_loss(model, drawn, key)[0])(jax.random.key(0))
    assert loss.dtype == jnp.float64
    assert jnp.isfinite(loss)


def test_what_inputs_are_scaled_by_is_not_trained():
    policy = MLPPolicy(1, BOX, layers=1, hidden=4, mean=1.0, scale=2.0, rngs=nnx.Rngs(0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(policy))]
    assert sorted(shapes) == [(1,), (1, 4), (4,), (4, 1)]
    with pytest.raises(ValueError, match="expected positive"):
        MLPPolicy(2, BOX, scale=jnp.array([1.0, 0.0]), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"mean has shape \[3\]"):
        MLPPolicy(2, BOX, mean=jnp.zeros(3), rngs=nnx.Rngs(0))
