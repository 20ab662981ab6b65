import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import planners, training


def planner(seed=0):
    return planners.ConvGPPN(
        4,
        2,
        hidden=4,
        max_steps=9,
        adjoint=jp.Safeguarded(steps=3, backward=jp.GMRES(tol=1e-4)),
        solver=jp.Anderson(tol=1e-3, max_steps=9),
        rngs=nnx.Rngs(seed),
    )


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_loaded_planner_is_the_saved_one(tmp_path):
    saved = planner(1)
    training.save(tmp_path / "planner", saved)
    loaded = training.load(tmp_path / "planner")
    assert loaded.configuration() == saved.configuration()
    maps = jnp.ones((2, 5, 5, 2))
    np.testing.assert_array_equal(loaded(maps), saved(maps))


def test_a_planner_by_descent_is_loaded_without_its_data(tmp_path):
    sizes = {"horizon": 6, "max_past": 2, "width": 4, "network_hidden": 8, "hidden": 8, "heads": 2}
    saved = planners.DescentPlanner(
        *(2, 1), **sizes, layers=1, mean=[1.0, 2.0], scale=[0.5, 2.0], rngs=nnx.Rngs(3)
    )
    training.save(tmp_path / "planner", saved)
    loaded = training.load(tmp_path / "planner")
    assert loaded.configuration() == saved.configuration()
    past, goal = jnp.ones((2, 2)), jnp.zeros(2)
    plans = [one.plan(past, goal, jax.random.key(0), candidates=3) for one in (saved, loaded)]
    chex.assert_trees_all_equal(*plans)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_parameters_keep_their_dtype(tmp_path, dtype, x64):
    graphdef, state = nnx.split(planner(1))
    saved = nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf.astype(dtype), state))
    training.save(tmp_path / "planner", saved)
    states = [
        nnx.to_pure_dict(nnx.state(one)) for one in (saved, training.load(tmp_path / "planner"))
    ]
    chex.assert_trees_all_equal_dtypes(*states)
    chex.assert_trees_all_equal(*states)


def test_saving_again_replaces(tmp_path):
    for seed in (1, 2):
        training.save(tmp_path / "planner", planner(seed))
    maps = jnp.ones((1, 5, 5, 2))
    np.testing.assert_array_equal(training.load(tmp_path / "planner")(maps), planner(2)(maps))


@pytest.mark.parametrize("damage", ["truncate", "garbage", "remove"])
def test_a_damaged_planner_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "planner"
    training.save(path, planner())
    for file in files_of(path):
        if damage == "truncate":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        elif damage == "garbage":
            file.write_bytes(b"\x00\xff garbage" * 30)
        else:
            file.unlink()
    with pytest.raises(ValueError, match=str(path)):
        training.load(path)


def test_an_interrupted_save_leaves_the_old_planner(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    path = tmp_path / "planner"
    training.save(path, planner(1))

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ocp.Checkpointer, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.save(path, planner(2))
    maps = jnp.ones((1, 5, 5, 2))
    np.testing.assert_array_equal(training.load(path)(maps), planner(1)(maps))
    path.rename(tmp_path / "planner.old")  # killed between the two renames
    np.testing.assert_array_equal(training.load(path)(maps), planner(1)(maps))


def test_a_directory_that_is_no_checkpoint_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="no checkpoint"):
        training.save(tmp_path, planner())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_planner_that_could_not_be_rebuilt_is_refused(tmp_path):
    class Other(nnx.Module):
        def __call__(self, inputs):
            return inputs

    swapped = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
    swapped.mapper = Other()
    changed = planners.MaxPlusVIN(4, 2, rngs=nnx.Rngs(0))
    changed.cell.threshold = 6.0
    for number, odd in enumerate((swapped, changed)):
        with pytest.raises(ValueError, match="changed after construction"):
            training.save(tmp_path / str(number), odd)
    assert changed.hardened().cell.threshold == 6.0


def test_numbers_of_numpy_and_jax_are_plain_in_the_file(tmp_path):
    solver = jp.Picard(tol=np.float32(1e-3), max_steps=7)
    saved = planners.ConvGPPN(4, 2, hidden=4, solver=solver, rngs=nnx.Rngs(0))
    training.save(tmp_path / "planner", saved)
    assert training.load(tmp_path / "planner").solver == saved.solver


def test_a_missing_planner_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        training.load(tmp_path / "nowhere")


def test_a_header_cannot_name_anything_but_planners(tmp_path):
    training.save(tmp_path / "planner", planner())
    [header] = [path for path in files_of(tmp_path) if b"ConvGPPN" in path.read_bytes()]
    header.write_bytes(header.read_bytes().replace(b'"ConvGPPN"', b'"annotations"'))
    with pytest.raises(ValueError, match="unknown planner"):
        training.load(tmp_path / "planner")


def test_other_modules_are_refused_with_advice(tmp_path):
    class Own(planners.AbstractMapPlanner):
        def solve(self, maps, *, num_steps=None):
            raise NotImplementedError

    with pytest.raises(ValueError, match="CheckpointFolder"):
        training.save(tmp_path / "own", Own())


def test_keys_and_steps_survive(tmp_path):
    folder = training.CheckpointFolder(tmp_path)
    state = {"key": jax.random.key(3), "step": jnp.asarray(4), "x": jnp.arange(3.0)}
    folder.save(4, state)
    like = {"key": jax.random.key(0), "step": jnp.asarray(0), "x": jnp.zeros(3)}
    restored = training.CheckpointFolder(tmp_path).restore(like)
    assert (
        jax.random.key_data(restored["key"]).tolist() == jax.random.key_data(state["key"]).tolist()
    )
    assert int(restored["step"]) == 4
    np.testing.assert_array_equal(restored["x"], state["x"])


def test_a_damaged_newest_checkpoint_leaves_the_older_one_usable(tmp_path):
    folder = training.CheckpointFolder(tmp_path)
    for step in (1, 2):
        folder.save(step, {"x": jnp.full(3, float(step))})
    for file in files_of(tmp_path / "2"):
        file.write_bytes(b"garbage")
    like = {"x": jnp.zeros(3)}
    with pytest.raises(ValueError, match=r"Older checkpoints: \[1\]"):
        training.CheckpointFolder(tmp_path).restore(like)
    for file in sorted((tmp_path / "2").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (tmp_path / "2").rmdir()
    np.testing.assert_array_equal(training.CheckpointFolder(tmp_path).restore(like)["x"], 1)


def test_an_empty_folder_says_so(tmp_path):
    folder = training.CheckpointFolder(tmp_path)
    assert folder.latest_step() is None
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        folder.restore({"x": jnp.zeros(3)})
