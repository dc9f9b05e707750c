"""The modality ``image``: strict, header-only where it may be, right in every pixel format."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageFile

from infimed_core import DataError, Media
from infimed_plugins.image.depth import scale_to_uint8
from infimed_plugins.image.modality import Image

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of, encoded

IMAGE = Image()


def picture(height=24, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_file_and_its_bytes_give_the_same_pixels(tmp_path):
    array = picture()
    data = encoded(array)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert (IMAGE.load(Media(uri=str(path))) == array).all()
    assert (IMAGE.load(Media(data=data)) == array).all()
    assert IMAGE.probe(Media(uri=str(path))) == (24, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_orientation_is_applied_by_probe_and_load_alike(orientation, format):
    top_left_red = np.zeros((16, 48, 3), dtype=np.uint8)
    top_left_red[:8, :16, 0] = 255
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    media = Media(data=encoded(top_left_red, format, exif=exif.tobytes()))
    pixels = IMAGE.load(media)
    assert IMAGE.probe(media) == pixels.shape[:2] == ((48, 16) if orientation >= 5 else (16, 48))
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](top_left_red)
    assert np.abs(pixels.astype(int) - upright).mean() < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_an_error_even_where_another_library_allowed_it(format, share, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(picture(64, 64), format)
    media = Media(data=data[: int(len(data) * share)])
    assert code_of(IMAGE.load, media) == "truncated"


def test_a_file_cut_in_its_header_is_truncated_and_another_is_no_image(tmp_path):
    assert code_of(IMAGE.probe, Media(data=encoded(picture(), "JPEG")[:12])) == "truncated"
    assert code_of(IMAGE.probe, Media(data=b"<html>404</html>")) == "not_an_image"
    assert code_of(IMAGE.probe, Media(data=b"")) == "not_an_image"
    assert code_of(IMAGE.probe, Media(uri=str(tmp_path / "none.png"))) == "missing_file"
    assert code_of(IMAGE.probe, Media(uri=str(tmp_path))) == "unreadable"
    assert code_of(IMAGE.probe, Media()) == "missing_file"


def test_postscript_is_never_handed_to_an_interpreter():
    buffer = BytesIO()
    Pillow.fromarray(picture()).save(buffer, "EPS")
    assert code_of(IMAGE.probe, Media(data=buffer.getvalue())) == "not_an_image"


def png_header(width, height):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 10_000, 12_000, 60_000])
def test_a_bomb_is_refused_from_its_header_without_a_warning(side):
    media = Media(data=png_header(side, side))
    assert code_of(IMAGE.probe, media) == "too_large"
    assert code_of(IMAGE.load, media) == "too_large"


def test_the_pixel_limit_is_a_setting():
    media = Media(data=encoded(picture(20, 20)))
    assert Image(max_pixels=400).probe(media) == (20, 20)
    assert code_of(Image(max_pixels=399).probe, media) == "too_large"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_images_use_the_range_of_their_bit_depth(bits, format):
    top = 2**bits - 1
    values = np.linspace(0, top, 256).round().astype(np.uint16).reshape(16, 16)
    pixels = IMAGE.load(Media(data=encoded(values, format)))
    assert pixels.shape == (16, 16, 3)
    assert (np.abs(pixels[:, :, 0].ravel().astype(int) - np.arange(256)) <= 1).all()


def test_float_images_scale_and_those_that_are_not_finite_are_faults():
    values = np.linspace(-5, 20, 64, dtype=np.float32).reshape(8, 8)
    pixels = IMAGE.load(Media(data=encoded(values, "TIFF")))
    assert pixels.min() == 0 and pixels.max() == 255
    values[0, 0] = np.nan
    assert code_of(IMAGE.load, Media(data=encoded(values, "TIFF"))) == "not_finite"


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
@settings(max_examples=50, deadline=None)
def test_scaling_keeps_the_order_of_values(first, second):
    scaled = scale_to_uint8(np.array([[first, second]], dtype=np.uint16)).ravel().astype(int)
    assert (scaled[0] - scaled[1]) * (first - second) >= 0


def test_transparency_lies_on_black():
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    rgba[:2, :, 3] = 255
    rgba[2:, :, 3] = 51
    pixels = IMAGE.load(Media(data=encoded(rgba)))
    assert (pixels[:2, :, 0] == 200).all() and (pixels[2:, :, 0] == 40).all() and (pixels[..., 1:] == 0).all()
    grey = IMAGE.load(Media(data=encoded(rgba, mode="LA")))
    assert grey.shape == (4, 4, 3) and grey[3, 3, 0] < grey[0, 0, 0]


def test_palette_bilevel_cmyk_and_palette_transparency_become_rgb():
    array = picture(8, 8) // 128 * 255
    assert (IMAGE.load(Media(data=encoded(array, mode="P"))) == array).all()
    bilevel = IMAGE.load(Media(data=encoded(array, mode="1")))
    assert set(np.unique(bilevel)) <= {0, 255} and bilevel.shape == (8, 8, 3)
    assert IMAGE.load(Media(data=encoded(array, "JPEG", mode="CMYK"))).shape == (8, 8, 3)
    palette = Pillow.fromarray(array).convert("P")
    buffer = BytesIO()
    palette.save(buffer, "PNG", transparency=bytes([0] * 256))
    assert (IMAGE.load(Media(data=buffer.getvalue())) == 0).all()


def test_at_most_gives_a_cheaper_jpeg_that_is_still_large_enough():
    media = Media(data=encoded(picture(512, 768), "JPEG"))
    small = IMAGE.load(media, at_most=(100, 100))
    assert small.shape == (128, 192, 3)
    assert IMAGE.probe(media) == (512, 768)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = Media(data=encoded(picture(512, 768), "JPEG", exif=exif.tobytes()))
    assert IMAGE.load(turned, at_most=(300, 100)).shape == (384, 256, 3)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_a_reduced_decode_is_never_smaller_than_asked(height, width, least_height, least_width):
    media = Media(data=encoded(np.zeros((height, width, 3), np.uint8), "JPEG"))
    pixels = IMAGE.load(media, at_most=(least_height, least_width))
    assert pixels.shape[0] >= min(height, least_height) and pixels.shape[1] >= min(width, least_width)


def test_a_frame_of_an_animation_or_stack_can_be_chosen():
    frames = [Pillow.fromarray(picture(8, 10, seed)) for seed in range(3)]
    buffer = BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    data = buffer.getvalue()
    assert (IMAGE.load(Media(data=data, options={"frame": 2})) == np.asarray(frames[2])).all()
    assert (IMAGE.load(Media(data=data)) == np.asarray(frames[0])).all()
    assert code_of(IMAGE.load, Media(data=data, options={"frame": 3})) == "no_such_frame"
    assert code_of(IMAGE.probe, Media(data=data, options={"frame": "x"})) == "no_such_frame"


def test_flipped_bytes_give_pixels_or_a_fault_and_nothing_else():
    rng = np.random.default_rng(7)
    for format in ("PNG", "JPEG", "GIF", "TIFF"):
        good = np.frombuffer(encoded(picture(), format), dtype=np.uint8)
        for _ in range(25):
            bad = good.copy()
            bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
            try:
                assert IMAGE.load(Media(data=bad.tobytes())).dtype == np.uint8
            except DataError as error:
                assert error.code in {"corrupt", "truncated", "not_an_image", "too_large", "unsupported"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x1f\x8b\x08" + bytes(400), "packed by gzip, which is not read as an image; unpack it"),
        (b"BZh9" + bytes(400), "packed by bzip2, which is not read as an image; unpack it"),
        (b"NRRD0004\n", "NRRD, which is not read as an image; convert it to NIfTI"),
        (b"ObjectType = Image\n", "MetaImage, which is not read as an image; convert it to NIfTI"),
        (b"\x93NUMPY\x01\x00", "a NumPy array, which is not read as an image; convert it to PNG or TIFF"),
        (bytes(128) + b"DICM" + bytes(300), "DICOM (its kind is `dicom`), which is not read as an image; give it"),
        (bytes(344) + b"n+1\x00" + bytes(9), "NIfTI (its kind is `nifti`), which is not read as an image; give it"),
    ],
)
def test_what_is_packed_or_of_another_kind_is_named_with_what_to_do(content, told):
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        Image().probe(Media(data=content))
    assert caught.value.code == "unsupported"
