import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jplan.training import (
    from_episodes,
    hindsight_batch,
    load_offline_data,
    offline_data,
    transition_batch,
)

LENGTHS = 7, 30, 12


def recorded():
    """States (episode, step), actions the step that they are taken in."""
    states = np.concatenate([[(e, t) for t in range(n)] for e, n in enumerate(LENGTHS)])
    ends = np.concatenate([np.arange(n) == n - 1 for n in LENGTHS])
    return {
        "observations": states.astype(np.float32),
        "actions": states[:, 1:].astype(np.float32),
        "terminals": ends,
    }


def write(path, **changes):
    np.savez(path, **(recorded() | changes))
    return path


@pytest.fixture
def data(tmp_path):
    return load_offline_data(write(tmp_path / "data.npz"))


def test_episodes(data):
    assert data.firsts.tolist() == [0, 7, 37]
    assert data.lengths.tolist() == list(LENGTHS)
    assert data.states.dtype == jnp.float32
    some = data.first_episodes(2)
    assert len(some.states) == len(some.actions) == 37
    with pytest.raises(ValueError, match="count is 4"):
        data.first_episodes(4)


def test_compact_form(tmp_path):
    arrays = recorded()
    last = arrays["terminals"]
    # As OGBench has it: the last two rows are terminal, and the last has no valid successor.
    both = last | np.append(last[1:], False)
    compact = write(tmp_path / "data.npz", terminals=both, valids=~last)
    assert load_offline_data(compact).lengths.tolist() == list(LENGTHS)


def test_windows_lie_within_their_episodes(data):
    batch = hindsight_batch(data, jax.random.key(0), batch_size=500, horizon=9, max_past=4)
    everything = jnp.concatenate([batch.past, batch.future, batch.goal[:, None]], axis=1)
    assert (everything[:, :, 0] == everything[:, :1, 0]).all()
    assert set(np.unique(batch.past[:, -1, 0])) == {1, 2}  # no window fits the first episode
    now = batch.past[:, -1, 1]
    np.testing.assert_array_equal(
        batch.future[:, :, 1] - now[:, None], np.ones((500, 1)) * np.arange(1, 10)
    )
    # Every start is as likely as another: 21 in the second episode, 3 in the third.
    assert abs((batch.past[:, -1, 0] == 1).mean() - 21 / 24) < 0.05
    assert set(np.unique(now[batch.past[:, -1, 0] == 2])) == {0, 1, 2}


def test_the_goal_is_where_the_progress_says(data):
    batch = hindsight_batch(data, jax.random.key(0), batch_size=500, horizon=9, max_past=4)
    steps = batch.goal[:, 1] - batch.past[:, -1, 1]
    np.testing.assert_array_equal(steps, jnp.round(4 + 5 * batch.progress))
    assert (steps.min(), steps.max()) == (4, 9)
    assert abs(batch.progress.mean() - 0.5) < 0.05


def test_pasts_follow_the_arcsine_law(data):
    batch = hindsight_batch(data, jax.random.key(0), batch_size=4000, horizon=9, max_past=4)
    late = batch.past[:, -1, 1] >= 3  # where no episode's beginning cuts the past
    steps = batch.past[late, :, 1]
    counts = 1 + (jnp.diff(steps, axis=1) == 1).sum(1)
    # 1 + round(3 sin(pi u / 2)) is k for (2 / pi) asin((k - 0.5) / 3) around.
    edges = 2 / np.pi * np.arcsin(np.array([0, 0.5, 1.5, 2.5, 3]) / 3)
    for k in range(4):
        assert abs((counts == k + 1).mean() - (edges[k + 1] - edges[k])) < 0.03
    # What is cut off repeats the oldest.
    np.testing.assert_array_equal(steps[:, 0], steps[:, -1] - (counts - 1))
    first = batch.past[batch.past[:, -1, 1] == 0]
    assert (first == first[:, :1]).all()


def test_transitions(data):
    batch = transition_batch(data, jax.random.key(0), batch_size=1000)
    np.testing.assert_array_equal(batch.following - batch.states, [[0.0, 1.0]] * np.ones((1000, 1)))
    np.testing.assert_array_equal(batch.actions, batch.states[:, 1:])
    pairs = {tuple(map(int, row)) for row in np.asarray(batch.states)}
    assert pairs == {(e, t) for e, n in enumerate(LENGTHS) for t in range(n - 1)}


def test_no_window_fits(data):
    batch = hindsight_batch(data, jax.random.key(0), batch_size=3, horizon=30, max_past=4)
    assert jnp.isnan(batch.future).all()


def test_standard_numbers():
    states = np.stack([np.arange(4.0), np.zeros(4), 10 * np.arange(4.0)], 1)
    data = offline_data(states, np.zeros((4, 1)), np.arange(4) == 3)
    mean, scale = data.standard_numbers(floor=0.1)
    np.testing.assert_allclose(mean, [1.5, 0, 15])
    std = np.arange(4).std()
    np.testing.assert_allclose(scale, [std, 0.55 * std, 10 * std], rtol=1e-6)
    still = offline_data(np.ones((4, 2)), np.zeros((4, 1)), np.arange(4) == 3)
    assert still.standard_numbers()[1].tolist() == [1, 1]


def test_equal_episodes():
    data = from_episodes(jnp.arange(24.0).reshape(2, 4, 3), jnp.ones((2, 3, 1)))
    assert data.states[4].tolist() == [12, 13, 14]
    assert data.actions[:, 0].tolist() == [1, 1, 1, 0] * 2
    with pytest.raises(ValueError, match="states and actions have shapes"):
        from_episodes(jnp.ones((2, 4, 3)), jnp.ones((2, 4, 1)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"observations": np.full((49, 2), np.nan)}, "row 0 that is not finite"),
        ({"actions": np.zeros((48, 1))}, "have shapes"),
        ({"actions": np.zeros(49)}, "have shapes"),
        ({"terminals": np.zeros(49, bool)}, "last row is no terminal"),
        ({"terminals": np.arange(49) % 2 == 0}, "has one state"),
    ],
)
def test_arrays_that_do_not_fit(changes, match, tmp_path):
    with pytest.raises(ValueError, match=f"data.npz: .*{match}"):
        load_offline_data(write(tmp_path / "data.npz", **changes))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_offline_data(tmp_path / "none.npz")
    whole = write(tmp_path / "data.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is damaged"):
            load_offline_data(cut)
    np.savez_compressed(cut, **recorded())
    packed = bytearray(cut.read_bytes())
    for place in range(60, len(packed) // 2, 40):
        packed[place] ^= 0xFF
    cut.write_bytes(packed)
    with pytest.raises(ValueError, match="is damaged"):
        load_offline_data(cut)
    np.savez(tmp_path / "other.npz", observations=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="expected actions, terminals as well"):
        load_offline_data(tmp_path / "other.npz")
    objects = write(tmp_path / "objects.npz", actions=np.array([{}] * 49, object))
    with pytest.raises(ValueError, match=r"objects.npz: .*allow_pickle"):
        load_offline_data(objects)


def test_hindsight_sizes(data, key):
    with pytest.raises(ValueError, match="horizon is 4"):
        hindsight_batch(data, key, batch_size=3, horizon=4, max_past=4)
