import numpy as np
import pytest

from jplan.envs import load_diffplan_mazes


def arrays(count=4, size=5):
    rng = np.random.default_rng(0)
    goals = np.zeros((count, size, size), np.uint8)
    goals.reshape(count, -1)[np.arange(count), rng.integers(size * size, size=count)] = 1
    maps = np.maximum(rng.integers(2, size=goals.shape), goals).astype(np.uint8)
    return maps, goals


def write(path, **content):
    np.savez(path, **content)
    return path


def test_maps_and_goals_come_back(tmp_path):
    maps, goals = arrays()
    path = write(tmp_path / "set.npz", train_maps=maps, train_goals=goals, train_policy=maps)
    tasks = load_diffplan_mazes(path, split="train")
    np.testing.assert_array_equal(tasks.free, maps == 1)
    assert tasks.free.dtype == bool
    for goal, expected in zip(np.asarray(tasks.goal), goals, strict=True):
        assert expected[tuple(goal)] == 1


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_diffplan_mazes(tmp_path / "none.npz", split="train")


def test_a_split_that_is_not_there_is_named(tmp_path):
    maps, goals = arrays()
    path = write(tmp_path / "set.npz", train_maps=maps, train_goals=goals)
    with pytest.raises(ValueError, match=r"no test_maps and no test_goals, only .*Check the split"):
        load_diffplan_mazes(path, split="test")


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_truncated_files(tmp_path, cut):
    maps, goals = arrays()
    path = write(tmp_path / "set.npz", train_maps=maps, train_goals=goals)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"set.npz: .*expected an .npz file"):
        load_diffplan_mazes(path, split="train")


def test_pickled_content_is_refused(tmp_path):
    _, goals = arrays()
    evil = np.array([{"a": 1}], dtype=object)
    path = write(tmp_path / "set.npz", train_maps=evil, train_goals=goals)
    with pytest.raises(ValueError, match=r"allow_pickle=False"):
        load_diffplan_mazes(path, split="train")


def broken(kind):
    maps, goals = arrays()
    if kind == "shape":
        return {"train_maps": maps[:2], "train_goals": goals}
    if kind == "flat":
        return {"train_maps": maps[0], "train_goals": goals[0]}
    if kind == "empty":
        return {"train_maps": maps[:0], "train_goals": goals[:0]}
    if kind == "numbers":
        return {"train_maps": 2 * maps, "train_goals": goals}
    if kind == "nan":
        return {"train_maps": maps * np.nan, "train_goals": goals}
    if kind == "two goals":
        goals[2] = 1
        return {"train_maps": np.ones_like(maps), "train_goals": goals}
    maps[3][goals[3] == 1] = 0
    return {"train_maps": maps, "train_goals": goals}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", "expected two equal"),
        ("flat", "expected two equal"),
        ("empty", "expected two equal"),
        ("numbers", "train_maps holds other numbers"),
        ("nan", "train_maps holds other numbers"),
        ("two goals", "map 2 of train has 25 goals"),
        ("wall", "map 3 of train has 1 goals or one in a wall"),
    ],
)
def test_damaged_content_is_named(tmp_path, kind, message):
    path = write(tmp_path / "set.npz", **broken(kind))
    with pytest.raises(ValueError, match=message):
        load_diffplan_mazes(path, split="train")
