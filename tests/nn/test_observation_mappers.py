"""Mappers from views and pictures: against definitions, what they see, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jplan import envs, planners, training
from jplan.nn import PanoramaMapper, PolarMapper, ResidualBlock, WorkspaceMapper
from jplan.nn._observation_mappers import _patches


def test_patches_are_a_strided_convolution(x64):
    x, kernel = (
        jax.random.normal(jax.random.key(k), s) for k, s in enumerate([(2, 12, 8, 3), 192])
    )
    windows = _patches(x, 4)
    assert windows.shape == (2, 2, 1, 192)
    # The order within a window: quarter, row, column, channel.
    by_hand = kernel.reshape(2, 2, 4, 4, 3).swapaxes(1, 2).reshape(8, 8, 3, 1)
    dims = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x, by_hand, (4, 4), "VALID", dimension_numbers=dims)
    np.testing.assert_allclose(windows @ kernel[:, None], expected, rtol=1e-10)


def test_a_cell_is_judged_by_its_own_views_and_those_beside_it():
    mapper = PanoramaMapper(size=20, embedding=8, hidden=4, rngs=nnx.Rngs(0))
    views = jax.random.randint(jax.random.key(0), (7, 6, 4, 20, 20, 3), 0, 256, jnp.uint8)
    changed = views.at[3, 2, 1].set(0)
    look = nnx.jit(lambda views: mapper(views))
    differ = np.asarray(look(views)) != np.asarray(look(changed))
    # Two 3x3 convolutions: two cells in each direction, and none beyond.
    assert np.argwhere(differ).min(0).tolist() == [1, 0]
    assert np.argwhere(differ).max(0).tolist() == [5, 4]


def test_the_workspace_mapper_sees_the_whole_picture_everywhere():
    mapper = WorkspaceMapper(bins=9, size=24, hidden=8, rngs=nnx.Rngs(0))
    look = nnx.jit(lambda picture: mapper(picture))
    picture = jax.random.uniform(jax.random.key(3), (24, 24, 1))
    changed = picture.at[:3, :3].set(0)
    assert jnp.mean(look(picture) != look(changed)) > 0.9


def test_a_residual_block_learns():
    block = ResidualBlock(2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 5, 2))
    graphdef, state = nnx.split(block)
    loss = lambda state: jnp.sum((nnx.merge(graphdef, state)(x) - 1) ** 2)
    run = jax.jit(jax.value_and_grad(loss))
    before, gradient = run(state)
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g, state, gradient)
    assert float(run(stepped)[0]) < float(before)


def make_model(planner, **options):
    rngs = nnx.Rngs(0)
    mapper = WorkspaceMapper(bins=9, size=24, hidden=4, rngs=rngs)
    return planners.MappedPlanner(mapper, planner(4, 2, padding="wrap", rngs=rngs, **options))


@functools.cache
def some_arms():
    """Pictures, tasks and optimal actions."""

    @jax.jit
    def draw(keys):
        worlds, tasks = jax.vmap(lambda key: envs.arm_task(key, 9))(keys)
        pictures = jax.vmap(lambda world: envs.arm_image(world, size=24))(worlds)
        return pictures, tasks, training.imitation_batch(tasks, wrap=True)

    return draw(jax.random.split(jax.random.key(1), 2))


@pytest.mark.parametrize(
    ("planner", "options"),
    [
        (planners.VIN, {"hidden": 4, "q_channels": 4}),
        (planners.MaxPlusVIN, {"hidden": 4, "max_steps": 9}),
    ],
)
def test_a_plan_teaches_the_mapper(planner, options):
    model = make_model(planner, **options)
    graphdef, state = nnx.split(model)
    pictures, tasks, targets = some_arms()

    @jax.jit
    def gradient(state):
        loss = lambda s: training.imitation_loss(
            nnx.merge(graphdef, s)(pictures, tasks.goal), targets
        )[0]
        return jax.grad(loss)(state)

    of_mapper = gradient(state)["mapper"]
    assert float(optax.tree.norm(of_mapper)) > 1e-6
    assert all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(of_mapper))


def test_a_certain_mapper_is_no_mapper():
    model = make_model(planners.VIN, hidden=4, q_channels=4)
    draw = jax.jit(jax.vmap(lambda key: envs.maze(key, 9)))
    tasks = draw(jax.random.split(jax.random.key(0), 3))
    certain = jnp.where(tasks.free, 100.0, -100.0)
    plan = nnx.jit(lambda certain: model.plan(certain, tasks.goal).logits)
    expected = nnx.jit(lambda maps: model.planner(maps))(envs.as_map(tasks))
    np.testing.assert_allclose(plan(certain), expected, rtol=1e-4, atol=1e-6)

    def measure(planner, inputs):
        evaluate = functools.partial(training.evaluate, planner, tasks, batch_size=2)
        return jax.jit(lambda inputs: evaluate(jax.random.key(0), inputs=inputs))(inputs)

    measured = measure(lambda inputs: model.plan(*inputs).logits, (certain, tasks.goal))
    plain = measure(model.planner, envs.as_map(tasks))
    np.testing.assert_array_equal(measured.success, plain.success)
    with pytest.raises(ValueError, match=r"inputs have leading axes \[2\], expected 3"):
        training.evaluate(model.planner, tasks, jax.random.key(0), inputs=certain[:2])


def test_mistakes_get_advice():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="size is 30, expected a multiple of 4"):
        PanoramaMapper(size=30, rngs=rngs)
    with pytest.raises(ValueError, match="size is 90, expected a multiple of 24"):
        WorkspaceMapper(bins=18, size=90, rngs=rngs)
    with pytest.raises(ValueError, match=r"\[24, 24, 1\]; draw it with jplan.envs.arm_image"):
        make_model(planners.VIN, hidden=4).mapper(jnp.ones((96, 96, 1)))
    with pytest.raises(ValueError, match=r"jplan.envs.panorama\(free, size=...\)"):
        PanoramaMapper(size=20, embedding=8, rngs=rngs)(jnp.ones((5, 5, 4, 32, 32, 3)))
    with pytest.raises(ValueError, match="padding is 'torus'"):
        ResidualBlock(4, padding="torus", rngs=rngs)


def test_a_turned_workspace_has_a_shifted_map(x64):
    mapper = PolarMapper(bins=12, size=24, radii=6, rays=2, hidden=4, rngs=nnx.Rngs(0))
    picture = envs.arm_image(envs.arm_world(jax.random.key(3)), size=24).astype(float)
    look = nnx.jit(lambda picture: mapper(picture))
    logits = look(picture)
    # A quarter turn counter-clockwise is three bins of the first joint.
    turned = look(jnp.rot90(picture))
    np.testing.assert_allclose(turned, jnp.roll(logits, 3, axis=0), atol=1e-10)
    assert np.abs(turned - logits).max() > 1e-3
    # And so it is with the arm itself.
    world = envs.arm_world(jax.random.key(3))
    swapped = lambda points: jnp.stack([10 - points[..., 1], points[..., 0]], axis=-1)
    turned_world = world.replace(corners=swapped(world.corners))
    np.testing.assert_array_equal(envs.arm_image(turned_world), jnp.rot90(envs.arm_image(world)))
    configurations = jax.jit(lambda world: envs.arm_configurations(world, 12))
    shifted = jnp.roll(configurations(world), 3, axis=0)
    np.testing.assert_array_equal(configurations(turned_world), shifted)
