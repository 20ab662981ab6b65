import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jplan.envs import _movingai as movingai
from jplan.envs import load_movingai_map, load_movingai_scenarios

MAP = "type octile\nheight 3\nwidth 4\nmap\n.GS@\nOTW.\n....\n"
SCENARIOS = (
    "version 1\n"
    "0\tsmall.map\t4\t3\t0\t0\t3\t1\t3.41421356\n"
    "12\tmaps/two words.map\t4\t3\t3\t2\t0\t2\t3\n"
)


def written(tmp_path, content):
    path = tmp_path / "small.map"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_terrain_and_orientation(tmp_path):
    free = load_movingai_map(written(tmp_path, MAP))
    expected = [[True, True, True, False], [False, False, False, True], [True] * 4]
    np.testing.assert_array_equal(free, expected)
    assert free.dtype == bool


@pytest.mark.parametrize(
    "content",
    [MAP.replace("\n", "\r\n"), MAP.rstrip("\n"), MAP + "\n \n", MAP.replace("ight 3", "ight   3")],
)
def test_line_ends_and_blanks_do_not_matter(tmp_path, content):
    expected = load_movingai_map(written(tmp_path, MAP))
    np.testing.assert_array_equal(load_movingai_map(written(tmp_path, content)), expected)


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        ("", 1, "empty file"),
        ("\n\r\n", 1, "empty file"),
        ("type tile\nheight 1\nwidth 1\nmap\n.\n", 1, "'type tile'"),
        ("type octile\n", 2, "'height'"),
        ("type octile\nheight 3\n", 3, "'width'"),
        ("type octile\nheight 3\nwidth 4\n", 4, "'map'"),
        ("type octile\nwidth 4\nheight 3\nmap\n", 2, "'width 4'"),
        (MAP.replace("height 3", "height -3"), 2, "'height -3'"),
        (MAP.replace("height 3", "height 0"), 2, "positive"),
        (MAP.replace("height 3", "height 3.0"), 2, "'height 3.0'"),
        (MAP.replace("height 3", "height 1_0"), 2, "'height 1_0'"),
        (MAP.replace("height 3", "height " + "9" * 5000), 2, "positive whole number"),
        (MAP.replace("height 3", "height 100000").replace("width 4", "width 100000"), 3, "at most"),
        (MAP.replace("height 3", "height 4"), 8, "3 rows, expected 4"),
        (MAP.replace("height 3", "height 2"), 7, "3 rows, expected 2"),
        (MAP.replace("OTW.", "OTW"), 6, "3 cells, expected 4"),
        (MAP.replace("OTW.", "OTW.."), 6, "5 cells, expected 4"),
        (MAP.replace("OTW.", "OTx."), 6, r"\['x'\]"),
        (MAP.replace("OTW.", "OT\0."), 6, "terrain"),
        (MAP.replace("OTW.", "OTé."), 6, "0xc3"),
        ("\ufeff" + MAP, 1, "0xef"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 1, "0x89"),
    ],
)
def test_bad_maps_name_file_and_line(tmp_path, content, line, match):
    with pytest.raises(ValueError, match=rf"small\.map, line {line}: got .*{match}.*; "):
        load_movingai_map(written(tmp_path, content))


def test_endless_files_are_not_read_to_their_end(tmp_path, monkeypatch):
    monkeypatch.setattr(movingai, "_MAX_BYTES", 20)
    with pytest.raises(ValueError, match="at most 20 bytes"):
        load_movingai_map(written(tmp_path, MAP))


def test_missing_files_stay_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_movingai_map(tmp_path / "none.map")


@given(
    at=st.integers(0, len(MAP)),
    length=st.integers(0, len(MAP)),
    content=st.binary(max_size=60),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("load", [load_movingai_map, load_movingai_scenarios])
def test_damaged_files_raise_nothing_but_value_errors(load, at, length, content):
    valid = (MAP if load is load_movingai_map else SCENARIOS).encode()
    for damaged in (content, valid[:at] + content + valid[at + length :]):
        with tempfile.NamedTemporaryFile() as file:
            file.write(damaged)
            file.flush()
            message = None
            try:
                load(file.name)
            except ValueError as error:
                message = str(error)
            assert message is None or message.startswith(f"{file.name}, line ")


@given(
    rows=st.integers(1, 6).flatmap(
        lambda width: st.lists(st.text(".GS@OTW", min_size=width, max_size=width), min_size=1)
    )
)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(rows):
    text = "\n".join(["type octile", f"height {len(rows)}", f"width {len(rows[0])}", "map", *rows])
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        free = load_movingai_map(file.name)
    np.testing.assert_array_equal(free, [[cell in ".GS" for cell in row] for row in rows])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_scenarios_turn_x_and_y_around(tmp_path, newline):
    scenarios = load_movingai_scenarios(written(tmp_path, SCENARIOS.replace("\n", newline)))
    np.testing.assert_array_equal(scenarios.bucket, [0, 12])
    np.testing.assert_array_equal(scenarios.height, [3, 3])
    np.testing.assert_array_equal(scenarios.width, [4, 4])
    np.testing.assert_array_equal(scenarios.starts, [[0, 0], [2, 3]])
    np.testing.assert_array_equal(scenarios.goals, [[1, 3], [2, 0]])
    np.testing.assert_array_equal(scenarios.optimal_length, [3.41421356, 3.0])
    assert scenarios.optimal_length.dtype == np.float64
    assert scenarios.map_names == ("small.map", "maps/two words.map")


def test_an_empty_list_of_scenarios_has_the_shapes_of_one(tmp_path):
    scenarios = load_movingai_scenarios(written(tmp_path, "version 1.0\n"))
    assert scenarios.starts.shape == (0, 2)
    assert scenarios.optimal_length.shape == (0,)


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        ("", 1, "empty file"),
        (SCENARIOS.replace("version 1", "version 2"), 1, "'version 2'"),
        (SCENARIOS.split("\n", 1)[1], 1, "'version 1'"),
        (SCENARIOS[:-5], 3, "7 columns, expected 9"),
        (SCENARIOS.replace("\t", " "), 2, "1 columns"),
        (SCENARIOS.replace("12\t", "twelve\t"), 3, "'twelve'"),
        (SCENARIOS.replace("12\t", "-12\t"), 3, "'-12'"),
        (SCENARIOS.replace("\t0\t0\t3\t1", "\t1\t3\t3\t1"), 2, "x before y|x comes before y"),
        (SCENARIOS.replace("\t0\t0\t3\t1", "\t0\t0\t4\t1"), 2, "cells inside 4 columns x 3 rows"),
        (SCENARIOS.replace("3.41421356", "nan"), 2, "'nan'"),
        (SCENARIOS.replace("3.41421356", "inf"), 2, "'inf'"),
        (SCENARIOS.replace("3.41421356", "-1"), 2, "'-1'"),
        (SCENARIOS.replace("3.41421356", "1e999"), 2, "finite"),
        (SCENARIOS + "\n" + SCENARIOS.split("\n")[1], 4, "1 columns"),
        (SCENARIOS.replace("two", "zwölf"), 3, "0xc3"),
    ],
)
def test_bad_scenarios_name_file_and_line(tmp_path, content, line, match):
    with pytest.raises(ValueError, match=rf"small\.map, line {line}: got .*({match}).*"):
        load_movingai_scenarios(written(tmp_path, content))
