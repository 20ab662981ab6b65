"""The README's example runs as it stands."""

import pathlib
import re

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("[")
    assert "nan" not in first
    assert second.startswith("True ")


def test_the_gate_runs_the_two_commands():
    """Letter for letter, but for what the gate adds: quiet, smoke, output elsewhere."""
    gate = (pathlib.Path(__file__).parents[1] / ".ci" / "run").read_text()
    gate = re.sub(r" --(quiet|no-compile|smoke)| --out \S+", "", gate)
    commands = re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL)
    assert len(commands) == 2
    for command in commands:
        for part in command.split(" && "):
            assert f"\n{part}\n" in gate
