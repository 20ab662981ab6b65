"""Public names: they exist, they are documented, and they change only on purpose.

After a change on purpose, write the list of names anew with ``python tests/test_public_api.py``
and look at the difference.
"""

import ast
import importlib
import inspect
import itertools
import pathlib
import pkgutil
import re

import pytest

import jplan

SNAPSHOT = pathlib.Path(__file__).parent / "reference" / "public_api.txt"

PACKAGES = {"jplan": jplan} | {
    f"jplan.{info.name}": importlib.import_module(f"jplan.{info.name}")
    for info in pkgutil.iter_modules(jplan.__path__)
    if not info.name.startswith("_")
}
NAMES = sorted(
    f"{package}.{name}"
    for package, module in PACKAGES.items()
    for name in getattr(module, "__all__", ())
)

# Results that functions return, which nobody builds by hand, and contracts: their attributes are
# documented, and the examples are those of the functions.
NO_EXAMPLE = {
    "AbstractActionSpace",
    "AbstractAdjoint",
    "AbstractCell",
    "AbstractMapPlanner",
    "AbstractWorldModel",
    "AverageState",
    "BellmanInputs",
    "CubeResults",
    "CubeTasks",
    "DescentEnergy",
    "Episode",
    "GradientReport",
    "HindsightBatch",
    "ImitationBatch",
    "LatentPlan",
    "MDP",
    "MaxPlusInputs",
    "MotionState",
    "MoveCosts",
    "OfflineData",
    "Path",
    "Plan",
    "PlanMeasures",
    "PlannerOutput",
    "PointState",
    "Prediction",
    "Pursuit",
    "Refinement",
    "Rollout",
    "SearchValues",
    "Selection",
    "Solution",
    "TrainState",
    "Trajectories",
    "TransitionBatch",
}


def resolve(path):
    package, name = path.rsplit(".", 1)
    return getattr(PACKAGES[package], name)


def alias_docstring(package, name):
    """The string literal below the assignment of a type alias, found in the package's files."""
    for file in sorted(pathlib.Path(PACKAGES[package].__file__).parent.glob("*.py")):
        body = ast.parse(file.read_text()).body
        for statement, after in itertools.pairwise(body):
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            is_named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if is_named and is_text:
                return after.value.value
    return None


def is_alias(value):
    """Type aliases have no docstring of their own; that of ``A | B`` is ``types.UnionType``'s."""
    return not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)) or (
        hasattr(value, "__origin__")
    )


def has_example(path):
    """A doctest of its own, or "see `name`" of one in the same package that calls it."""
    package, name = path.rsplit(".", 1)
    doc = inspect.getdoc(resolve(path)) or ""
    if re.search(r"^Example:\n(.*\n)*?\s+>>> ", doc, re.MULTILINE):
        return True
    see = re.search(r"^Example: see `(\w+)`", doc, re.MULTILINE)
    if see is None or see[1] not in PACKAGES[package].__all__:
        return False
    other = inspect.getdoc(resolve(f"{package}.{see[1]}")) or ""
    return re.search(rf"(>>>|\.\.\.) .*\b{name}\(", other) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_what_is_public(package):
    module = PACKAGES[package]
    assert module.__doc__, f"{package} has no docstring"
    assert hasattr(module, "__all__"), f"{package} has no __all__"
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []
    assert [name for name in module.__all__ if name.startswith("_") and name != "__version__"] == []


def own_names():
    return [path for path in NAMES if not inspect.ismodule(resolve(path))]


@pytest.mark.parametrize("path", own_names())
def test_name_is_documented(path):
    name = path.rsplit(".", 1)[1]
    value = resolve(path)
    if name == "__version__":
        return
    if is_alias(value):
        homes = [p for p in PACKAGES if alias_docstring(p, name)]
        assert homes, f"the alias {path} has no docstring below its assignment"
        return
    doc = value.__doc__
    assert doc, f"{path} has no docstring"
    lines = inspect.cleandoc(doc).splitlines()
    first = lines[0]
    assert first.endswith("."), f"{path}: the first line is no sentence: {first!r}"
    assert not first.startswith(f"{name}("), f"{path} has the docstring that dataclass made"
    assert len(lines) == 1 or lines[1] == "", f"{path}: the summary is longer than one line"
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    if not is_error and name not in NO_EXAMPLE:
        assert has_example(path), f"{path} has no doctest under 'Example:'"


def test_exceptions_are_still_needed():
    """Once a name has an example, or is gone, it leaves the list."""
    public = {path.rsplit(".", 1)[1]: path for path in NAMES if path.count(".") == 2}
    assert sorted(NO_EXAMPLE - public.keys()) == []
    assert [name for name in sorted(NO_EXAMPLE) if has_example(public[name])] == []


def test_one_public_path_a_name():
    """Headline names are those of the sub-packages, and no two sub-packages share one."""
    homes: dict[str, list[str]] = {}
    for path in NAMES:
        package, name = path.rsplit(".", 1)
        if package != "jplan":
            homes.setdefault(name, []).append(path)
    assert [paths for paths in homes.values() if len(paths) > 1] == []
    for name in getattr(jplan, "__all__", ()):
        value = getattr(jplan, name)
        if name != "__version__" and not inspect.ismodule(value):
            assert name in homes, f"jplan.{name} is in no sub-package's __all__"
            assert resolve(homes[name][0]) is value


def test_public_names_are_those_of_the_snapshot():
    recorded = SNAPSHOT.read_text().splitlines()
    added = sorted(set(NAMES) - set(recorded))
    removed = sorted(set(recorded) - set(NAMES))
    assert (added, removed) == ([], []), (
        "public names changed (added, removed); if on purpose, run "
        "python tests/test_public_api.py, and write it in the changelog"
    )
    assert recorded == NAMES


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("One.\n\nExample:\n  >>> plot_map(1)\n", True),
        ("One.\n\nExample:\n  plot_map(1)\n", False),
        ("One.\n\n>>> plot_map(1)\n", False),
        ("One.\n\nExample: see `save_figure`.\n", True),
        ("One.\n\nExample: see `plot_curves`.\n", False),
        ("One.\n\nExample: see `nothing`.\n", False),
        (None, False),
    ],
)
def test_examples_are_told_from_their_absence(doc, expected, monkeypatch):
    monkeypatch.setattr(PACKAGES["jplan.viz"].plot_map, "__doc__", doc)
    assert has_example("jplan.viz.plot_map") is expected


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text("".join(f"{name}\n" for name in NAMES))
