"""Headers: identity is found in DICOM, its sequences and private blocks, in NIfTI, EXIF and PNG."""

from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import pytest

from infimed_core import Media
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.profile import FREE_TEXT, IDENTITY_VR, action_of, actions
from infimed_plugins.quality.reasons import Reason


def dataset():
    """A small MR image with nothing in it that identifies."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "1.2.3", "1.2.3.1", "MR"
    made.PatientName, made.PatientID, made.BodyPartExamined = "ANONYMOUS", "", "BRAIN"
    made.SeriesDescription, made.ProtocolName, made.SliceThickness = "AX T2 FLAIR", "brain", "5"
    made.Rows = made.Columns = 32
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = np.tile(np.arange(32, dtype=np.uint8), 32).tobytes()
    return made


def stored(made) -> Media:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(file, enforce_file_format=True)
    return Media(kind="dicom", data=file.getvalue())


def reasons(media: Media) -> set[Reason]:
    return {found.reason for found in find_in_header(media)}


def test_a_header_without_identity_gives_nothing():
    assert find_in_header(stored(dataset())) == []


def value_for(vr: str, keyword: str) -> str:
    if vr == "PN":
        return "Rossi^Maria"
    if vr == "DA":
        return "19610314"
    if vr == "DT":
        return "19610314101500"
    if not FREE_TEXT.search(keyword):
        return "Q7-31415"
    return "MRN 00123456" if vr == "SH" else "Maria Rossi, MRN 00123456"


def identifying() -> list[tuple[int, str, str]]:
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    found = []
    for tag, action in actions().items():
        keyword = keyword_for_tag(tag)
        if keyword and tag >> 16 > 2 and action != "U":
            vr = dictionary_VR(tag)
            if vr in IDENTITY_VR - {"UR"} | {"DA", "DT"} and keyword not in ("ContextGroupVersion",):
                found.append((tag, vr, keyword))
    return found


def test_recall_over_every_attribute_of_the_profile_that_can_name_somebody():
    everything = identifying()
    assert len(everything) > 300
    missed = []
    for nested in (False, True):
        for tag, vr, keyword in everything:
            made = dataset()
            place = made
            if nested:
                from pydicom.dataset import Dataset

                place = Dataset()
                made.RequestAttributesSequence = [place]
            place.add_new(tag, vr, value_for(vr, keyword))
            if not find_in_header(stored(made)):
                missed.append((nested, keyword))
    assert len(missed) <= 0.01 * 2 * len(everything), missed


def test_a_word_such_as_unknown_in_prose_hides_nothing_behind_it():
    made = dataset()
    made.StudyDescription = "Unknown primary, lobe removed, MRN 00123456"
    assert [found.place for found in find_in_header(stored(made))] == ["StudyDescription"]


def test_private_and_unknown_attributes_are_searched():
    made = dataset()
    block = made.private_block(0x0099, "ACME", create=True)
    block.add_new(0x01, "LO", "DOE^JANE")
    block.add_new(0x02, "UN", b"\0\1xx MRN 00123456 \0")
    block.add_new(0x03, "LO", "gain 12")
    assert {found.place for found in find_in_header(stored(made))} == {"00991001", "00991002"}


def test_the_annotation_flag_and_old_ages_are_told():
    made = dataset()
    made.BurnedInAnnotation, made.PatientAge = "YES", "093Y"
    assert reasons(stored(made)) == {Reason.PHI_BURNED_IN_ANNOTATION, Reason.PHI_AGE}


def test_dates_and_pseudonyms_of_a_file_that_says_it_was_cleaned_do_not_count_but_names_do():
    made = dataset()
    made.PatientName, made.PatientID, made.StudyDate = "CASE-0001", "CASE-0001", "20190203"
    assert reasons(stored(made)) == {Reason.PHI_HEADER, Reason.PHI_DATE}
    made.PatientIdentityRemoved, made.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    assert reasons(stored(made)) == set()
    made.PatientName = "Rossi^Maria"
    assert reasons(stored(made)) == {Reason.PHI_HEADER}


def test_the_profile_removes_private_tags_curves_and_overlays():
    assert action_of(0x00091001) == action_of(0x50000010) == action_of(0x60003000) == "X"
    assert action_of(0x00280010) is None and action_of(0x00100010) == "Z" and action_of(0x0020000D) == "U"


def test_texts_and_extensions_of_nifti_are_searched():
    import nibabel

    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    assert find_in_header(Media(kind="nifti", data=image.to_bytes())) == []
    image.header["descrip"] = b"MRN 00123456"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Patient name: Rossi, Maria"))
    found = find_in_header(Media(kind="nifti", data=image.to_bytes()))
    assert [place.place for place in found] == ["descrip", "extension0"]


def picture(form: str, **options) -> Media:
    from PIL import Image

    file = io.BytesIO()
    grey = (np.add.outer(np.arange(64), np.arange(64)) % 200).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(file, form, **options)
    return Media(data=file.getvalue())


def exif(**entries) -> bytes:
    from PIL import Image

    made = Image.Exif()
    for tag, value in entries.items():
        if tag == "gps":
            made.get_ifd(0x8825)[1] = value
        elif tag == "comment":
            made.get_ifd(0x8769)[0x9286] = value
        else:
            made[int(tag[1:], 16)] = value
    return made.tobytes()


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (lambda: picture("JPEG", exif=exif(gps="N")), Reason.PHI_LOCATION),
        (lambda: picture("JPEG", exif=exif(x010e="MRN 00123456")), Reason.PHI_HEADER),
        (lambda: picture("JPEG", exif=exif(x013b="Maria Rossi")), Reason.PHI_HEADER),
        (lambda: picture("JPEG", exif=exif(x0132="2021:03:14 10:11:12")), Reason.PHI_DATE),
        (lambda: picture("JPEG", exif=exif(comment=b"ASCII\0\0\0Patient ID: A123456")), Reason.PHI_HEADER),
        (lambda: picture("JPEG", comment=b"Patient ID: A123456"), Reason.PHI_HEADER),
        (lambda: picture("TIFF", tiffinfo={270: "Patient ID: A123456"}), Reason.PHI_HEADER),
        (lambda: png_with_text("Title", "Dr. Miller, MRN 00123456"), Reason.PHI_HEADER),
    ],
)
def test_metadata_of_pictures_is_searched(media, reason):
    assert reasons(media()) == {reason}


def png_with_text(name: str, text: str) -> Media:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(name, text)
    return picture("PNG", pnginfo=info)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def test_a_remark_of_a_png_is_found_behind_its_pixels_which_are_not_decoded():
    data = picture("PNG").data
    pixels = data.index(b"IDAT") + 4
    broken = data[:pixels] + bytes(8) + data[pixels + 8 :]
    remark = chunk(b"tEXt", b"Comment\0Patient ID: A123456")
    assert reasons(Media(data=broken[:-12] + remark + broken[-12:])) == {Reason.PHI_HEADER}
    assert reasons(Media(data=broken[:-12] + chunk(b"eXIf", exif(x010e="MRN 00123456")[6:]) + broken[-12:])) == {
        Reason.PHI_HEADER
    }


def test_a_png_that_is_cut_in_a_chunk_is_not_called_clean():
    data = png_with_text("Title", "a long remark " * 20).data
    with pytest.raises(ValueError, match="is cut short"):
        find_in_header(Media(data=data[: data.index(b"iTXt") + 40]))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_a_plain_picture_has_none(form):
    assert find_in_header(picture(form)) == []
