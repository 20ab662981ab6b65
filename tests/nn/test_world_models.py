"""Learnt models of the world."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan.nn import (
    ConvModel,
    MLPModel,
    MotionModel,
    Prediction,
    as_model_fn,
    ensemble_model_fn,
)

REWARDS = (1.0, -1.0, -0.01)


def picture(key, size=5):
    """Random obstacles and a goal, and the agent in the middle."""
    draws = jax.random.bernoulli(key, 0.3, (size, size, 2)).astype(jnp.float32)
    agent = jnp.zeros((size, size, 1)).at[size // 2, size // 2, 0].set(1.0)
    return jnp.concatenate([draws, agent], axis=-1)


@pytest.fixture(scope="module")
def motion():
    return MotionModel(3, 4, rewards=REWARDS, hidden=8, rngs=nnx.Rngs(0))


def numpy_return(model, seen, actions):
    """The expected return with the mass of the episodes that go on, cell by cell."""
    weights = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))

    def network(layers, x):
        hidden = np.maximum(x @ layers[0]["kernel"] + layers[0]["bias"], 0)
        return hidden @ layers[1]["kernel"] + layers[1]["bias"]

    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    judged = network(weights["cell"], seen[..., :-1])
    worth = softmax(judged[..., 1:]) @ np.array(REWARDS)
    going_on = 1 / (1 + np.exp(judged[..., 0]))
    mass, total = seen[..., -1], 0.0
    height, width = mass.shape
    for action in actions:
        moves = softmax(network(weights["move"], action)).reshape(3, 3)
        arrived = np.zeros_like(mass)
        for y in range(height):
            for x in range(width):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < height and 0 <= x + dx < width:
                            arrived[y, x] += mass[y + dy, x + dx] * moves[dy + 1, dx + 1]
        total += (arrived * worth).sum()
        mass = arrived * going_on
    return total


def test_motion_model_has_the_exact_expectation(motion):
    seen = picture(jax.random.key(0))
    actions = jax.random.dirichlet(jax.random.key(1), jnp.ones(4), (6,))
    model_fn, params = as_model_fn(motion)
    out = jp.descent.rollout(model_fn, params, motion.encode(seen), actions)
    wanted = numpy_return(motion, np.asarray(seen, float), np.asarray(actions, float))
    np.testing.assert_allclose(out.total, wanted, rtol=1e-5)


def test_motion_model_stays_finite_when_all_has_ended(motion):
    graphdef, params = nnx.split(motion)
    # A bias that ends every episode at once.
    params["cell"][1]["bias"] = params["cell"][1]["bias"].replace(jnp.array([200.0, 0, 0, 0]))
    ended = nnx.merge(graphdef, params)
    model_fn, params = as_model_fn(ended)

    def total(actions):
        state = ended.encode(picture(jax.random.key(0)))
        return jp.descent.rollout(model_fn, params, state, actions).total

    value, slope = jax.value_and_grad(total)(jnp.full((8, 4), 0.25))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_motion_model_is_least_wrong_about_what_it_expects(motion):
    state = motion.encode(picture(jax.random.key(0)))
    out = motion.predict(state, jnp.array([1.0, 0.0, 0.0, 0.0]))
    arrived = np.asarray(out.detail)
    sure = out.replace(detail=jnp.asarray(arrived == arrived.max(), jnp.float32))
    likely = jnp.stack([*jnp.moveaxis(state.map, -1, 0), sure.detail], axis=-1)
    elsewhere = likely.at[..., -1].set(jnp.roll(sure.detail, 2, axis=0))
    losses = [
        motion.loss(sure, seen, jnp.float32(1), jnp.float32(1)) for seen in (likely, elsewhere)
    ]
    assert losses[0] + 5 < losses[1]


def test_conv_model_loss_by_hand():
    model = ConvModel((2, 2), 1, 2, features=2, hidden=2, rngs=nnx.Rngs(0))
    out = Prediction(
        state=jnp.full((2, 2, 1), 0.5),
        reward=jnp.float32(0.5),
        discount=jnp.float32(0.5),
        detail=(jnp.zeros((2, 2, 1)), jnp.float32(0)),
    )
    loss = model.loss(out, jnp.ones((2, 2, 1)), jnp.float32(1), jnp.float32(0))
    np.testing.assert_allclose(loss, 5 * np.log(2) + 0.25, rtol=1e-6)


def test_conv_model_begins_near_the_picture_it_sees():
    model = ConvModel((6, 6), 3, 4, rngs=nnx.Rngs(0))
    skip = nnx.state(model)["skip"][...]
    assert (skip > 0).all()
    seen = picture(jax.random.key(0), 6)
    blind = ConvModel((6, 6), 3, 4, rngs=nnx.Rngs(0))
    blind.decoder[1].kernel[...] = jnp.zeros_like(blind.decoder[1].kernel[...])
    state, _, _ = blind(seen, jnp.array([1.0, 0, 0, 0]))
    np.testing.assert_array_equal(state > 0.5, seen > 0.5)


def test_conv_model_is_its_equation():
    model = ConvModel((5, 5), 3, 4, features=4, hidden=3, rngs=nnx.Rngs(0))
    seen, action = picture(jax.random.key(0)), jnp.array([0.1, 0.2, 0.3, 0.4])
    state, reward, discount = model(seen, action)

    def convolve(x, layer):
        kernel, out = np.asarray(layer.kernel[...]), np.zeros((5, 5, layer.bias[...].size))
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        for y in range(5):
            for x in range(5):
                out[y, x] = np.tensordot(padded[y : y + 3, x : x + 3], kernel, 3)
        return out + np.asarray(layer.bias[...])

    relu, sigmoid = lambda x: np.maximum(x, 0), lambda x: 1 / (1 + np.exp(-x))
    seen = np.asarray(seen)
    hidden = relu(convolve(relu(convolve(seen, model.encoder[0])), model.encoder[1]))
    hidden = relu(hidden + np.asarray(model.action(action)))
    logits = convolve(relu(convolve(hidden, model.decoder[0])), model.decoder[1])
    np.testing.assert_allclose(state, sigmoid(4 * (seen - 0.5) + logits), rtol=1e-4)
    hidden = relu(convolve(relu(convolve(hidden, model.evaluation[0])), model.evaluation[1]))
    outcome = model.outcome(jax.nn.relu(model.dense(jnp.asarray(hidden.ravel(), jnp.float32))))
    np.testing.assert_allclose(reward, np.tanh(outcome[0]), rtol=1e-4)
    np.testing.assert_allclose(discount, sigmoid(np.asarray(outcome[1])), rtol=1e-4)


def test_mlp_model_scales_what_it_sees_and_predicts():
    space = jp.Simplex(2)
    plain = MLPModel(3, space, hidden=4, rngs=nnx.Rngs(0))
    scaled = MLPModel(3, space, hidden=4, mean=5.0, scale=10.0, rngs=nnx.Rngs(0))
    action, seen = jnp.array([1.0, 0.0]), jnp.array([0.1, -0.2, 0.3])
    near, reward, _ = plain(seen, action)
    far, same, _ = scaled(10 * seen + 5, action)
    np.testing.assert_allclose(far, 10 * near + 5, rtol=1e-5)
    np.testing.assert_allclose(same, reward, rtol=1e-5)


def test_models_of_equal_structure_are_one_function():
    models = [MLPModel(3, jp.Simplex(2), hidden=4, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    (first, _), (second, _) = map(as_model_fn, models)
    assert first == second
    assert hash(first) == hash(second)


def test_ensemble_shuns_what_its_members_disagree_on():
    drift = lambda speed, place, action: (place + speed * action, place, 1.0)
    cautious = ensemble_model_fn(drift, caution=1.0)

    def total(action, speeds):
        return jp.descent.rollout(cautious, speeds, jnp.zeros(2), jnp.full(3, action)).total

    # Members that agree are no reason for caution, and the gradient is that of one.
    value, slope = jax.value_and_grad(total)(1.0, jnp.ones(2))
    np.testing.assert_allclose([value, slope], [3.0, 3.0], rtol=1e-5)
    # Speeds 1 and 3: places (1, 3), (2, 6); means 2, 4, standard deviations 1, 2.
    np.testing.assert_allclose(total(1.0, jnp.array([1.0, 3.0])), 3.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MotionModel(1, 4, rewards=REWARDS, rngs=nnx.Rngs(0)), "at least one more"),
        (lambda: MotionModel(3, 4, rewards=(), rngs=nnx.Rngs(0)), "rewards is 0"),
        (lambda: ConvModel((0, 8), 3, 4, rngs=nnx.Rngs(0)), "height is 0"),
        (lambda: MLPModel(0, jp.Simplex(2), rngs=nnx.Rngs(0)), "inputs is 0"),
    ],
)
def test_bad_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_shapes(motion):
    conv = ConvModel((6, 6), 3, 4, features=2, hidden=2, rngs=nnx.Rngs(0))
    mlp = MLPModel(3, jp.Simplex(2), hidden=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"expected \[H, W, 3\]"):
        motion.encode(jnp.zeros((5, 5, 2)))
    with pytest.raises(ValueError, match=r"expected \[4\]"):
        motion.predict(motion.encode(jnp.zeros((5, 5, 3))), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"expected \[6, 6, 3\] and \[4\]"):
        conv(jnp.zeros((5, 6, 3)), jnp.zeros(4))
    with pytest.raises(ValueError, match=r"expected \[3\]"):
        mlp(jnp.zeros((2, 3)), jnp.zeros(2))
