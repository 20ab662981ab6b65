"""The one-way order of DESIGN section 2, read from the import statements."""

import ast
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

import jplan

ROOT = pathlib.Path(jplan.__file__).parent

# What each part of jplan may read besides itself.
_MAY_READ: dict[str, set[str]] = {"_typing": set(), "_checks": set(), "_batches": {"_typing"}}
_MAY_READ["_initial"] = {"_typing"}
_MAY_READ["_npz"] = set()
_MAY_READ["_weigh"] = {"_typing"}
_MAY_READ["relax"] = _MAY_READ["fixed_points"] = {"_typing"}
_MAY_READ["descent"] = {"_typing", "_batches", "_weigh", "relax", "fixed_points"}
_MAY_READ["mdp"] = _MAY_READ["descent"] | {"descent"}
_MAY_READ["envs"] = _MAY_READ["mdp"] | {"mdp", "_npz"}
_MAY_READ["nn"] = _MAY_READ["envs"] | {"_checks", "_initial"}
_MAY_READ["planners"] = _MAY_READ["nn"] | {"_batches", "envs", "nn"}
_MAY_READ["training"] = _MAY_READ["planners"] | {"planners"}
# The two that may read anything; nothing but the package itself, which names its parts, reads them.
_MAY_READ["viz"] = _MAY_READ["testing"] = _MAY_READ["training"] | {"training"}
_MAY_READ["__init__"] = _MAY_READ["viz"] | {"viz", "testing"}

# Files that serve several packages, so their names are private to jplan only.
_SHARED = {"_typing", "_checks", "_batches", "_initial", "_npz", "_weigh"}

_READ_NNX = {"_initial", "nn", "planners", "training"}
# Heavy or narrow packages: who may import them, and only when a function needs them.
_LATE = {
    "matplotlib": {"viz", "envs"},
    "PIL": {"envs"},
    "orbax": {"training"},
    "mctx": {"planners"},
    "e3nn_jax": {"nn"},
    "ogbench": {"envs"},
    "mujoco": {"envs"},
    "gymnasium": {"envs"},
    "gymnax": {"envs"},
}
# What may be imported anywhere: the declared dependencies that are cheap to load.
_ALWAYS = {"jax", "numpy", "flax", "optax", "chex"}
# Light, and loaded by flax in any case, so late or not.
_WITH_FLAX = {"rich": {"training", "envs"}}


class Import(NamedTuple):
    line: int
    module: str  # absolute: "jplan.mdp._grid"
    name: str | None  # X of "from module import X"
    is_late: bool  # inside a function, or for the type checker only


def read_imports(source: str, package: str) -> list[Import]:
    """All import statements of a file of `package`, such as "jplan.mdp"."""
    found: list[Import] = []

    def visit(node: ast.AST, is_late: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(node.lineno, alias.name, None, is_late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found.extend(Import(node.lineno, module, a.name, is_late) for a in node.names)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, is_late or is_function or is_for_types)

    visit(ast.parse(source), False)
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def violations(path: str, source: str) -> list[str]:
    """What the file at `path`, relative to jplan/, does against the rules."""
    pieces = pathlib.PurePosixPath(path).parts
    part = pieces[0] if len(pieces) > 1 else pathlib.PurePosixPath(path).stem
    package = ".".join(["jplan", *pieces[:-1]])
    if part not in _MAY_READ:
        return [f"{path}: {part} has no place in the order of imports; give it one in DESIGN"]
    told = []
    for line, module, name, is_late in read_imports(source, package):
        words = module.split(".") + ([name] if name else [])
        say = lambda text, line=line, words=words: told.append(
            f"{path}:{line}: {part} imports {'.'.join(words)}: {text}"
        )
        if words[0] == "jplan":
            target = words[1] if len(words) > 1 else "__init__"
            if target != part and target not in _MAY_READ[part]:
                say("against the order of imports")
            if target not in {part, *_SHARED} and any(map(is_private, words)):
                say("private to another package of jplan")
            continue
        if any(map(is_private, words)):
            say("private to another project")
        if words[0] in _LATE:
            if part not in _LATE[words[0]]:
                say(f"only {sorted(_LATE[words[0]])} may")
            elif not is_late:
                say("import it inside the function that needs it")
        elif words[0] in _WITH_FLAX:
            if part not in _WITH_FLAX[words[0]]:
                say(f"only {sorted(_WITH_FLAX[words[0]])} may")
        elif words[0] not in _ALWAYS and words[0] not in sys.stdlib_module_names:
            say("not a dependency of jplan")
        if words[0] == "flax":
            allowed = {"struct", "nnx"} if part in _READ_NNX else {"struct"}
            if len(words) < 2 or words[1] not in allowed:
                say(f"of flax, only {sorted(allowed)} here")
    return told


FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


@pytest.mark.parametrize("name", FILES)
def test_file_keeps_the_rules(name):
    assert violations(name, FILES[name].read_text()) == []


def test_all_files_were_read():
    assert {"_typing.py", "__init__.py", "fixed_points/_driver.py", "viz/_map.py"} <= FILES.keys()


def test_one_file_imports_orbax():
    importing = {
        name
        for name, path in FILES.items()
        for found in read_imports(path.read_text(), "jplan")
        if found.module.split(".")[0] == "orbax"
    }
    assert importing <= {"training/_checkpoint.py"}


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("relax/_a.py", "from jplan.fixed_points import Picard", "order of imports"),
        ("relax/_a.py", "from jplan import mdp", "order of imports"),
        ("mdp/_a.py", "import jplan.envs as e", "order of imports"),
        ("mdp/_a.py", "def f():\n  from jplan.envs import maze", "order of imports"),
        ("mdp/_a.py", "from .. import planners", "order of imports"),
        ("mdp/_a.py", "from ..envs import maze", "order of imports"),
        ("mdp/_a.py", "import jplan", "order of imports"),
        ("envs/_a.py", "from jplan.nn import solve_cell", "order of imports"),
        ("nn/_a.py", "from jplan.planners import ConvGPPN", "order of imports"),
        ("training/_a.py", "from jplan.viz import plot_map", "order of imports"),
        ("testing/_a.py", "import jplan.viz", "order of imports"),
        ("viz/_a.py", "from jplan import testing", "order of imports"),
        ("training/_a.py", "from jplan import testing", "order of imports"),
        ("_typing.py", "from jplan.mdp import MDP", "order of imports"),
        ("novel/_a.py", "import jax", "no place"),
        ("mdp/_a.py", "from jplan.fixed_points._driver import fixed_point", "another package"),
        ("mdp/_a.py", "from jplan.relax import _simplex", "another package"),
        ("__init__.py", "from jplan.mdp._grid import GridMDP", "another package"),
        ("mdp/_a.py", "from jax._src import core", "another project"),
        ("mdp/_a.py", "import jax._src.core", "another project"),
        ("mdp/_a.py", "from jax import _src", "another project"),
        ("mdp/_a.py", "from flax import nnx", "of flax, only"),
        ("mdp/_a.py", "import flax", "of flax, only"),
        ("viz/_a.py", "import flax.nnx as nnx", "of flax, only"),
        ("nn/_a.py", "from flax import linen", "of flax, only"),
        ("viz/_a.py", "from matplotlib import pyplot", "inside the function"),
        ("viz/_a.py", "class A:\n  import matplotlib", "inside the function"),
        ("viz/_a.py", "try:\n  import matplotlib\nexcept ImportError: pass", "inside the function"),
        ("mdp/_a.py", "def f():\n  import matplotlib", "only ['envs', 'viz'] may"),
        ("nn/_a.py", "def f():\n  import mctx", "only ['planners'] may"),
        ("planners/_a.py", "import mctx", "inside the function"),
        ("planners/_a.py", "def f():\n  import orbax.checkpoint", "only ['training'] may"),
        ("training/_a.py", "import orbax.checkpoint", "inside the function"),
        ("mdp/_a.py", "import jaxopt", "not a dependency"),
        ("mdp/_a.py", "def f():\n  import jraph", "not a dependency"),
        ("mdp/_a.py", "import scipy.sparse", "not a dependency"),
        ("nn/_a.py", "import haiku", "not a dependency"),
        ("mdp/_a.py", "from rich import progress", "only ['envs', 'training'] may"),
    ],
)
def test_the_rules_bite(path, source, message):
    told = violations(path, source)
    assert len(told) == 1
    assert message in told[0]
    assert told[0].startswith(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mdp/_a.py", "from __future__ import annotations\nimport jplan.fixed_points"),
        ("mdp/_a.py", "from jplan._typing import Array\nfrom jplan.mdp._grid import GridMDP"),
        ("mdp/_a.py", "from ._grid import GridMDP\nfrom flax import struct\nimport flax.struct"),
        ("planners/_a.py", "def f():\n  import mctx\nfrom jplan import envs, nn, relax"),
        ("envs/_a.py", "if TYPE_CHECKING:\n  from PIL import Image"),
        ("viz/_a.py", "from jplan import training\nasync def f():\n  import matplotlib"),
        ("__init__.py", "from jplan import training, mdp\nfrom jplan.mdp import GridMDP"),
    ],
)
def test_the_rules_let_good_code_pass(path, source):
    assert violations(path, source) == []


def test_import_jplan_loads_nothing_heavy():
    heavy = {"scipy", "jaxopt", "jraph", "haiku", "equinox", *_LATE}
    code = "import sys, jplan; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    loaded = set(run.stdout.split())
    assert "jplan" in loaded
    assert loaded & heavy == set()


def test_import_of_viz_and_testing_loads_nothing_heavy():
    code = (
        "import sys, jplan.viz, jplan.testing; "
        "print(*{name.split('.')[0] for name in sys.modules} & {'matplotlib', 'scipy', 'pytest'})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.split() == []
