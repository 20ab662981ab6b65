"""The notebooks that are shipped show what their scripts compute."""

import json
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_its_script_run_from_top_to_bottom_with_all_its_figures(path):
    script = path.with_suffix(".py").read_text()
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        source = "".join(cell["source"])
        assert source in script
        outputs = cell["outputs"]
        assert not any(output["output_type"] == "error" for output in outputs)
        pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        assert pictures == source.count("plt.show()"), source


def test_every_notebook_is_here():
    assert {p.stem for p in FOLDER.glob("*.ipynb")} == {p.stem for p in FOLDER.glob("*.py")}
