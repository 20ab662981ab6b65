import jax
import numpy as np
import pytest

from jplan.envs import _vin_grids as vin_grids
from jplan.envs import vin_grid


def batch(num, size, seed=0, **options):
    draw = jax.jit(jax.vmap(lambda key: vin_grid(key, size, **options)))
    task = draw(jax.random.split(jax.random.key(seed), num))
    return np.asarray(task.free), np.asarray(task.goal)


def reference(rng, size, max_obstacles, max_obstacle_size):
    """The published scripts, in NumPy: draw, place one by one, reject."""
    y, x = np.mgrid[:size, :size]
    while True:
        goal = rng.integers(1, size, 2)
        blocked, num_placed = np.zeros((size, size), bool), 0
        for _ in range(rng.integers(1, max_obstacles + 1)):
            top, left = rng.integers(0, size, 2)
            if rng.random() < 0.5:
                radius = np.ceil(rng.random() * max_obstacle_size)
                distance = (y - top) ** 2 + (x - left) ** 2
                shape = distance < radius**2 + radius if radius else distance == 0
            else:
                height, width = np.ceil(rng.random(2) * max_obstacle_size)
                shape = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
            if not shape[tuple(goal)]:
                blocked |= shape
                num_placed += 1
        if num_placed and goal.max() < size - 1:
            return ~blocked[1:-1, 1:-1]


@pytest.mark.parametrize(
    ("size", "published", "options"),
    [(8, None, (30, 0.0)), (16, 0.80, (40, 1.0)), (28, 0.79, (50, 2.0))],
)
def test_interior_is_free_as_often_as_in_the_reference_and_as_published(size, published, options):
    free, _ = batch(4096, size)
    share = free[:, 1:-1, 1:-1].mean((1, 2))
    rng = np.random.default_rng(0)
    expected = np.array([reference(rng, size, *options).mean() for _ in range(500)])
    error = np.sqrt(share.var() / len(share) + expected.var() / len(expected))
    assert abs(share.mean() - expected.mean()) < 4 * error
    assert share.std() == pytest.approx(expected.std(), rel=0.15)
    if published:
        assert share.mean() == pytest.approx(published, abs=0.015)


def test_without_duplicates_8x8_has_the_published_share():
    free, goal = batch(5000, 8)
    tasks = np.concatenate([free.reshape(len(free), -1), goal], axis=1)
    distinct = np.unique(tasks, axis=0)[:, :64].reshape(-1, 8, 8)
    assert distinct[:, 1:-1, 1:-1].mean() == pytest.approx(0.88, abs=0.01)


def test_single_obstacles_are_the_shapes_of_the_published_files():
    seen = set()
    for free in batch(2048, 16, max_obstacles=1, max_obstacle_size=2.0)[0]:
        y, x = np.nonzero(~free[1:-1, 1:-1])
        # Only whole obstacles: one that touches the border may be cut.
        if len(y) and min(y.min(), x.min()) > 0 and max(y.max(), x.max()) < 13:
            crop = ~free[1:-1, 1:-1][y.min() : y.max() + 1, x.min() : x.max() + 1]
            seen.add("/".join("".join(".#"[cell] for cell in row) for row in crop.astype(int)))
    discs = {".#./###/.#.", ".###./#####/#####/#####/.###."}
    assert seen == discs | {"#", "##", "#/#", "##/##"}


def test_goal_is_uniform_over_the_interior():
    _, goal = batch(7200, 8)
    counts = np.zeros((8, 8), int)
    np.add.at(counts, tuple(goal.T), 1)
    inside = counts[1:-1, 1:-1]
    assert inside.sum() == 7200
    assert ((inside - 200.0) ** 2 / 200).sum() < 66.6  # 0.999 quantile, 35 degrees of freedom


@pytest.mark.parametrize(
    ("size", "options"),
    [(3, {"max_obstacles": 2, "max_obstacle_size": 1.0}), (8, {}), (16, {})],
)
def test_border_closed_goal_inside_and_free(size, options):
    free, goal = batch(512, size, **options)
    assert free.shape == (512, size, size)
    assert free.dtype == bool
    assert goal.dtype == np.int32
    assert not free[:, [0, -1]].any()
    assert not free[:, :, [0, -1]].any()
    assert goal.min() == 1
    assert goal.max() == size - 2
    assert free[np.arange(512), goal[:, 0], goal[:, 1]].all()


def test_tasks_whose_only_obstacle_hit_the_goal_are_drawn_again():
    # One obstacle of up to the whole map: it covers the goal so often that leaving out the
    # rejection changes how many plain maps there are.
    options = {"max_obstacles": 1, "max_obstacle_size": 6.0}
    free, _ = batch(8192, 6, **options)
    rng = np.random.default_rng(0)
    expected = np.mean([not reference(rng, 6, 1, 6.0).all() for _ in range(8192)])
    assert (~free[:, 1:-1, 1:-1]).any((1, 2)).mean() == pytest.approx(expected, abs=0.03)


def test_when_the_draws_run_out_the_task_is_plain_but_valid(monkeypatch):
    monkeypatch.setattr(vin_grids, "_MAX_DRAWS", 1)
    # A size of its own: what was traced with the limit patched must serve no other test.
    free, goal = batch(2048, 7, max_obstacles=1, max_obstacle_size=7.0)
    rng = np.random.default_rng(0)
    is_plain = [reference(rng, 7, 1, 7.0).all() for _ in range(2048)]
    assert free[:, 1:-1, 1:-1].all((1, 2)).mean() > np.mean(is_plain) + 0.1
    assert free[np.arange(2048), goal[:, 0], goal[:, 1]].all()


def test_vmap_is_the_loop_and_keys_reproduce():
    keys = jax.random.split(jax.random.key(0), 4)
    draw = jax.jit(lambda key: vin_grid(key, 8))
    together = jax.jit(jax.vmap(draw))(keys)
    for index in range(4):
        alone = draw(jax.random.split(jax.random.key(0), 4)[index])
        np.testing.assert_array_equal(together.free[index], alone.free)
        np.testing.assert_array_equal(together.goal[index], alone.goal)


def test_double_precision_draws_the_same():
    draw = jax.jit(lambda key: vin_grid(key, 8))
    single = draw(jax.random.key(5))
    with jax.enable_x64(True):
        double = draw(jax.random.key(5))
    np.testing.assert_array_equal(double.free, single.free)
    np.testing.assert_array_equal(double.goal, single.goal)
    assert double.goal.dtype == np.int32


def test_one_trace_for_all_keys():
    traces = []

    @jax.jit
    def draw(key):
        traces.append(key)
        return vin_grid(key, 8)

    for seed in range(3):
        draw(jax.random.key(seed))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("size", "options", "match"),
    [
        (2, {}, "got size 2"),
        (8.0, {}, "got size 8.0"),
        (20, {}, r"published sizes \[8, 16, 28, 36\]"),
        (20, {"max_obstacles": 3}, "give max_obstacles and max_obstacle_size"),
        (8, {"max_obstacles": 0}, "max_obstacles 0"),
        (8, {"max_obstacle_size": -1.0}, "max_obstacle_size -1.0"),
        (8, {"max_obstacle_size": 9.0}, "max_obstacle_size 9.0"),
    ],
)
def test_impossible_arguments_are_refused(key, size, options, match):
    with pytest.raises(ValueError, match=match):
        vin_grid(key, size, **options)


def test_a_forgotten_vmap_is_explained(key):
    with pytest.raises(ValueError, match=r"jax.vmap\(vin_grid\)"):
        vin_grid(jax.random.split(key, 3), 8)
