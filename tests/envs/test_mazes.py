from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from jplan.envs import maze


def batch(num, size, seed=0, **options):
    draw = jax.jit(jax.vmap(lambda key: maze(key, size, **options)))
    task = draw(jax.random.split(jax.random.key(seed), num))
    return np.asarray(task.free), np.asarray(task.goal)


def without_goal(free, goal):
    """The perfect mazes of odd size behind tasks with decimation 0: pillars are never carved."""
    free = free.copy()
    is_pillar = (goal % 2 == 0).all(-1)
    free[is_pillar, goal[is_pillar, 0], goal[is_pillar, 1]] = False
    return free


def depth_first_law(m):
    """Probability of each depth-first spanning tree of an m x m lattice, by enumeration."""
    law = Counter()

    def search(stack, visited, edges, probability):
        if not stack:
            law[frozenset(edges)] += probability
            return
        y, x = stack[-1]
        beside = [(y - 1, x), (y, x - 1), (y + 1, x), (y, x + 1)]
        fresh = [c for c in beside if min(c) >= 0 and max(c) < m and c not in visited]
        if not fresh:
            search(stack[:-1], visited, edges, probability)
        for cell in fresh:
            wall = (y + cell[0] + 1, x + cell[1] + 1)
            search([*stack, cell], visited | {cell}, [*edges, wall], probability / len(fresh))

    search([(0, 0)], {(0, 0)}, [], 1.0)
    return law


def test_carving_follows_the_enumerated_law_of_randomised_depth_first_search():
    num = 20_000
    free, goal = batch(num, 7, decimation=0.0)
    law = depth_first_law(3)
    assert sum(law.values()) == pytest.approx(1)
    drawn = Counter()
    for one_free, one_goal in zip(free, goal, strict=True):
        walls = {(y, x) for y in range(1, 6) for x in range(1, 6) if (y + x) % 2}
        carved = frozenset(wall for wall in walls if one_free[wall])
        # A goal on an uncarved wall adds an opening; leave these out, they say nothing here.
        if tuple(one_goal) not in walls:
            drawn[carved] += 1
    assert drawn.keys() <= law.keys()
    total = drawn.total()
    observed = [drawn[tree] for tree in law]
    expected = [total * probability for probability in law.values()]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("size", [5, 15, 16])
def test_without_decimation_mazes_are_perfect(size):
    free, goal = batch(64, size, decimation=0.0)
    m = (size - 1) // 2
    for one_free, one_goal in zip(free, goal, strict=True):
        assert one_free[1 : 2 * m : 2, 1 : 2 * m : 2].all()
        # A spanning tree has one edge less than rooms; the goal may have opened one cell more.
        carved = one_free[1 : 2 * m, 1 : 2 * m].copy()
        num_free = 2 * m * m - 1
        inside = (one_goal <= 2 * m - 1).all()
        assert carved.sum() - num_free in ((0, 1) if inside else (0,))
        if carved.sum() == num_free:
            assert ndimage.label(carved)[1] == 1


@pytest.mark.parametrize("size", [4, 5, 16])
def test_border_closed_goal_inside_and_free(size):
    free, goal = batch(512, size)
    assert free.shape == (512, size, size)
    assert free.dtype == bool
    assert goal.dtype == np.int32
    assert not free[:, [0, -1]].any()
    assert not free[:, :, [0, -1]].any()
    assert goal.min() >= 1
    assert goal.max() == size - 2
    assert free[np.arange(512), goal[:, 0], goal[:, 1]].all()


def test_free_share_at_15_is_that_of_the_law():
    free, _ = batch(8192, 15)
    # 49 rooms and 48 passages; each of 72 further cells with E[d] = 1/2; and the goal's cell.
    expected = (97 + 72 * (0.5 + 0.5 / 168)) / 225
    error = free.mean((1, 2)).std() / np.sqrt(len(free))
    assert abs(free.mean() - expected) < 4 * error
    # The published set is free of duplicates, which are mostly maps that are nearly all free.
    assert np.unique(free.reshape(len(free), -1), axis=0).reshape(-1, 15, 15).mean() == (
        pytest.approx(0.588, abs=0.004)
    )


def test_decimation_is_drawn_uniformly_for_each_maze():
    free, goal = batch(8192, 15)
    pillars = without_goal(free, goal)[:, 2:-1:2, 2:-1:2].sum((1, 2))
    is_on_pillar = (goal % 2 == 0).all(-1)
    # With d ~ U(0, 1) the number of opened pillars among 36 is uniform on 0 .. 36.
    counts = np.bincount(pillars[~is_on_pillar], minlength=37)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_goal_is_uniform_over_the_interior_but_the_first_cell():
    _, goal = batch(20_000, 6)
    counts = np.zeros((6, 6), int)
    np.add.at(counts, tuple(goal.T), 1)
    inside = counts[1:-1, 1:-1].ravel()
    assert inside[0] == 0
    assert inside.sum() == len(goal)
    assert stats.chisquare(inside[1:]).pvalue > 1e-3


def test_unreachable_cells_are_as_rare_as_published():
    free, _ = batch(8192, 15)
    share = np.mean([ndimage.label(one)[1] > 1 for one in free])
    assert 0.003 < share < 0.008  # 47 of the 10,000 maps of DiffPlan


def test_full_decimation_opens_all_and_may_be_traced(key):
    draw = jax.jit(jax.vmap(lambda d: maze(key, 9, decimation=d)))
    free = draw(jnp.array([0.0, 0.5, 1.0])).free.sum((1, 2))
    assert free[0] < free[1] < free[2] == 49


def test_reproducible_and_different_between_keys():
    draw = jax.jit(lambda key: maze(key, 15))
    first, second, other = (draw(jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.free, second.free)
    np.testing.assert_array_equal(first.goal, second.goal)
    assert (first.free != other.free).any()


def test_vmap_is_the_loop():
    keys = jax.random.split(jax.random.key(0), 4)
    draw = jax.jit(lambda key: maze(key, 8))
    together = jax.jit(jax.vmap(draw))(keys)
    for index in range(4):
        alone = draw(jax.random.split(jax.random.key(0), 4)[index])
        np.testing.assert_array_equal(together.free[index], alone.free)
        np.testing.assert_array_equal(together.goal[index], alone.goal)


def test_double_precision_draws_the_same():
    draw = jax.jit(lambda key: maze(key, 8))
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
        return maze(key, 6)

    for seed in range(3):
        draw(jax.random.key(seed))
    assert len(traces) == 1


@pytest.mark.parametrize("size", [3, 0, 15.0, None])
def test_impossible_sizes_are_refused(key, size):
    with pytest.raises(ValueError, match=r"got size .* at least 4"):
        maze(key, size)


@pytest.mark.parametrize("decimation", [-0.1, 1.5, float("nan")])
def test_decimation_must_be_a_probability(key, decimation):
    with pytest.raises(ValueError, match="got decimation"):
        maze(key, 7, decimation=decimation)


def test_a_forgotten_vmap_is_explained(key):
    with pytest.raises(ValueError, match=r"shape \(3,\).*jax.vmap\(maze\)"):
        maze(jax.random.split(key, 3), 7)


def test_a_raw_key_is_refused():
    with pytest.raises(ValueError, match=r"jax\.random\.key"):
        maze(jnp.zeros(2, jnp.uint32), 7)
