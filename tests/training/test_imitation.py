import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan import envs, training
from jplan.testing import dijkstra_distances


@functools.cache
def batch_of(size=9, count=4, **options):
    @jax.jit
    def draw(key):
        keys = jax.random.split(key, count)
        tasks = jax.vmap(lambda key: envs.maze(key, size))(keys)
        return tasks, training.imitation_batch(tasks, **options)

    return draw(jax.random.key(3))


imitation_loss = jax.jit(training.imitation_loss)


def test_targets_are_all_optimal_actions_and_only_those():
    tasks, batch = batch_of()
    moves = [(-1, 0), (0, -1), (1, 0), (0, 1)]
    for i in range(4):
        free, goal = np.asarray(tasks.free[i]), tuple(np.asarray(tasks.goal[i]))
        distance = dijkstra_distances(free, goal, moves=4, corner_cutting=True, costs="unit")
        counted = np.isfinite(distance) & free & (distance > 0)
        np.testing.assert_array_equal(batch.mask[i], counted)
        for y, x in np.argwhere(counted):
            expected = [distance[y + dy, x + dx] == distance[y, x] - 1 for dy, dx in moves]
            np.testing.assert_array_equal(batch.optimal[i, y, x], expected)


def test_loss_by_hand_and_masking():
    _, batch = batch_of()
    uniform, metrics = imitation_loss(jnp.zeros(batch.optimal.shape), batch)
    assert uniform == pytest.approx(np.log(4), rel=1e-5)
    perfect = jnp.where(batch.optimal, 0.0, -1e9)
    loss, metrics = imitation_loss(perfect, batch)
    ties = np.log(np.maximum(np.asarray(batch.optimal.sum(-1)), 1))
    assert loss == pytest.approx(ties[np.asarray(batch.mask)].mean(), rel=1e-5)
    assert metrics["accuracy"] == metrics["success"] == 1
    outside = jnp.where(batch.mask[..., None], perfect, 7.0 * jnp.arange(4))
    assert imitation_loss(outside, batch)[0] == loss
    gradient = jax.jit(jax.grad(lambda logits: imitation_loss(logits, batch)[0]))(outside)
    assert float(np.abs(jnp.where(batch.mask[..., None], 0, gradient)).max()) == 0


@pytest.mark.parametrize("bad", [-jnp.inf, jnp.nan])
def test_logits_that_do_not_count_may_be_anything(bad):
    _, batch = batch_of()
    logits = jax.random.normal(jax.random.key(0), batch.optimal.shape)
    run = jax.jit(jax.value_and_grad(lambda logits: training.imitation_loss(logits, batch)[0]))
    closed = jnp.where(batch.mask[..., None], logits, bad)
    (loss, gradient), (expected, slope) = run(closed), run(logits)
    assert loss == expected
    np.testing.assert_array_equal(gradient, slope)


def test_nan_where_it_counts_is_seen_in_every_number():
    _, batch = batch_of()
    loss, metrics = imitation_loss(jnp.full(batch.optimal.shape, jnp.nan), batch)
    assert np.isnan(loss)
    assert metrics["accuracy"] == metrics["success"] == 0


def test_a_batch_in_which_nothing_counts_gives_zero_and_no_nan():
    free = jnp.zeros((2, 5, 5), bool).at[:, 2, 2].set(True)
    task = envs.GridTask(free=free, goal=jnp.full((2, 2), 2, jnp.int32))

    @jax.jit
    def run(task):
        batch = training.imitation_batch(task)
        loss_fn = lambda logits: training.imitation_loss(logits, batch)[0]
        return jax.value_and_grad(loss_fn)(jnp.ones(batch.optimal.shape))

    loss, gradient = run(task)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_wrong_number_of_actions_gets_advice():
    _, batch = batch_of(moves=8)
    assert batch.optimal.shape[-1] == 8
    with pytest.raises(ValueError, match="as many actions"):
        training.imitation_loss(jnp.zeros((4, 9, 9, 4)), batch)


def test_evaluate_measures_each_task_once_whatever_the_batch_size():
    tasks, batch = batch_of(count=5)
    expert = lambda maps: jnp.zeros((*maps.shape[:-1], 4)).at[..., 0].set(1)
    measure = functools.partial(training.evaluate, expert, tasks)
    results = [
        jax.jit(functools.partial(measure, batch_size=size))(jax.random.key(size))
        for size in (2, 32)
    ]
    for result in results:
        assert result.success.shape == (5,)
        np.testing.assert_allclose(result.success, results[0].success)
    north = [batch.optimal[i, ..., 0][batch.mask[i]].mean() for i in range(5)]
    assert all(s <= n + 1e-6 for s, n in zip(results[0].success, north, strict=True))
    with pytest.raises(ValueError, match="expected 8"):
        training.evaluate(expert, tasks, jax.random.key(9), moves=8)
    with pytest.raises(ValueError, match="batch_size is 0"):
        training.evaluate(expert, tasks, jax.random.key(9), batch_size=0)
    with pytest.raises(ValueError, match=r"shape \[9, 9\].*expected \[N, H, W\]"):
        training.evaluate(expert, jax.tree.map(lambda leaf: leaf[0], tasks), jax.random.key(9))


def test_evaluate_of_the_exact_plan_is_perfect():
    tasks, _ = batch_of(count=5)

    def oracle(maps):
        exact = training.imitation_batch(
            envs.GridTask(
                free=maps[..., 0] > 0.5,
                goal=jax.vmap(lambda m: jnp.stack(jnp.unravel_index(m.argmax(), m.shape)))(
                    maps[..., 1]
                ).astype(jnp.int32),
            )
        )
        return exact.optimal.astype(jnp.float32)

    evaluate = functools.partial(training.evaluate, oracle)
    result = jax.jit(evaluate)(tasks, jax.random.key(0))
    for name in ("success", "optimality", "spl", "single_start_success"):
        np.testing.assert_allclose(getattr(result, name), 1, err_msg=name)


def test_a_planner_of_nan_has_no_success():
    tasks, _ = batch_of(count=3)
    broken = lambda maps: jnp.full((*maps.shape[:-1], 4), jnp.nan)
    evaluate = functools.partial(training.evaluate, broken)
    result = jax.jit(evaluate)(tasks, jax.random.key(0))
    np.testing.assert_array_equal(result.success, 0)


def test_sampled_loss_is_the_mean_over_many_cells():
    _, batch = batch_of(count=3)
    logits = jax.random.normal(jax.random.key(5), batch.optimal.shape)
    policy = lambda _, cells: jax.vmap(lambda logits, cell: logits[*cell])(logits, cells)
    loss = functools.partial(training.sampled_imitation_loss, policy, positions=2000)
    sampled = jax.jit(loss)(batch, jax.random.key(6))
    singles = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch) for i in range(3)]
    exact = [imitation_loss(logits[i : i + 1], one) for i, one in enumerate(singles)]
    assert sampled[0] == pytest.approx(np.mean([loss for loss, _ in exact]), rel=0.03)
    accuracy = np.mean([metrics["accuracy"] for _, metrics in exact])
    assert sampled[1]["accuracy"] == pytest.approx(accuracy, abs=0.03)


def test_sampled_loss_never_draws_a_masked_cell():
    _, batch = batch_of(count=3)
    only = jnp.zeros(batch.mask.shape, bool).at[:, 1, 1].set(batch.mask[:, 1, 1])
    batch = batch.replace(mask=only)
    perfect = lambda maps, position: jnp.where(batch.optimal[:, 1, 1], 0.0, -1e9)
    sampled = functools.partial(training.sampled_imitation_loss, perfect)
    loss, metrics = jax.jit(sampled)(batch, jax.random.key(0))
    ties = np.log(np.asarray(batch.optimal[:, 1, 1].sum(-1), np.float32))
    counted = np.asarray(only[:, 1, 1])
    assert counted.any()
    assert loss == pytest.approx(ties[counted].mean(), abs=1e-5)
    assert metrics["accuracy"] == 1


def test_sampled_loss_checks_the_logits():
    _, batch = batch_of(count=2)
    with pytest.raises(ValueError, match="as many actions"):
        training.sampled_imitation_loss(
            lambda maps, position: jnp.zeros((2, 8)), batch, jax.random.key(0)
        )
