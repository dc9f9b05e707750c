"""The modality ``dicom`` shows what the standard says, however a file words it."""

from __future__ import annotations

import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from infimed_core import DataError, Media
from infimed_plugins.dicom import opening
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.dicom.windows import apply_window

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of, dataset, media

DICOM = Dicom()
STORED = np.arange(0, 4096, 2, dtype=np.uint16).reshape(32, 64)


def grey(made, **options):
    return DICOM.load(media(made, **options))[..., 0]


def twelve_bits(pixels=STORED, **fields):
    return dataset(pixels, **{"BitsStored": 12, "HighBit": 11} | fields)


def table(first, values, bits=16, vr="OW"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(values) % 65536, first, bits])
    data = values.astype("<u2")
    item.add_new("LUTData", vr, data.tobytes() if vr == "OW" else [int(value) for value in data])
    return item


def cubic(num_entries=4096, top=65535):
    return np.rint(top * np.linspace(0, 1, num_entries) ** 3).astype(np.uint16)


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": "1", "RescaleIntercept": "0"}])
def test_a_voi_table_is_applied_after_any_rescale(rescale, vr):
    made = twelve_bits(VOILUTSequence=[table(0, cubic(), vr=vr)], **rescale)
    assert (grey(made) == np.rint(cubic()[STORED] / 65535 * 255)).all()


@pytest.mark.parametrize("written", [-1024, 64512])
def test_a_voi_table_may_start_below_zero_whatever_sign_its_first_value_is_written_with(written):
    made = twelve_bits(RescaleSlope="1", RescaleIntercept="-1024")
    item = table(0, cubic())
    item.add_new("LUTDescriptor", "SS" if written < 0 else "US", [4096, written, 16])
    made.VOILUTSequence = [item]
    assert (grey(made) == np.rint(cubic()[STORED] / 65535 * 255)).all()


def test_a_modality_table_of_signed_pixels_may_start_below_zero():
    pixels = np.arange(-1000, 1048, dtype=np.int16).reshape(32, 64)
    item = table(-1000, np.arange(2048, dtype=np.uint16) * 7)
    made = dataset(pixels, ModalityLUTSequence=[item])
    assert (grey(made, window=[5000, 4000]) == np.rint(apply_window((pixels + 1000) * 7, 5000, 4000) * 255)).all()


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", ["0.5", "0.125"])
def test_windows_narrower_than_one_are_used_where_the_function_allows_them(function, width):
    made = twelve_bits(RescaleSlope="0.0002", RescaleIntercept="0", WindowCenter="0.4", WindowWidth=width)
    made.VOILUTFunction = function
    expected = np.rint(apply_window(STORED * 0.0002, 0.4, float(width), function) * 255)
    assert (grey(made) == expected).all() and len(np.unique(expected)) > 20


@pytest.mark.parametrize(
    "empty",
    [
        {"RescaleSlope": None, "RescaleIntercept": "0"},
        {"RescaleSlope": "1", "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "40", "WindowWidth": None},
        {"WindowCenter": "", "WindowWidth": ""},
        {"PixelPaddingValue": None},
        {"VOILUTSequence": [], "ModalityLUTSequence": []},
        {"NumberOfFrames": None},
        {"VOILUTFunction": None},
        {"PixelAspectRatio": None, "PixelSpacing": None},
    ],
)
def test_an_element_that_is_there_and_empty_is_as_if_absent(empty):
    assert (grey(twelve_bits(**empty)) == grey(twelve_bits())).all()


def group(macro, **fields):
    inner, outer = Dataset(), Dataset()
    for name, value in fields.items():
        setattr(inner, name, value)
    setattr(outer, macro, [inner])
    return outer


def test_the_frames_own_group_goes_before_the_shared_one_and_that_before_the_top():
    frames = np.stack([STORED, STORED, STORED])
    made = twelve_bits(frames, WindowCenter=None, WindowWidth=None)
    made.SharedFunctionalGroupsSequence = [group("FrameVOILUTSequence", WindowCenter="1000", WindowWidth="500")]
    own = group("FrameVOILUTSequence", WindowCenter="2000", WindowWidth="100", VOILUTFunction="SIGMOID")
    made.PerFrameFunctionalGroupsSequence = [group("FrameVOILUTSequence", WindowCenter=None), own]
    assert (grey(made, frame=0) == grey(twelve_bits(), window=[1000, 500])).all()
    assert (grey(made, frame=1) == np.rint(apply_window(STORED, 2000, 100, "SIGMOID") * 255)).all()
    assert (grey(made, frame=2) == grey(made, frame=0)).all()
    made.WindowCenter, made.WindowWidth = "40", "400"
    assert (grey(made, frame=0) == grey(twelve_bits(), window=[1000, 500])).all()


def test_a_frames_own_rescale_is_used_where_the_top_has_an_empty_one():
    made = twelve_bits(STORED[None], RescaleSlope=None, RescaleIntercept=None)
    own = group("PixelValueTransformationSequence", RescaleSlope="2", RescaleIntercept="-500")
    made.PerFrameFunctionalGroupsSequence = [own]
    expected = np.rint(apply_window(STORED * 2.0 - 500, 3000, 2000) * 255)
    assert (grey(made, window=[3000, 2000]) == expected).all()


@pytest.mark.parametrize(
    ("vr", "value", "limit"),
    [("SS", -2000, None), ("US", 63536, None), ("SS", -2000, -1500), ("US", 63536, 64036), ("SS", -1500, -2000)],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_black_and_does_not_stretch_the_range(vr, value, limit, photometric):
    pixels = np.full((8, 8), -2000, np.int16)
    pixels[2:6, 2:6] = np.linspace(-100, 300, 16).reshape(4, 4)
    if limit is not None:
        pixels[0] = -1500
    made = dataset(pixels, PhotometricInterpretation=photometric)
    made.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        made.add_new("PixelPaddingRangeLimit", vr, limit)
    shown, inside = grey(made), np.rint((pixels[2:6, 2:6] + 100) / 400 * 255)
    assert (shown[2:6, 2:6] == (inside if photometric == "MONOCHROME2" else 255 - inside)).all()
    assert (shown[:2] == 0).all() and (shown[6:] == 0).all()


def palette(made, values, bits, dtype, first=0):
    made.PhotometricInterpretation = "PALETTE COLOR"
    for number, colour in enumerate(("Red", "Green", "Blue")):
        descriptor = "SS" if first < 0 else "US"
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", descriptor, [len(values), first, bits])
        data = np.roll(values, number).astype(dtype).tobytes()
        made.add_new(f"{colour}PaletteColorLookupTableData", "OW", data + b"\0" * (len(data) % 2))
    return made


@pytest.mark.parametrize(
    ("bits", "dtype", "factor"), [(8, "u1", 1), (8, "<u2", 1), (16, "<u2", 1), (16, "<u2", 257), (8, "<u2", 257)]
)
def test_palettes_of_8_bits_are_read_in_bytes_and_in_words_under_either_name(bits, dtype, factor):
    values = np.random.default_rng(0).permutation(256)
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = DICOM.load(media(palette(dataset(pixels), values * factor, bits, dtype)))
    assert (shown == np.stack([np.roll(values, number)[pixels] for number in range(3)], axis=-1)).all()


def test_a_palette_is_entered_by_more_values_than_a_byte_holds_and_below_zero():
    pixels = np.arange(-512, 512, dtype=np.int16).reshape(32, 32)
    values = np.random.default_rng(0).integers(0, 256, 1024)
    shown = DICOM.load(media(palette(dataset(pixels), values, 8, "u1", first=-512)))
    assert (shown[..., 0] == values[pixels + 512]).all()


def test_a_segmented_palette_equals_the_plain_one():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    plain = np.concatenate([[10], np.rint(np.linspace(10, 250, 32)[1:]), [1, 2], np.rint(np.linspace(2, 200, 31)[1:])])
    segments = [0, 1, 10, 1, 31, 250, 0, 2, 1, 2, 1, 30, 200]
    made, expected = dataset(pixels), palette(dataset(pixels), plain, 8, "u1")
    made.PhotometricInterpretation = "PALETTE COLOR"
    for number, colour in enumerate(("Red", "Green", "Blue")):
        del expected[f"{colour}PaletteColorLookupTableData"]
        expected.add_new(f"{colour}PaletteColorLookupTableData", "OW", plain.astype("u1").tobytes())
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [64, 0, 8])
        data = bytes(segments)
        made.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data + b"\0" * (len(data) % 2))
        assert number < 3
    assert len(plain) == 64 and (DICOM.load(media(made)) == DICOM.load(media(expected))).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_bits_beside_the_stored_ones_are_no_part_of_a_value(signed, high):
    values = np.arange(-1024, 1024).reshape(32, 64) if signed else STORED.astype(int)
    rubbish = np.random.default_rng(0).integers(0, 2**16, values.shape)
    mask = 0xFFF << (high - 11)
    words = ((values << (high - 11)) & mask | rubbish & ~mask).astype(np.uint16)
    made = dataset(words, BitsStored=12, HighBit=high, PixelRepresentation=int(signed))
    assert (grey(made, window=[500, 800]) == np.rint(apply_window(values, 500, 800) * 255)).all()


def jpeg2000(samples, bits, signed=False):
    from openjpeg.utils import encode_array

    return bytes(encode_array(samples, bits_stored=bits, photometric_interpretation=0))


def encapsulated(made, stream, syntax):
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    return made


@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (16, 11)])
def test_a_jpeg_2000_stream_holds_its_own_bits_and_a_stream_of_whole_words_those_under_the_high_bit(bits, high):
    words = STORED if bits == 12 else STORED | 0x8000  # an overlay in the highest bit
    made = encapsulated(dataset(STORED, BitsStored=12, HighBit=high), jpeg2000(words, bits), JPEG2000Lossless)
    assert (grey(made, window=[2000, 3000]) == np.rint(apply_window(STORED, 2000, 3000) * 255)).all()


def test_a_jpeg_2000_stream_without_a_sign_gives_signed_pixels_where_the_header_says_so():
    values = np.arange(-1024, 1024).reshape(32, 64)
    stream = jpeg2000((values & 0xFFF).astype(np.uint16), 12)
    made = encapsulated(
        dataset(values.astype(np.int16), BitsStored=12, HighBit=11, PixelRepresentation=1), stream, JPEG2000Lossless
    )
    assert (grey(made, window=[0, 900]) == np.rint(apply_window(values, 0, 900) * 255)).all()


@pytest.mark.parametrize("which", ["smaller", "larger"])
def test_a_compressed_frame_of_another_size_than_the_header_is_refused_before_it_is_decoded(which, monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "as_array", lambda *_, **__: pytest.fail("it was decoded"))
    stream = jpeg2000(np.zeros((512, 512), np.uint16), 12)
    rows = 16 if which == "smaller" else 600
    made = encapsulated(dataset(STORED, BitsStored=12, Rows=rows, Columns=rows), stream, JPEG2000Lossless)
    assert code_of(DICOM.load, media(made)) == "corrupt"


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"PixelAspectRatio": [2, 1]}, (64, 64)),
        ({"PixelAspectRatio": [1, 2]}, (32, 128)),
        ({"PixelSpacing": ["0.5", "0.25"]}, (64, 64)),
        ({"ImagerPixelSpacing": ["0.1", "0.3"]}, (32, 192)),
        ({"PixelSpacing": ["0.5", "0.5000001"]}, (32, 64)),
        ({"PixelSpacing": ["0", "1"]}, (32, 64)),
        ({"PixelSpacing": ["1000", "1"]}, (32, 64)),
        ({"SharedFunctionalGroupsSequence": [group("PixelMeasuresSequence", PixelSpacing=["3", "1"])]}, (96, 64)),
    ],
)
def test_pixels_that_are_not_square_are_stretched_to_true_shapes_by_probe_and_load_alike(fields, shape):
    made = twelve_bits(**fields)
    assert DICOM.probe(media(made)) == DICOM.load(media(made)).shape[:2] == shape
    assert Dicom(square_pixels=False).probe(media(made)) == (32, 64)
    assert code_of(Dicom(max_pixels=32 * 64 - 1).probe, media(made)) == "too_large"


def test_colours_of_more_than_8_bits_are_scaled_by_the_bits_that_are_stored():
    colours = np.repeat(STORED[..., None], 3, axis=2)
    made = twelve_bits(STORED)
    made.SamplesPerPixel, made.PlanarConfiguration, made.PhotometricInterpretation = 3, 0, "RGB"
    made.PixelData = colours.tobytes()
    assert (DICOM.load(media(made)) == np.rint(colours / 4095 * 255)).all()


def test_fractions_are_read_and_those_that_are_not_finite_are_faults():
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    made = dataset(values)
    made.BitsAllocated = 32
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, name)
    made.FloatPixelData = values.tobytes()
    assert (grey(made) == np.rint((values / 2 + 0.5) * 255)).all()
    values[0, 0] = np.inf
    made.FloatPixelData = values.tobytes()
    assert code_of(DICOM.load, media(made)) == "not_finite"


def test_what_nobody_here_decodes_is_unsupported_and_never_truncated():
    from pydicom.uid import MPEG4HP41

    made = encapsulated(twelve_bits(), b"\0\0\0\x18ftypmp42" + b"\0" * 64, MPEG4HP41)
    assert code_of(DICOM.load, media(made)) == "unsupported"
    colours = dataset(np.zeros((4, 4), np.uint8), SamplesPerPixel=3, PlanarConfiguration=0)
    colours.PixelData = bytes(48)
    colours.PhotometricInterpretation = "HSV"
    assert code_of(DICOM.load, media(colours)) == "unsupported"
    damaged = encapsulated(twelve_bits(), b"\xff\xd8\xff\xf7" + b"\x55" * 60, JPEGLSLossless)
    assert code_of(DICOM.load, media(damaged)) == "corrupt"


def deflated(made, extra=b""):
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    plain = BytesIO()
    pydicom.filewriter.write_dataset(_writer(plain), made)
    packer = zlib.compressobj(wbits=-15)
    whole = BytesIO()
    pydicom.dcmwrite(whole, made, enforce_file_format=True)
    start = 132 + 12 + pydicom.dcmread(BytesIO(whole.getvalue())).file_meta.FileMetaInformationGroupLength
    return whole.getvalue()[:start] + packer.compress(plain.getvalue() + extra) + packer.flush()


def _writer(buffer):
    writer = pydicom.filebase.DicomFileLike(buffer)
    writer.is_little_endian, writer.is_implicit_VR = True, False
    return writer


def test_a_deflated_file_reads_as_a_plain_one_and_a_bomb_is_refused_by_probe(monkeypatch):
    small = Media(kind="dicom", data=deflated(twelve_bits()))
    assert (DICOM.load(small)[..., 0] == grey(twelve_bits())).all() and DICOM.probe(small) == (32, 64)
    monkeypatch.setattr(opening, "INFLATED_BYTES", 2**20)
    bomb = Media(kind="dicom", data=deflated(twelve_bits(), extra=bytes(2**22)))
    assert len(bomb.data) < 2**14 and code_of(DICOM.probe, bomb) == code_of(DICOM.load, bomb) == "too_large"
    assert code_of(DICOM.probe, Media(kind="dicom", data=small.data[:-60])) == "truncated"


def test_a_header_cut_anywhere_is_truncated():
    data = media(twelve_bits()).data
    codes = []
    for length in range(133, len(data) - 1, 7):
        with pytest.raises(DataError) as caught:
            DICOM.load(Media(kind="dicom", data=data[:length]))
        codes.append(caught.value.code)
    assert codes.count("truncated") >= 0.9 * len(codes) and set(codes) <= {"truncated", "no_pixels"}


@pytest.mark.parametrize("name", ["PixelSpacing", "PixelPaddingValue", "WindowCenter", "RescaleSlope", "BitsStored"])
def test_an_element_of_an_unknown_kind_is_a_fault_and_no_crash(name):
    data = media(twelve_bits(PixelSpacing=["1", "1"], PixelPaddingValue=0, WindowCenter="9", RescaleSlope="1")).data
    tag = pydicom.tag.Tag(name)
    at = data.index(struct.pack("<HH", tag.group, tag.element)) + 4
    assert code_of(DICOM.load, Media(kind="dicom", data=data[:at] + b"XX" + data[at + 2 :])) == "corrupt"
