import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.quiver import Quiver

import jplan as jp
from jplan.viz import plot_map

FREE = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]], bool)


def quiver(ax):
    found = [c for c in ax.collections if isinstance(c, Quiver)]
    return found[0] if found else None


def arrows(ax):
    """{(y, x): (dy, dx)} of the arrows that were drawn, as signs."""
    drawn = quiver(ax)
    signs = np.sign(np.round(np.stack([drawn.V, drawn.U], 1), 6)).astype(int)
    return {
        (int(y), int(x)): tuple(sign.tolist()) for (x, y), sign in zip(drawn.XY, signs, strict=True)
    }


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


def test_walls_free_cells_and_nothing_else():
    ax = plot_map(FREE)
    base = ax.images[0].get_array()
    np.testing.assert_array_equal((base == 1).all(-1), FREE)
    assert len(ax.images) == 1
    assert (quiver(ax), legend(ax), ax.get_title()) == (None, [], "")
    assert ax.get_ylim() == (2.5, -0.5)  # the first row is on top


def test_values_are_coloured_and_unreachable_cells_are_grey():
    value = jnp.where(FREE, jnp.arange(12.0).reshape(3, 4), -jnp.inf).at[2, 3].set(-jnp.inf)
    ax = plot_map(FREE, value=value.at[0, 0].set(jnp.nan), title="values")
    base, shown = (image.get_array() for image in ax.images)
    expected = FREE.copy()
    expected[2, 3] = expected[0, 0] = False
    np.testing.assert_array_equal(~np.ma.getmaskarray(shown), expected)
    np.testing.assert_array_equal(shown[expected], np.arange(12.0).reshape(3, 4)[expected])
    assert ax.images[1].get_clim() == (1, 10)
    grey = base[2, 3]
    np.testing.assert_array_equal(base[0, 0], grey)
    for other in (base[0, 3], base[0, 1], ax.images[1].cmap(0.0)[:3]):
        assert np.abs(grey - other).max() > 0.25
    assert legend(ax) == ["unreachable"]
    assert [child.get_ylabel() for child in ax.child_axes] == ["value"]


def test_no_cell_with_a_value_and_a_constant_value_draw():
    assert plot_map(FREE, value=np.full(FREE.shape, -np.inf)).child_axes == []
    plot_map(FREE, value=np.zeros(FREE.shape, np.int32)).figure.canvas.draw()


def test_colours_grow_lighter_with_the_value():
    """So that they are told apart without colour vision and in print."""
    cmap = plot_map(FREE, value=np.zeros(FREE.shape)).images[1].cmap
    lightness = cmap(np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] > to_rgb("#30343B") @ np.array([0.2126, 0.7152, 0.0722]) + 0.1


def test_arrows_point_where_the_actions_go():
    actions = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [3, -1, 0, 1]], np.int8)
    ax = plot_map(FREE, actions=actions, goal=(2, 3))
    assert arrows(ax) == {
        (0, 0): (-1, 0),
        (0, 1): (0, -1),
        (0, 2): (1, 0),
        (1, 0): (-1, -1),
        (1, 2): (1, 1),
        (2, 0): (0, 1),
        (2, 2): (-1, 0),
    }
    free = np.ones((1, 8), bool)
    every = arrows(plot_map(free, actions=np.arange(8)[None]))
    offsets = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)]
    assert list(every.values()) == offsets
    # matplotlib draws v downwards on this axis only if angles are those of the data.
    assert quiver(ax).angles == "xy"


def test_arrows_agree_with_the_exact_policy():
    grid = jp.mdp.GridMDP.from_free(jnp.asarray(FREE), goal=(0, 0), moves=4)
    value = jp.mdp.value_iteration(grid).value
    drawn = arrows(plot_map(FREE, actions=jp.mdp.greedy_policy(grid, value), goal=(0, 0)))
    assert len(drawn) == FREE.sum() - 1
    for (y, x), (dy, dx) in drawn.items():
        assert value[y + dy, x + dx] == value[y, x] + 1


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (344, 403), (30, 400)])
def test_big_maps_get_few_arrows_that_do_not_touch(shape):
    rng = np.random.default_rng(0)
    free = rng.random(shape) < 0.8
    actions = rng.integers(0, 8, shape)
    ax = plot_map(free, actions=actions)
    drawn = quiver(ax)
    cells = np.round(drawn.XY[:, ::-1]).astype(int)
    assert free[tuple(cells.T)].all()
    offsets = np.array([(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (1, -1), (1, 1), (-1, 1)])
    expected = offsets[actions[tuple(cells.T)]]
    np.testing.assert_array_equal(np.sign(np.round(np.stack([drawn.V, drawn.U], 1), 6)), expected)
    stride = np.hypot(drawn.U, drawn.V)[0] / 0.7
    blocks = np.ceil(np.array(shape) / stride).prod()
    assert 0.7 * blocks < len(cells) <= min(blocks, 1700)
    gaps = np.abs(cells[:, None] - cells[None]).max(-1) + 1000 * np.eye(len(cells))
    assert gaps.min() >= stride / 2 - 1e-6


def test_small_maps_get_all_arrows_even_on_small_axes():
    from matplotlib import pyplot

    free = np.ones((15, 15), bool)
    _, axes = pyplot.subplots(1, 3, figsize=(9, 3))
    ax = plot_map(free, actions=np.zeros((15, 15), int), ax=axes[1])
    assert ax is axes[1]
    assert len(arrows(ax)) == 225


def test_no_arrow_at_all_is_fine():
    assert quiver(plot_map(FREE, actions=np.full(FREE.shape, -1))) is None


def test_path_start_and_goal():
    path = np.array([[2, 3], [2, 2], [1, 2], [-1, -1], [-1, -1]])
    ax = plot_map(FREE, path=path, start=(2, 3), goal=np.array([[0, 0], [0, 1]]))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[3, 2], [2, 2], [2, 1]])
    start, goal = ax.collections
    np.testing.assert_array_equal(start.get_offsets(), [[3, 2]])
    np.testing.assert_array_equal(goal.get_offsets(), [[0, 0], [1, 0]])
    assert legend(ax) == ["path", "start", "goal"]


def test_a_path_over_the_edge_of_a_torus_is_two_lines():
    path = np.array([[1, 1], [1, 0], [1, 3], [1, 2]])
    ax = plot_map(np.ones((3, 4), bool), path=path)
    nan = np.nan
    expected = [[1, 1], [0, 1], [nan, nan], [3, 1], [2, 1]]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), expected)


def test_goal_as_a_map_equals_goal_as_cells():
    mask = np.zeros(FREE.shape, bool)
    mask[2, 3] = True
    for goal in (mask, (2, 3), jnp.array([2, 3])):
        np.testing.assert_array_equal(
            plot_map(FREE, goal=goal).collections[0].get_offsets(), [[3, 2]]
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free": FREE.astype(float)}, "dtype float64, expected a non-empty bool"),
        ({"free": FREE[None]}, r"shape \(1, 3, 4\)"),
        ({"free": FREE[:0]}, r"shape \(0, 4\)"),
        ({"value": np.zeros((4, 3))}, r"value of shape \(4, 3\), expected \(3, 4\)"),
        ({"actions": np.zeros((4, 3), int)}, r"actions of shape \(4, 3\)"),
        ({"actions": np.zeros((3, 4))}, "dtype float64 .* take the argmax"),
        ({"actions": np.full((3, 4), 8)}, "from 8 to 8"),
        ({"actions": np.full((3, 4), -2)}, "from -2 to -2"),
        ({"goal": (3, 0)}, r"goal \[\[3, 0\]\].*row comes first"),
        ({"start": (0, -1)}, r"start \[\[0, -1\]\]"),
        ({"goal": (0.0, 1.0)}, "dtype float64, expected integers"),
        ({"goal": (1, 2, 3)}, r"shape \(3,\)"),
        ({"goal": np.ones((4, 3), bool)}, r"goal of shape \(4, 3\)"),
        ({"path": np.zeros(2, int)}, r"path of shape \(2,\)"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        plot_map(options.pop("free", FREE), **options)
