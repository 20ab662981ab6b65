import csv

import numpy as np
import pytest

from jplan.training import write_table


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_values_are_kept(tmp_path, capsys):
    path = tmp_path / "new" / "table.csv"
    rows = write_table([{"a": 3e-6, "b": True, "c": np.float32(1 / 3), "d": "x", "e": 7}], path)
    assert rows == [{"a": 3e-6, "b": True, "c": 0.33333, "d": "x", "e": 7}]
    assert read(path) == [{"a": "3e-06", "b": "True", "c": "0.33333", "d": "x", "e": "7"}]
    assert capsys.readouterr().out == "a 3e-06  b True  c 0.33333  d x  e 7\n"


def test_what_came_before_a_failure_is_there(tmp_path):
    def measure():
        yield {"a": 1}
        yield {"a": 2, "b": 5}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(measure(), tmp_path / "table.csv")
    assert read(tmp_path / "table.csv") == [{"a": "1", "b": ""}, {"a": "2", "b": "5"}]
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
