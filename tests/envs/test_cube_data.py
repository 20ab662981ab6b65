import functools
import json
import multiprocessing

import numpy as np
import pytest
from ogbench.utils import load_dataset

from jplan.envs import _cube_data as module
from jplan.envs import generate_cube_data, make_cube_environment
from jplan.envs._cube_episodes import make_collector
from jplan.training import load_offline_data

SHAPE = {"num_episodes": 3, "num_validation": 2, "num_states": 30}


def generate(path, **options):
    generate_cube_data(path, **SHAPE | {"kind": "noisy", "progress": False} | options)


def columns(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same(path, other):
    for name in (".npz", "-val.npz"):
        ours, theirs = (columns(f"{p.parent}/{p.stem}{name}") for p in (path, other))
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


def flip(path):
    """Change a byte of the packed observations, which come first."""
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture(scope="module", autouse=True)
def one_collector():
    """It takes a second to make one, so they are shared, as nothing should carry over."""
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(lambda *names: make_collector(module.Recipe(*names, 0, 30)))
        patch.setattr(module, "make_collector", lambda recipe: cached(*recipe[:2]))
        yield


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    path = tmp_path_factory.mktemp("noisy") / "noisy.npz"
    generate(path, shard_size=2)
    return path


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "play.npz"
    generate(path, kind="play", environment="cube-double")
    return path


def test_columns_are_those_of_ogbench(noisy, play):
    for path, sizes in ((noisy, (28, 5, 21, 20)), (play, (37, 5, 28, 26))):
        for half, episodes in ((path, 3), (path.with_name(f"{path.stem}-val.npz"), 2)):
            data = columns(half)
            assert list(data) == ["observations", "actions", "qpos", "qvel", "terminals"]
            for (name, array), size in zip(data.items(), (*sizes, None), strict=True):
                rows = (episodes * 30,)
                assert array.shape == (rows if size is None else (*rows, size)), name
                assert array.dtype == (bool if size is None else np.float32), name
            assert np.flatnonzero(data["terminals"]).tolist() == [29, 59, 89][:episodes]
            assert np.abs(data["actions"]).max() <= 1
    assert sorted(p.name for p in noisy.parent.iterdir()) == ["noisy-val.npz", "noisy.npz"]


def test_the_loader_of_ogbench_reads_it(noisy):
    data = load_dataset(noisy)
    raw = columns(noisy)["observations"].reshape(3, 30, 28)
    np.testing.assert_array_equal(data["observations"], raw[:, :-1].reshape(-1, 28))
    np.testing.assert_array_equal(data["next_observations"], raw[:, 1:].reshape(-1, 28))
    assert load_dataset(noisy, compact_dataset=True)["valids"].sum() == 3 * 29


def test_our_loader_keeps_whole_episodes(noisy):
    data, raw = load_offline_data(noisy), columns(noisy)
    assert data.lengths.tolist() == [30, 30, 30]
    np.testing.assert_array_equal(data.states, raw["observations"])
    np.testing.assert_array_equal(data.actions, raw["actions"])


def test_an_episode_depends_on_the_seed_and_its_number_only(noisy, tmp_path):
    generate(tmp_path / "other.npz", shard_size=3)
    assert_same(tmp_path / "other.npz", noisy)
    generate(tmp_path / "few.npz", num_episodes=1, num_validation=1)
    many, few = columns(noisy), columns(tmp_path / "few.npz")
    np.testing.assert_array_equal(few["observations"], many["observations"][:30])
    validation = columns(tmp_path / "few-val.npz")
    np.testing.assert_array_equal(validation["observations"], many["observations"][30:60])
    assert not np.array_equal(few["observations"], validation["observations"])
    generate(tmp_path / "seed.npz", num_episodes=1, num_validation=1, seed=1)
    seed = columns(tmp_path / "seed.npz")
    assert not np.array_equal(seed["observations"][0], many["observations"][0])
    assert not np.array_equal(seed["actions"], few["actions"])


def test_plans_depend_on_the_seed_as_well(play, tmp_path):
    """They draw from NumPy's global generator, whatever its state."""
    options = {"kind": "play", "environment": "cube-double", "num_validation": 1}
    np.random.seed(1)  # noqa: NPY002
    generate(tmp_path / "few.npz", num_episodes=1, **options)
    few = columns(tmp_path / "few.npz")
    np.testing.assert_array_equal(few["actions"], columns(play)["actions"][:30])


def test_actions_lead_from_each_state_to_the_next(noisy):
    data = columns(noisy)
    env = make_cube_environment("cube-single")
    with pytest.warns(UserWarning, match="precision lowered"):
        env.reset(seed=0, options={"task_id": 1})
    inner = env.unwrapped
    for row in (3, 17, 40):
        inner.set_state(data["qpos"][row].astype(float), data["qvel"][row].astype(float))
        observation = inner.compute_observation()
        # The hand's pose lags by 2 ms of physics, and the contact force is no part of the state.
        for index, tolerance in ((slice(12), 1e-5), (slice(12, 18), 2e-2), (slice(19, 28), 1e-5)):
            expected = data["observations"][row, index]
            np.testing.assert_allclose(observation[index], expected, atol=tolerance)
        after = inner.step(data["actions"][row])[0]
        np.testing.assert_allclose(after[:6], data["observations"][row + 1, :6], atol=5e-3)
        moved = np.abs(after[:6] - observation[:6]).max()
        assert moved > 2e-2


def test_noisy_and_play_differ_in_their_actions(noisy, play):
    # One random action in ten, and a gripper at its limits.
    saturated = [(np.abs(columns(path)["actions"][:, 4]) > 0.999).mean() for path in (noisy, play)]
    assert saturated[0] > 0.2
    assert saturated[1] < 0.05


def test_random_actions_are_uniform(tmp_path, monkeypatch):
    for kind, is_random in (("noisy", True), ("play", False)):
        monkeypatch.setattr("jplan.envs._cube_episodes._RANDOM_ACTIONS", 1.0)
        generate(tmp_path / f"{kind}.npz", kind=kind)
        actions = columns(tmp_path / f"{kind}.npz")["actions"]
        spread = np.abs(np.sort(actions.ravel()) - np.linspace(-1, 1, actions.size)).max()
        assert (spread < 0.2) == is_random


def test_one_action_in_ten_is_random(tmp_path, monkeypatch):
    monkeypatch.setattr("jplan.envs._cube_episodes._NOISE_SCALE", np.zeros(5))
    runs = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("jplan.envs._cube_episodes._RANDOM_ACTIONS", 0.0)
        generate(tmp_path / f"{name}.npz")
        runs.append(columns(tmp_path / f"{name}.npz")["actions"][:, 4])
    # The closed loop opens and shuts the gripper at full speed.
    assert (np.abs(runs[1]) == 1).all()
    assert 2 <= (np.abs(runs[0]) != 1).sum() <= 20


def test_the_generator_of_the_caller_is_left_alone(tmp_path):
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.RandomState(5).uniform()
    generate(tmp_path / "data.npz", num_episodes=1, num_validation=1, num_states=2)
    assert np.random.uniform() == expected  # noqa: NPY002


def test_a_stopped_run_goes_on(noisy, tmp_path, monkeypatch):
    path = tmp_path / "data.npz"
    collect, numbers = module.collect_episode, []

    def stop_at(last):
        def collect_episode(env, oracle, recipe, number):
            if number == last:
                raise KeyboardInterrupt
            numbers.append(number)
            return collect(env, oracle, recipe, number)

        return collect_episode

    monkeypatch.setattr(module, "collect_episode", stop_at(3))
    with pytest.raises(KeyboardInterrupt):
        generate(path, shard_size=1)
    folder = tmp_path / "data.parts"
    shards = sorted(folder.glob("*.npz"))
    assert [p.name for p in shards] == ["000000.npz", "000001.npz", "000002.npz"]
    assert [p.name for p in tmp_path.iterdir()] == ["data.parts"]
    # As a killed process and a full disk leave them.
    (folder / "000003.npz.77.tmp").write_bytes(b"PK")
    shards[1].write_bytes(shards[1].read_bytes()[:2000])
    flip(shards[2])

    numbers.clear()
    monkeypatch.setattr(module, "collect_episode", stop_at(None))
    generate(path, shard_size=1)
    assert numbers == [1, 2, 3, 4]
    assert_same(path, noisy)
    assert not folder.exists()


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def savez(stream, **columns):
        stream.write(b"PK")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", savez)
    with pytest.raises(OSError, match="no space left"):
        generate(tmp_path / "data.npz", num_states=2)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["recipe.json"]


def test_parts_of_other_data_are_not_mixed_in(tmp_path):
    path, folder = tmp_path / "data.npz", tmp_path / "data.parts"
    module._claim(folder, module.Recipe("cube-single", "noisy", 0, 30), 5, 20)
    with pytest.raises(ValueError, match="with other seed, expected"):
        generate(path, seed=1)
    label = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(label | {"mujoco": "2.0"}))
    with pytest.raises(ValueError, match="with other mujoco, expected"):
        generate(path)


def test_a_data_set_is_not_overwritten(noisy):
    before = noisy.read_bytes()
    with pytest.raises(FileExistsError, match=r"noisy\.npz exists; remove it"):
        generate(noisy, seed=1)
    assert noisy.read_bytes() == before


def test_several_processes_make_the_same(noisy, tmp_path):
    generate(tmp_path / "data.npz", shard_size=1, processes=2)
    assert_same(tmp_path / "data.npz", noisy)


class FailingProcess:
    """As a process that dies at once, for want of memory say."""

    exitcode = None

    def __init__(self, **options):
        pass

    def start(self):
        self.exitcode = -9

    def is_alive(self):
        return False


def test_a_process_that_fails_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing.get_context("spawn"), "Process", FailingProcess)
    with pytest.raises(RuntimeError, match="a process failed"):
        generate(tmp_path / "data.npz", processes=2)
    assert not (tmp_path / "data.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "data.txt"}, "expected a name that ends in .npz"),
        ({"environment": "cube-octuple"}, "got 'cube-octuple', expected one of cube-single, "),
        ({"kind": "expert"}, "kind: got 'expert', expected one of play, noisy"),
        ({"num_episodes": 0}, "num_episodes: got 0, expected at least 1"),
        ({"num_validation": 0}, "num_validation: got 0"),
        ({"num_states": 1}, "num_states: got 1, expected at least 2"),
        ({"seed": -1}, "seed: got -1"),
        ({"processes": 0}, "processes: got 0"),
        ({"shard_size": 0}, "shard_size: got 0"),
    ],
)
def test_arguments_are_checked(tmp_path, options, message):
    path = tmp_path / options.pop("path", "data.npz")
    with pytest.raises(ValueError, match=message):
        generate(path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_set_is_told_how_to_make(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"generate_cube_data .*pad_cube/data.py"):
        load_offline_data(tmp_path / "cube-double-play-v0-val.npz")
