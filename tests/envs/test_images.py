import io
import struct
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jplan.envs import load_image_map

PIXELS = np.array([[0, 127, 128], [255, 64, 200]], np.uint8)


def encoded(image, suffix="png"):
    stream = io.BytesIO()
    image.save(stream, suffix)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "ppm"])
def test_bright_is_free_in_lossless_formats(tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    Image.fromarray(PIXELS).save(path)
    np.testing.assert_array_equal(load_image_map(path), PIXELS >= 128)


@pytest.mark.parametrize("suffix", ["jpeg", "webp"])
def test_bright_is_free_in_lossy_formats(tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    blocks = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((16, 24), np.uint8))
    Image.fromarray(blocks).save(path)
    np.testing.assert_array_equal(load_image_map(path), blocks > 0)


def test_the_threshold_includes_its_own_level(tmp_path):
    path = tmp_path / "map.png"
    Image.fromarray(PIXELS).save(path)
    for level in (64, 200, 255):
        np.testing.assert_array_equal(load_image_map(path, threshold=level / 255), level <= PIXELS)
    assert load_image_map(path, threshold=0).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_other_modes_count_by_their_brightness(tmp_path, mode):
    path = tmp_path / "map.png"
    black_and_white = np.where(PIXELS >= 128, 255, 0).astype(np.uint8)
    Image.fromarray(black_and_white).convert(mode).save(path)
    np.testing.assert_array_equal(load_image_map(path), PIXELS >= 128)


def test_sixteen_bits_are_not_clipped(tmp_path):
    path = tmp_path / "map.png"
    deep = np.array([[0, 300, 32767], [32768, 65535, 1000]], np.uint16)
    Image.fromarray(deep).save(path)
    np.testing.assert_array_equal(load_image_map(path), deep >= 32768)


def test_floating_point_pixels_are_refused(tmp_path):
    path = tmp_path / "map.tiff"
    Image.fromarray(np.ones((2, 2), np.float32)).save(path)
    with pytest.raises(ValueError, match=r"map\.tiff.*32 bits"):
        load_image_map(path)


def test_absurd_sizes_are_refused_before_they_are_decoded(tmp_path):
    content = bytearray(encoded(Image.fromarray(PIXELS)))
    content[16:24] = struct.pack(">II", 5000, 5000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path = tmp_path / "map.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"map\.png: .*5000 x 5000 pixels"):
        load_image_map(path)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "gif", "tiff", "ppm", "webp"])
def test_truncated_files_are_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)), suffix)
    path = tmp_path / f"map.{suffix}"
    for end in (0, 1, 10, len(content) // 2):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=f"map.{suffix}"):
            load_image_map(path)


def test_readers_outside_the_list_stay_shut(tmp_path):
    path = tmp_path / "map.png"
    path.write_bytes(encoded(Image.fromarray(PIXELS), "pcx"))
    with pytest.raises(ValueError, match=r"map\.png: .*cannot identify"):
        load_image_map(path)


@given(content=st.binary(max_size=200), at=st.integers(0, 150))
@settings(max_examples=150, deadline=None)
def test_damaged_pictures_raise_nothing_but_value_errors(content, at):
    valid = encoded(Image.fromarray(PIXELS))
    for damaged in (content, valid[:at] + content + valid[at + len(content) :]):
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(damaged)
            file.flush()
            message = None
            try:
                load_image_map(file.name)
            except ValueError as error:
                message = str(error)
            assert message is None or file.name in message


@pytest.mark.parametrize("threshold", [-0.1, 128, float("nan")])
def test_the_threshold_is_a_share(tmp_path, threshold):
    with pytest.raises(ValueError, match="got threshold"):
        load_image_map(tmp_path / "unread.png", threshold=threshold)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"jplan\[experiments\]"):
        load_image_map(tmp_path / "unread.png")


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image_map(tmp_path / "none.png")
