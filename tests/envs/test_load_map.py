import numpy as np
import pytest
from PIL import Image

from jplan.envs import load_map


@pytest.mark.parametrize("name", ["small.map", "SMALL.MAP"])
def test_movingai_maps_by_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_text("type octile\nheight 1\nwidth 3\nmap\n.@G\n")
    np.testing.assert_array_equal(load_map(str(path)), [[True, False, True]])


@pytest.mark.parametrize("name", ["small.png", "small.BMP", "small.pgm"])
def test_pictures_by_suffix(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.array([[255, 0]], np.uint8)).save(path)
    np.testing.assert_array_equal(load_map(path), [[True, False]])


@pytest.mark.parametrize("name", ["small.map.scen", "small.npz", "small", "png"])
def test_other_suffixes_get_the_list_of_what_is_supported(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.map \(MovingAI\).*\.png .*\.webp"):
        load_map(tmp_path / name)
