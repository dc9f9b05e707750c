"""The modality ``image`` over depths, planes, extras and damage: right pixels, or a code that names the cause."""

from __future__ import annotations

import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import PngImagePlugin

from infimed_core import DataError, Media
from infimed_plugins.image.formats import sniff
from infimed_plugins.image.modality import Image

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of, encoded

IMAGE = Image()
RANDOM = np.random.default_rng(0)


def load(data, **options):
    return IMAGE.load(Media(data=data, options=options)).astype(int)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png16(samples, extra=b""):
    """A 16-bit PNG of [h, w] or [h, w, channels] samples."""
    height, width = samples.shape[:2]
    colour = {2: 0}.get(samples.ndim, {2: 4, 3: 2, 4: 6}.get(samples.shape[-1]))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(array, **options):
    buffer = BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def eight_bits(values, top):
    return values.astype(float) * 255 / top


def deep(bits, channels=3):
    values = RANDOM.integers(0, 2**bits, (20, 30, channels)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    return values


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colours_and_transparency_of_any_depth_keep_their_depth_in_png(bits):
    colours, top = deep(bits), 2.0**bits - 1
    alpha = RANDOM.integers(0, 2**16, (20, 30, 1)).astype(np.uint16)
    alpha[0, 0] = 2**16 - 1
    share = alpha / 65535.0
    assert np.abs(load(png16(colours)) - eight_bits(colours, top)).max() <= 0.51
    shown = load(png16(np.concatenate([colours, alpha], axis=-1)))
    assert np.abs(shown - eight_bits(colours, top) * share).max() <= 0.51
    grey = colours[..., :1]
    assert np.abs(load(png16(np.concatenate([grey, alpha], axis=-1))) - eight_bits(grey, top) * share).max() <= 0.51


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_that_a_deep_png_calls_clear_is_black(channels):
    values = deep(12, channels)
    values[5, 5] = 4000
    key = chunk(b"tRNS", struct.pack(">H", 4000) * channels)
    shown = load(png16(values[..., 0] if channels == 1 else values, extra=key))
    assert (shown[5, 5] == 0).all() and (shown[0, 0] == 255).all()
    clear = (values == 4000).all(axis=-1, keepdims=True)
    assert np.abs(shown - np.where(clear, 0, eight_bits(values, 4095))).max() <= 0.51


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("layout", ["contig", "separate", "tiled"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colours_of_any_depth_layout_and_compression_keep_their_depth_in_tiff(bits, layout, compression):
    colours = deep(bits) if bits > 8 else deep(8).astype(np.uint8)
    stored = colours.transpose(2, 0, 1) if layout == "separate" else colours
    options = {"tile": (16, 16)} if layout == "tiled" else {}
    planar = "separate" if layout == "separate" else "contig"
    data = tiff(stored, photometric="rgb", planarconfig=planar, compression=compression, **options)
    assert np.abs(load(data) - eight_bits(colours, 2**bits - 1)).max() <= 0.51
    assert IMAGE.probe(Media(data=data)) == (20, 30)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_the_fourth_channel_of_a_tiff_counts_where_it_is_said_to_be_transparency(kind):
    colours, alpha = deep(16), RANDOM.integers(0, 2**16, (20, 30, 1)).astype(np.uint16)
    alpha[0, 0] = 65535
    data = tiff(np.concatenate([colours, alpha], axis=-1), photometric="rgb", extrasamples=[kind])
    share = alpha / 65535 if kind == "unassalpha" else 1.0
    assert np.abs(load(data) - colours * share / 257).max() <= 0.51


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32"])
def test_min_is_white_is_inverted_in_every_number_type(dtype):
    values = np.arange(256).reshape(16, 16).astype(dtype)
    usual, inverted = tiff(values), tiff(values, photometric="miniswhite")
    assert (load(usual) + load(inverted) == 255).all() and load(inverted)[0, 0, 0] == 255


@pytest.mark.parametrize("bits", [10, 12, 16, 20, 24, 32])
def test_a_32_bit_tiff_uses_the_range_of_its_bit_depth(bits):
    values = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint32).reshape(16, 16)
    assert (np.abs(load(tiff(values))[..., 0].ravel() - np.arange(256)) <= 1).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_negative_numbers_and_fractions_run_from_the_least_to_the_greatest(dtype, compression):
    values = np.linspace(-100, 100, 201).round().astype(dtype).reshape(3, 67)
    expected = (values.astype(float) + 100) * 255 / 200
    assert np.abs(load(tiff(values, compression=compression))[..., 0] - expected).max() <= 0.51


def test_shares_from_0_to_1_are_shown_as_they_are():
    values = np.linspace(0.25, 0.75, 64).reshape(8, 8)
    for dtype in ("float32", "float64"):
        assert np.abs(load(tiff(values.astype(dtype)))[..., 0] - values * 255).max() <= 0.51
    assert load(tiff(np.ones((8, 8)))).min() == 255


def test_packed_samples_of_12_bits_are_read():
    values = deep(12)[..., 0]
    wide = np.zeros((*values.shape, 12), np.uint8)
    for bit in range(12):
        wide[..., bit] = values >> (11 - bit) & 1
    data = tiff(np.packbits(wide.reshape(20, -1), axis=1)[:, :45])
    with tifffile.TiffFile(BytesIO(data)) as file:
        places = {name: file.pages[0].tags[name].valueoffset for name in ("ImageWidth", "BitsPerSample")}
    data = bytearray(data)
    struct.pack_into("<H", data, places["ImageWidth"], 30)
    struct.pack_into("<H", data, places["BitsPerSample"], 12)
    assert np.abs(load(bytes(data))[..., 0] - eight_bits(values, 4095)).max() <= 0.51


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_as_a_shallow_one(orientation):
    colours = (deep(8) // 128 * 255).astype(np.uint16)
    tags = [(274, "H", 1, orientation, True)]
    shallow = tiff(colours.astype(np.uint8), photometric="rgb", extratags=tags)
    data = tiff(colours * 257, photometric="rgb", extratags=tags)
    assert (load(data) == load(shallow)).all()
    assert IMAGE.probe(Media(data=data)) == IMAGE.probe(Media(data=shallow)) == load(data).shape[:2]


def test_a_page_of_a_deep_stack_is_chosen_by_frame():
    stack = RANDOM.integers(0, 4096, (3, 10, 12)).astype(np.uint16)
    data = tiff(stack, photometric="minisblack")
    for frame in range(3):
        top = 2 ** int(stack[frame].max()).bit_length() - 1
        assert np.abs(load(data, frame=frame)[..., 0] - eight_bits(stack[frame], top)).max() <= 0.51
    assert code_of(IMAGE.probe, Media(data=data, options={"frame": 3})) == "no_such_frame"


PICTURE = RANDOM.integers(0, 256, (64, 64, 3)).astype(np.uint8)


def with_chunk(name, body, at=33, spoil=0):
    data = encoded(PICTURE)
    made = bytearray(chunk(name, body))
    made[-1] ^= spoil
    return data[:at] + bytes(made) + data[at:]


@pytest.mark.parametrize("compressed", [False, True])
def test_long_remarks_and_profiles_cost_no_picture(compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * 3_000_000, zip=compressed)
    assert (load(encoded(PICTURE, pnginfo=info)) == PICTURE).all()
    info = PngImagePlugin.PngInfo()
    info.add_itxt("note", "y" * 3_000_000, zip=compressed)
    assert (load(encoded(PICTURE, pnginfo=info)) == PICTURE).all()
    profile = with_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000)))
    assert (load(profile) == PICTURE).all() and IMAGE.probe(Media(data=profile)) == (64, 64)


@pytest.mark.parametrize("name", [b"pHYs", b"tEXt", b"gAMA", b"eXIf", b"tIME", b"iCCP"])
def test_a_wrong_checksum_of_an_extra_costs_the_extra(name):
    data = with_chunk(name, bytes(9), spoil=0xFF)
    assert (load(data) == PICTURE).all() and IMAGE.probe(Media(data=data)) == (64, 64)


def test_a_wrong_checksum_of_the_pixels_is_corrupt_and_a_missing_end_is_truncated():
    data = encoded(PICTURE)
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    spoilt = bytearray(data)
    spoilt[at + 4 + length] ^= 1
    assert code_of(IMAGE.load, Media(data=bytes(spoilt))) == "corrupt"
    assert code_of(IMAGE.load, Media(data=data[:-12])) == "truncated"
    assert code_of(IMAGE.load, Media(data=data.replace(b"\r\n", b"\n"))) == "corrupt"
    assert code_of(IMAGE.load, Media(data=with_chunk(b"CgBI", b"\0"))) == "unsupported"


def test_a_remark_that_holds_the_orientation_counts_and_a_bomb_in_its_place_does_not():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    raw = b"\nexif\n%8d\n" % len(exif.tobytes()) + exif.tobytes().hex().encode()
    wide = RANDOM.integers(0, 256, (20, 40, 3)).astype(np.uint8)
    data = encoded(wide)
    turned = data[:33] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)) + data[33:]
    assert IMAGE.probe(Media(data=turned)) == load(turned).shape[:2] == (40, 20)
    bomb = data[:33] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(10_000_000))) + data[33:]
    assert IMAGE.probe(Media(data=bomb)) == load(bomb).shape[:2] == (20, 40)


def test_avif_is_read_and_a_cut_one_is_truncated():
    if sniff(encoded(PICTURE, "AVIF")[:64]) != "AVIF":
        pytest.skip("Pillow without AVIF")
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    data = encoded(np.stack([smooth] * 3, axis=-1), "AVIF", quality=95)
    assert np.abs(load(data)[..., 0] - smooth).max() <= 6 and IMAGE.probe(Media(data=data)) == (64, 64)
    for share in (0.3, 0.7, 0.95):
        assert code_of(IMAGE.load, Media(data=data[: int(len(data) * share)])) == "truncated"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("container", ["jp2", "j2k"])
def test_jpeg_2000_keeps_the_brightest_of_any_depth(bits, channels, container):
    values = deep(bits, channels).astype(np.uint8 if bits == 8 else np.uint16)
    stored = values[..., 0] if channels == 1 else values
    data = imagecodecs.jpeg2k_encode(stored, bitspersample=bits, level=0, codecformat=container)
    assert np.abs(load(data) - eight_bits(values, 2**bits - 1)).max() <= 1


def test_a_jpeg_2000_stream_of_another_size_than_its_header_is_refused_before_it_is_decoded(monkeypatch):
    data = bytearray(encoded(PICTURE, "JPEG2000"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = struct.pack(">LL", 60000, 60000)
    monkeypatch.setattr("PIL.Image.Image.load", lambda *_: pytest.fail("it was decoded"))
    assert code_of(IMAGE.load, Media(data=bytes(data))) == "corrupt"


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("format", ["JPEG2000", "TIFF", "JPEG", "PNG", "BMP", "WEBP"])
def test_whatever_is_cut_is_truncated(format, share):
    data = encoded(PICTURE, format)
    assert code_of(IMAGE.load, Media(data=data[: max(20, int(len(data) * share))])) == "truncated"


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("array", [deep(12), np.ones((20, 30)), deep(16)[..., 0].astype(np.int32)])
def test_a_deep_tiff_that_is_cut_is_truncated(array, share):
    for options in ({}, {"compression": "zlib"}):
        data = tiff(np.asarray(array), **options, photometric="rgb" if array.ndim == 3 else "minisblack")
        assert code_of(IMAGE.load, Media(data=data[: int(len(data) * share)])) == "truncated"


def jpeg_of(marker, bits):
    data = bytearray(encoded(PICTURE, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        tiff(np.ones((8, 8), np.complex64)),
        tiff(np.zeros((2, 8, 8), np.uint16), planarconfig="separate", photometric="minisblack", extrasamples=[0]),
        jpeg_of(0xC3, 8),
        jpeg_of(0xC1, 12),
        imagecodecs.jpegls_encode(np.full((8, 8), 7, np.uint8)),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        b"\xff\x0a" + bytes(64),
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'></svg>",
        bytes(128) + b"DICM" + bytes(64),
    ],
)
def test_a_whole_file_of_a_kind_that_is_not_read_is_unsupported(data):
    assert code_of(IMAGE.load, Media(data=data)) == "unsupported"


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF" + struct.pack("<I", 48) + b"WAVEfmt " + bytes(40),
        b"RIFF" + struct.pack("<I", 48) + b"AVI LIST" + bytes(40),
        b"BMI of the patient was 31, a little over what is usual for that age.",
        b"P3 was the finding of the third protocol"[1:],
        b"GIFT for the department",
        b"II was the grade of the tumour",
        b"%PDF-1.7",
    ],
)
def test_what_only_begins_like_an_image_is_none(data):
    assert code_of(IMAGE.probe, Media(data=data)) == "not_an_image"


def test_what_is_packed_is_told_as_that():
    assert code_of(IMAGE.probe, Media(data=b"\x1f\x8b" + bytes(20))) == "unsupported"


def test_only_a_file_that_may_have_lost_something_is_to_be_fetched_again():
    from infimed_core import DataError

    for data, advised in ((encoded(PICTURE, "JPEG")[:400], True), (tiff(np.ones((8, 8), np.complex64)), False)):
        with pytest.raises(DataError) as caught:
            IMAGE.load(Media(data=data))
        assert ("fetch it again" in str(caught.value)) == advised


@pytest.mark.parametrize("settings", [{"byteorder": ">", "bigtiff": True}, {"compression": "png"}])
def test_tiff_that_pillow_does_not_know_is_read_from_its_own_directory(settings):
    colours = RANDOM.integers(0, 256, (16, 16, 3), np.uint8)
    stream = BytesIO()
    tifffile.imwrite(stream, colours, photometric="rgb", **settings)
    assert IMAGE.probe(Media(data=stream.getvalue())) == (16, 16)
    assert (load(stream.getvalue()) == colours).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Not found</html>", "HTML"),
        (b"%PDF-1.4\n", "PDF"),
    ],
)
def test_what_stands_in_place_of_an_image_is_called_by_its_name(content, said):
    with pytest.raises(DataError, match=said) as caught:
        load(content)
    assert caught.value.code == "not_an_image"
