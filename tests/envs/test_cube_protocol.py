import functools
import sys

import numpy as np
import pytest
from PIL import Image

from jplan.envs import (
    CUBE_ENVIRONMENTS,
    CubeResults,
    draw_cube_tasks,
    evaluate_cube_policy,
    load_cube_tasks,
    make_cube_environment,
    random_cube_policy,
    save_cube_tasks,
    save_gif,
    scripted_cube_policy,
    wilson_interval,
)
from jplan.envs._cube_environments import quiet_boxes
from jplan.envs._cube_tasks import start_cube_episode


@pytest.fixture(scope="module", autouse=True)
def one_environment():
    """It takes a second to make one, so they are shared, as nothing should carry over."""
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(lambda name, render=False: make_cube_environment(name))
        for part in ("tasks", "protocol", "policies"):
            patch.setattr(f"jplan.envs._cube_{part}.make_cube_environment", cached)
        yield cached


@pytest.fixture(scope="module")
def tasks():
    return draw_cube_tasks("cube-single", episodes_per_task=2, seed=3)


@pytest.fixture(scope="module")
def env(one_environment):
    env = one_environment("cube-single")
    with quiet_boxes():
        env.reset(options={"task_id": 1})
    return env


def chosen(tasks, *indices):
    rows = list(indices)
    return tasks.replace(
        **{
            n: getattr(tasks, n)[rows]
            for n in ("task", "episode", "goals", "start_qpos", "targets")
        }
    )


def assert_same_tasks(ours, theirs):
    assert ours.environment == theirs.environment
    for name in ("task", "episode", "goals", "start_qpos", "targets"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype


def still(goals):
    return lambda observations: np.zeros((len(observations), 5))


def test_tasks_are_those_of_ogbench(tasks, env):
    assert tasks.task.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert tasks.episode.tolist() == [0, 1] * 5
    for k, task in enumerate(tasks.task):
        told = env.unwrapped.task_infos[task - 1]
        np.testing.assert_array_equal(tasks.targets[k], told["goal_xyzs"])
        away = tasks.start_qpos[k, 14:17] - told["init_xyzs"][0]
        assert 0 < np.abs(away[:2]).max() <= 0.01
        assert away[2] == 0
        # In the goal the cube has been at rest for two steps.
        at = tasks.goals[k, 19:22] / 10 + [0.425, 0, 0]
        np.testing.assert_allclose(at, told["goal_xyzs"][0], atol=1e-3)
    # The hand is anywhere in its box, give or take two random steps.
    hands = tasks.goals[:, 12:15] / 10 + [0.425, 0, 0]
    assert (hands > [0.15, -0.45, 0.1]).all()
    assert (hands < [0.7, 0.45, 0.45]).all()
    assert np.ptp(hands[:, 1]) > 0.3


def test_tasks_are_decided_by_seed_task_and_number(tasks):
    few = draw_cube_tasks("cube-single", episodes_per_task=1, seed=3)
    assert_same_tasks(few, chosen(tasks, 0, 2, 4, 6, 8))
    other = draw_cube_tasks("cube-single", episodes_per_task=1, seed=4)
    assert not np.array_equal(other.start_qpos, few.start_qpos)
    assert not np.array_equal(other.goals, few.goals)


def test_cubes_of_several_are_permuted_with_their_targets():
    tasks = draw_cube_tasks("cube-double", episodes_per_task=3)
    assert tasks.goals.shape == (15, 37)
    np.testing.assert_allclose(
        tasks.goals[:, [19, 20, 21, 28, 29, 30]].reshape(15, 2, 3) / 10 + [0.425, 0, 0],
        tasks.targets,
        atol=5e-3,
    )
    # Of the first task: one cube stays, the other one moves 20 cm.
    starts = tasks.start_qpos[:3].reshape(3, -1)[:, [14, 15, 16, 21, 22, 23]].reshape(3, 2, 3)
    distances = np.linalg.norm(starts - tasks.targets[:3], axis=2)
    np.testing.assert_allclose(np.sort(distances, axis=1), [[0, 0.2]] * 3, atol=0.015)
    assert len({row.argmin() for row in distances}) == 2


def test_a_start_is_that_of_ogbench_but_for_the_clock(tasks, env):
    observation = start_cube_episode(env, tasks, 5)
    inner = env.unwrapped
    np.testing.assert_array_equal(inner.data.qpos, tasks.start_qpos[5])
    np.testing.assert_array_equal(inner.data.qvel, 0)
    assert inner.data.time == 0
    # Whatever happened before, and the random steps inside a reset.
    for _ in range(3):
        inner.step(np.ones(5))
    np.testing.assert_array_equal(start_cube_episode(env, tasks, 5), observation)
    first = inner.step(np.full(5, 0.5))[0]
    start_cube_episode(env, tasks, 5)
    np.testing.assert_array_equal(inner.step(np.full(5, 0.5))[0], first)


def test_files_keep_tasks_bit_for_bit(tasks, tmp_path):
    path = tmp_path / "new" / "tasks.npz"
    save_cube_tasks(path, tasks)
    assert_same_tasks(load_cube_tasks(path), tasks)
    assert [p.name for p in path.parent.iterdir()] == ["tasks.npz"]
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        save_cube_tasks(tmp_path / "tasks.txt", tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("goals"), "expected goals as well"),
        (lambda d: d.update(goals=d["goals"][1:]), r"goals: got float32 \[9, 28\], expected .*10"),
        (lambda d: d.update(goals=d["goals"][:, 1:]), r"goals: got float32 \[10, 27\]"),
        (lambda d: d.update(targets=d["targets"].astype(np.float32)), "targets: got float32"),
        (lambda d: d["start_qpos"].__setitem__((0, 0), np.inf), "start_qpos: .*not finite"),
        (lambda d: d["task"].__setitem__(0, 6), "task: got"),
        (lambda d: d.update(environment="cube-octuple"), "'cube-octuple', expected one of"),
        (lambda d: d.update(environment="cube-double"), "goals: got .*expected float32 .10, 37"),
        (lambda d: d.update(goals=np.array([{}])), "allow_pickle"),
        (lambda d: d.update(goals=np.zeros(1 << 24, np.float32)), "expected at most 67108864"),
    ],
)
def test_damaged_files_are_refused(tasks, tmp_path, change, message):
    data = {name: np.array(value) for name, value in vars(tasks).items()}
    change(data)
    path = tmp_path / "tasks.npz"
    np.savez_compressed(path, **data)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        load_cube_tasks(path)


def test_cut_files_are_refused(tasks, tmp_path):
    path = tmp_path / "tasks.npz"
    save_cube_tasks(path, tasks)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"it is damaged .*draw_cube_tasks"):
        load_cube_tasks(path)
    with pytest.raises(FileNotFoundError):
        load_cube_tasks(tmp_path / "none.npz")


def test_scripts_reach_every_target(tasks, tmp_path):
    """From a file and in other batches the episodes are the same, bit for bit."""
    save_cube_tasks(tmp_path / "tasks.npz", tasks)
    policy = scripted_cube_policy("markov")
    results = evaluate_cube_policy(policy, tasks, progress=False)
    assert results.is_success.all()
    assert 30 < results.length.min() <= results.length.max() < 80
    assert results.final_distance.max() <= 0.04
    some = chosen(load_cube_tasks(tmp_path / "tasks.npz"), 1, 4, 7)
    again = evaluate_cube_policy(policy, some, batch_size=2, progress=False)
    assert again.rows() == [results.rows()[k] for k in (1, 4, 7)]
    np.testing.assert_array_equal(again.final_distance, results.final_distance[[1, 4, 7]])


def test_plans_take_longer_than_the_closed_loop(tasks):
    results = evaluate_cube_policy(
        scripted_cube_policy("plan"), chosen(tasks, 0, 8), progress=False
    )
    assert results.is_success.all()
    # To the target there are 8 segments of 8 steps each.
    assert 55 < results.length.min() <= results.length.max() < 80


def test_an_episode_is_that_of_the_plain_environment(tasks, env):
    """One environment whose state is swapped, against one that only runs this episode."""
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 2, 5)).astype(np.float32)
    seen = []

    def start_fn(goals):
        step = iter(range(200))
        np.testing.assert_array_equal(goals, tasks.goals[[4, 7]])

        def act_fn(observations):
            seen.append(observations)
            return actions[next(step)]

        return act_fn

    results = evaluate_cube_policy(start_fn, chosen(tasks, 4, 7), progress=False)
    observation = start_cube_episode(env, tasks, 7)
    for step in range(40):
        np.testing.assert_array_equal(seen[step][1], observation.astype(np.float32))
        observation = env.unwrapped.step(actions[step, 1])[0]
    assert results.length.tolist() == [200, 200]
    assert not results.is_success.any()


def test_an_idle_arm_leaves_the_cube_where_it_is(tasks):
    results = evaluate_cube_policy(still, chosen(tasks, 1, 6), progress=False)
    starts = tasks.start_qpos[[1, 6], 14:17]
    expected = np.linalg.norm(starts - tasks.targets[[1, 6], 0], axis=1)
    np.testing.assert_allclose(results.final_distance, expected, atol=1e-3)
    assert results.length.tolist() == [200, 200]
    assert results.rows()[1] == {
        "task": 4,
        "episode": 0,
        "success": 0,
        "length": 200,
        "final_distance": round(float(results.final_distance[1]), 4),
    }


def test_episodes_that_are_over_stay_as_they_were(tasks):
    """An episode with the cube at its target ends at the first step; the other goes on."""
    pair = chosen(tasks, 0, 2)
    pair.start_qpos[0, 14:17] = pair.targets[0, 0]
    seen = []

    def start_fn(goals):
        def act_fn(observations):
            seen.append(observations)
            # Of an episode that is over any action is allowed, if finite.
            return np.array([[1e6 if len(seen) > 1 else 0] * 5, [0] * 5])

        return act_fn

    results = evaluate_cube_policy(start_fn, pair, progress=False)
    assert results.length.tolist() == [1, 200]
    assert results.is_success.tolist() == [True, False]
    assert len(seen) == 200
    for observations in seen[2:]:
        np.testing.assert_array_equal(observations[0], seen[1][0])
    assert results.final_distance[0] < 0.01


def test_actions_are_clipped_and_checked(tasks):
    one = chosen(tasks, 0)
    seen = {1.0: [], 50.0: []}
    for scale, rows in seen.items():

        def start_fn(goals, scale=scale, rows=rows):
            def act_fn(observations):
                rows.append(observations)
                bad = [[np.nan] * 5] if len(rows) > 5 else [[scale, -scale, 0, 0, scale]]
                return np.array(bad)

            return act_fn

        with pytest.raises(ValueError, match=r"nan.* in row 0, expected finite actions"):
            evaluate_cube_policy(start_fn, one, progress=False)
    np.testing.assert_array_equal(seen[1.0], seen[50.0])
    with pytest.raises(ValueError, match=r"got actions \[5\], expected \[1, 5\]"):
        evaluate_cube_policy(lambda goals: lambda o: np.zeros(5), one, progress=False)


def test_random_actions_depend_on_seed_and_goal(tasks):
    policy = random_cube_policy(seed=1)
    both, alone = policy(tasks.goals[:2]), policy(tasks.goals[1:2])
    observations = np.zeros((2, 28), np.float32)
    first = both(observations)
    np.testing.assert_array_equal(first[1:], alone(observations[:1]))
    assert first.shape == (2, 5)
    assert np.abs(first).max() <= 1
    assert not np.isclose(first[0], first[1]).any()
    assert not np.isclose(first, both(observations)).any()
    assert not np.isclose(first, random_cube_policy(seed=2)(tasks.goals[:2])(observations)).any()


def test_intervals_by_hand():
    # z^2 = 3.841459; for no success the high end is z^2 / (n + z^2).
    np.testing.assert_allclose(wilson_interval(0, 10), (0, 3.841459 / 13.841459), atol=1e-6)
    np.testing.assert_allclose(wilson_interval(10, 10), (10 / 13.841459, 1), atol=1e-6)
    # p = 1/2: the half width is z / (2 sqrt(n + z^2)).
    half = 1.959964 / (2 * 13.841459**0.5)
    np.testing.assert_allclose(wilson_interval(5, 10), (0.5 - half, 0.5 + half), atol=1e-6)
    # 238 of 250, about 95 %.
    np.testing.assert_allclose(wilson_interval(238, 250), (0.9180, 0.9723), atol=1e-4)
    for counts in ((-1, 10), (11, 10), (0, 0)):
        with pytest.raises(ValueError, match="expected 0 to trials"):
            wilson_interval(*counts)


def test_the_summary_by_hand():
    results = CubeResults(
        task=np.array([1, 1, 2]),
        episode=np.array([0, 1, 0]),
        is_success=np.array([True, False, False]),
        length=np.array([40, 200, 200]),
        final_distance=np.array([0.03, 0.13, 0.2]),
        frames={},
    )
    first, second, total = results.summary()
    assert (first["task"], second["task"], total["task"]) == (1, 2, "all")
    assert (first["episodes"], second["episodes"], total["episodes"]) == (2, 1, 3)
    assert (first["success"], second["success"]) == (0.5, 0)
    assert (first["mean_length"], total["mean_length"]) == (40, 40)
    assert np.isnan(second["mean_length"])
    np.testing.assert_allclose(first["mean_distance"], 0.08)
    np.testing.assert_allclose(total["mean_distance"], 0.12)
    assert (total["low"], total["high"]) == wilson_interval(1, 3)


def test_pictures_of_the_first_episodes(tasks, env, monkeypatch, tmp_path):
    monkeypatch.setattr(
        type(env.unwrapped), "render", lambda self: np.full((4, 6, 3), round(self.data.time * 20))
    )
    pair = chosen(tasks, 0, 1)
    results = evaluate_cube_policy(
        scripted_cube_policy("markov"), pair, num_recorded=1, progress=False
    )
    assert list(results.frames) == [0]
    frames = results.frames[0]
    assert frames.shape == (results.length[0] + 1, 4, 6, 3)
    # A picture of the start and one after each step.
    assert frames[:, 0, 0, 0].tolist() == list(range(len(frames)))
    path = save_gif(tmp_path / "new" / "episode.gif", frames.astype(np.uint8))
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (len(frames), (6, 4), 50)


def test_no_opengl_is_a_warning(tasks, env, monkeypatch):
    def render(self):
        raise AttributeError("no attribute 'GLContext'")

    monkeypatch.setattr(type(env.unwrapped), "render", render)
    with pytest.warns(RuntimeWarning, match=r"no pictures.*GLContext.*MUJOCO_GL=egl") as record:
        results = evaluate_cube_policy(
            scripted_cube_policy("markov"), chosen(tasks, 0), num_recorded=1, progress=False
        )
    assert len(record) == 1
    assert results.frames == {}
    assert results.is_success.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "film.mp4"}, r"ends in \.gif"),
        ({"frames": np.zeros((0, 2, 2, 3), np.uint8)}, r"got uint8 \[0, 2, 2, 3\]"),
        ({"frames": np.zeros((1, 2, 2, 3))}, "got float64"),
        ({"frames": np.zeros((2, 2, 3), np.uint8)}, r"got uint8 \[2, 2, 3\]"),
        ({"frames_per_second": 0}, "got 0, expected above 0"),
        ({"frames_per_second": 60}, "got 60, expected above 0, up to 50"),
    ],
)
def test_films_are_checked(tmp_path, options, message):
    options = {"path": "film.gif", "frames": np.zeros((1, 2, 2, 3), np.uint8)} | options
    path = tmp_path / options.pop("path")
    with pytest.raises(ValueError, match=message):
        save_gif(path, options.pop("frames"), **options)


def test_arguments_of_tasks_and_policies_are_checked(tasks):
    with pytest.raises(ValueError, match="got 'cube', expected one of cube-single"):
        draw_cube_tasks("cube")
    with pytest.raises(ValueError, match="episodes_per_task: got 0"):
        draw_cube_tasks(episodes_per_task=0)
    with pytest.raises(ValueError, match="seed: got -1"):
        draw_cube_tasks(seed=-1)
    with pytest.raises(ValueError, match="batch_size: got 0"):
        evaluate_cube_policy(still, tasks, batch_size=0)
    with pytest.raises(ValueError, match="num_recorded: got -1"):
        evaluate_cube_policy(still, tasks, num_recorded=-1)
    with pytest.raises(ValueError, match="got 'human', expected 'plan' or 'markov'"):
        scripted_cube_policy("human")
    with pytest.raises(ValueError, match="37 numbers, expected 28"):
        scripted_cube_policy()(np.zeros((1, 37), np.float32))


@pytest.mark.parametrize(
    ("name", "size", "cap"),
    list(zip(CUBE_ENVIRONMENTS, (28, 37, 46, 55), (200, 500, 1000, 1000), strict=True)),
)
def test_environments_are_those_of_ogbench(name, size, cap):
    env = make_cube_environment(name)
    with quiet_boxes():
        observation, info = env.reset(seed=0, options={"task_id": 5})
    assert observation.shape == info["goal"].shape == (size,)
    assert env.spec.max_episode_steps == cap


def test_without_ogbench_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(ImportError, match=r"pip install 'jplan\[ogbench\]'"):
        make_cube_environment("cube-single")


@pytest.mark.parametrize(
    ("platform", "library", "render", "before", "after"),
    [
        ("linux", "libEGL.so.1", True, None, "egl"),
        ("linux", "libEGL.so.1", True, "", "egl"),
        ("linux", None, True, None, "disabled"),
        ("linux", "libEGL.so.1", False, None, "disabled"),
        ("darwin", None, False, None, "disabled"),
        ("darwin", None, True, None, None),
        ("linux", "libEGL.so.1", True, "osmesa", "osmesa"),
        ("linux", "libEGL.so.1", False, "glfw", "glfw"),
    ],
)
def test_opengl_is_chosen_where_the_user_has_not(
    monkeypatch, platform, library, render, before, after
):
    module = sys.modules["jplan.envs._cube_environments"]
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(module, "find_library", lambda name: library)
    environment = {} if before is None else {"MUJOCO_GL": before}
    monkeypatch.setattr(module.os, "environ", environment)
    module.import_ogbench(render=render)
    assert environment.get("MUJOCO_GL") == after
