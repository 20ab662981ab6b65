import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import image, pyplot

import jplan as jp
from jplan import viz


def lines(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_residuals_drop_the_tail_and_keep_the_numbers():
    history = jnp.array([1.0, 0.1, jnp.inf, 0.01, 0.0, jnp.nan, jnp.nan])
    ax = viz.plot_residuals({"a": history, "b": history[:2]}, tol=1e-3)
    np.testing.assert_allclose(
        lines(ax, "a")[0].get_xydata(), [[0, 1], [1, 0.1], [3, 0.01]], rtol=1e-6
    )
    assert len(lines(ax, "b")[0].get_xdata()) == 2
    assert ax.get_yscale() == "log"
    (tolerance,) = [line for line in ax.lines if line.get_label().startswith("tol")]
    assert set(tolerance.get_ydata()) == {1e-3}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "tol = 0.001"]
    assert lines(ax, "a")[0].get_color() != lines(ax, "b")[0].get_color()


def test_residuals_of_a_real_solve_end_below_the_tolerance():
    halve = lambda p, z: 0.5 * z + p
    solution = jp.fixed_point(
        halve, jnp.ones(2), jnp.zeros(2), solver=jp.Picard(tol=1e-3), history=True
    )
    ax = viz.plot_residuals(solution.history)
    drawn = ax.lines[0].get_ydata()
    assert len(drawn) == solution.num_steps
    assert drawn[-2] > 1e-3 >= drawn[-1]
    assert ax.get_legend() is None


def test_many_labels_are_told_apart():
    ax = viz.plot_residuals({f"solve {i}": np.ones(2) for i in range(12)})
    styles = {
        (line.get_color(), line.get_linestyle()) for line in ax.lines if len(line.get_xdata()) == 2
    }
    assert len(styles) == 12


def test_residuals_on_given_axes_and_wrong_ones():
    _, ax = pyplot.subplots()
    assert viz.plot_residuals(np.ones(3), ax=ax) is ax
    with pytest.raises(ValueError, match="history=True"):
        viz.plot_residuals(None)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) for 'batch', expected one solve"):
        viz.plot_residuals({"batch": np.ones((2, 3))})


def rows(*values, start=1):
    return [{"step": start + i, "loss": value, "other": 0.0} for i, value in enumerate(values)]


def test_curves_are_thin_for_seeds_and_thick_for_their_mean():
    ax = viz.plot_curves({"VIN": [rows(3.0, 2.0, 1.0), rows(1.0, 1.0)], "one": [rows(5.0)]}, "loss")
    (mean,) = lines(ax, "VIN")
    np.testing.assert_array_equal(mean.get_xydata(), [[1, 2.0], [2, 1.5]])
    thin = [line for line in ax.lines if line.get_linewidth() < 1]
    assert [list(line.get_ydata()) for line in thin] == [[3.0, 2.0, 1.0], [1.0, 1.0]]
    assert {line.get_color() for line in thin} == {mean.get_color()}
    assert mean.get_linewidth() > 2
    assert len(ax.lines) == 4
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_seed_breaks_the_mean(bad):
    ax = viz.plot_curves({"a": [rows(1.0, bad, 3.0), rows(1.0, 1.0, 1.0)]}, "loss")
    ax.figure.canvas.draw()
    np.testing.assert_array_equal(lines(ax, "a")[0].get_ydata(), [1.0, bad, 2.0])


def test_curves_without_rows_or_metric_are_errors():
    with pytest.raises(ValueError, match="no runs for 'a'"):
        viz.plot_curves({"a": []}, "loss")
    with pytest.raises(ValueError, match=r"row of 'a' with \['loss', 'other', 'step'\].*'success'"):
        viz.plot_curves({"a": [rows(1.0)]}, "success")


def test_save_writes_a_png_makes_folders_and_closes(tmp_path):
    ax = viz.plot_map(np.eye(4, dtype=bool), value=np.zeros((4, 4)), title="t")
    number = ax.figure.number
    path = viz.save_figure(ax.figure, tmp_path / "new" / "folder" / "map.png")
    assert path == tmp_path / "new" / "folder" / "map.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = image.imread(path)
    assert min(pixels.shape[:2]) > 400
    assert (pixels[0] == 1).all()
    assert pixels[..., :3].std() > 0.1
    assert not pyplot.fignum_exists(number)


def test_save_refuses_other_endings_and_writes_nothing(tmp_path):
    ax = viz.plot_map(np.ones((2, 2), bool))
    with pytest.raises(ValueError, match=r"'map\.jpg', expected a name that ends in \.png"):
        viz.save_figure(ax.figure, tmp_path / "new" / "map.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda: viz.plot_map(np.ones((2, 2), bool)),
        lambda: viz.plot_residuals(np.ones(2)),
        lambda: viz.plot_curves({"a": [rows(1.0)]}, "loss"),
    ],
)
def test_without_matplotlib_the_error_says_what_to_install(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"jplan\[experiments\]"):
        draw()
