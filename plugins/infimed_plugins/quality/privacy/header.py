"""Identity in the headers of DICOM and NIfTI files and in the metadata of pictures."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from infimed_core import DataError, Media
from infimed_plugins.quality.identity import identities
from infimed_plugins.quality.privacy.profile import DATE_VR, FREE_TEXT, IDENTITY_VR, TEXT_VR, VERSIONS, action_of
from infimed_plugins.quality.privacy.unpacking import DEFLATED, check_deflated, unpacked
from infimed_plugins.quality.reasons import Reason

ANONYMOUS = re.compile(
    r"^\W*$|anonym|de-?identif|removed|redacted|unknown|^(?:none|n/?a|x+|0+|patient|subject)\W*\d*$|compressedsamples"
    r"|^1900\d*$",
    re.I,
)
"""Values that stand for nobody."""
_PSEUDONYM = re.compile(r"^(?=.*\d)[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*$")
_PSEUDONYMOUS = frozenset({"PatientName", "PatientID", "ClinicalTrialSubjectID"})
CODES = frozenset({"CodeValue", "CodingSchemeVersion", "MappingResource", "ContextIdentifier"})
"""Of code lists, not of people."""
LONGEST = 65536
"""Bytes of a private or unknown value, or of a picture's remark, that are searched."""


class HeaderFound(NamedTuple):
    """Identity in a header: ``place`` is a keyword or tag, with the sequences around it, or the name of a remark."""

    place: str
    reason: Reason


_AGE = re.compile(r"\s*(\d{1,3})\s*([DWMY]?)\s*", re.I)
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0}


def years_of(age: str) -> float | None:
    """Years that an age of DICOM tells in days, weeks, months or (without a unit too) years; ``None`` if it is none."""
    told = _AGE.fullmatch(age)
    return int(told[1]) / _PER_YEAR.get(told[2].upper(), 1.0) if told else None


def source_of(media: Media) -> Any:
    """What a library can open.

    Raises:
        DataError: ``unreadable``: it is no plain file; a pipe or device would be waited for.
    """
    if media.data is not None:
        return BytesIO(media.data)
    path = Path(media.uri or "")
    if path.exists() and not path.is_file():
        raise DataError("unreadable", f"{path}: no plain file (a folder, pipe or device)")
    return path


def find_in_header(media: Media) -> list[HeaderFound]:
    """Everything that identifies in the header of ``media``.

    Raises:
        Exception: whatever the library raises where the header cannot be read; its remarks count as errors where they
            mean that something was left unread.
        LookupError: nobody here can read this kind of header.
    """
    if media.kind == "dicom":
        return list(find_in_dicom(_dataset(media)))
    if media.kind == "nifti":
        return list(_nifti(media))
    if media.kind == "image":
        return list(_picture(media))
    if media.kind == "montage":
        parts = media.options.get("parts")
        return [found for part in parts or () for found in find_in_header(Media.model_validate(part))]  # type: ignore[union-attr]
    raise LookupError(f"no reader for the header of a medium of the kind '{media.kind}'")


def _dataset(media: Media) -> Any:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values are read as they are
        source, data = source_of(media), media.data
        if data is None:
            with open(source, "rb") as file:
                data = file.read(4096)
                data += file.read() if DEFLATED in data else b""
        check_deflated(data)
        return pydicom.dcmread(source, stop_before_pixels=True)


def find_in_dicom(dataset: Any, within: str = "", removed: bool | None = None) -> Iterator[HeaderFound]:
    """Identity in a pydicom data set and in every sequence of it.

    An attribute of the basic profile that holds a name, number, address or institution is identity by being filled;
    prose, attributes outside the profile and private ones are searched. Dates count unless the file says that its
    identity was removed and its dates with it. New UIDs cannot be told from the old ones and do not count.
    """
    if removed is None:
        removed = str(dataset.get("PatientIdentityRemoved", "")).upper() == "YES"
        if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
            yield HeaderFound("BurnedInAnnotation", Reason.PHI_BURNED_IN_ANNOTATION)
        times = str(dataset.get("LongitudinalTemporalInformationModified", "")).upper()
        dates = not (removed and times in ("REMOVED", "MODIFIED"))
    else:
        dates = not removed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        elements = list(dataset)
    for element in elements:
        place = within + (element.keyword or f"{int(element.tag):08X}")
        if element.VR == "SQ":
            for item in element.value or ():
                yield from find_in_dicom(item, f"{place}.", not dates)
            continue
        reason = _judge(element, removed or not dates, dates)
        if reason is not None:
            yield HeaderFound(place, reason)


def _judge(element: Any, removed: bool, dates: bool) -> Reason | None:
    value = _text(element)
    if not value:
        return None
    anonymous = bool(ANONYMOUS.search(value))  # stands for nobody, where it is the whole value and no prose
    tag, keyword = int(element.tag), element.keyword
    if (tag >> 16) % 2 or element.VR not in TEXT_VR | DATE_VR | {"AS"}:
        if element.VR in ("UI", "TM", "DS", "IS") or (tag & 0xFF00 == 0 and element.VR == "LO"):
            return None  # numbers; and the names of private blocks
        return _searched(value)
    if element.VR == "AS":
        return Reason.PHI_AGE if (years_of(value) or 0) > 90 else None
    if element.VR in DATE_VR:
        if keyword in VERSIONS or len(value) < 8 or anonymous:
            return None
        if "Birth" in keyword:
            return Reason.PHI_HEADER
        return Reason.PHI_DATE if dates else None
    action = action_of(tag)
    if element.VR == "PN" or (
        action not in (None, "U") and element.VR in IDENTITY_VR and not FREE_TEXT.search(keyword)
    ):
        if removed and keyword in _PSEUDONYMOUS and _PSEUDONYM.match(value):
            return None
        return None if anonymous or _is_number(keyword, value) else Reason.PHI_HEADER
    return None if keyword in CODES else _searched(value)


def _searched(value: str) -> Reason | None:
    """Each value of several by itself, as it would be cleaned."""
    return Reason.PHI_HEADER if any(identities(part) for part in value.split("\\")) else None


def _is_number(keyword: str, value: str) -> bool:
    """A study's or a step's running number is nobody's."""
    return (
        keyword in ("StudyID", "ResultsID", "ScheduledProcedureStepID", "PerformedProcedureStepID") and len(value) < 4
    )


def _text(element: Any) -> str:
    value = element.value
    if value is None:
        return ""
    if isinstance(value, bytes):
        private = (int(element.tag) >> 16) % 2 == 1
        return printable(value[:LONGEST]) if private or element.keyword == "EncapsulatedDocument" else ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(part) for part in value)[:LONGEST].strip()
    return str(value)[:LONGEST].strip()


def printable(data: bytes) -> str:
    """The readable runs of binary data, one a line."""
    return "\n".join(run.decode("latin-1") for run in re.findall(rb"[\x20-\x7e\xa0-\xff]{5,}", data))


def _nifti(media: Media) -> Iterator[HeaderFound]:
    import nibabel

    source = source_of(media)
    data = unpacked(source.read_bytes() if isinstance(source, Path) else source.getvalue())
    image = nibabel.Nifti2Image if data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nibabel.Nifti1Image
    header = image.from_bytes(data).header
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        if field in header and identities(printable(header[field].tobytes().rstrip(b"\0"))):
            yield HeaderFound(field, Reason.PHI_HEADER)
    for number, extension in enumerate(header.extensions):
        content = extension.get_content()
        if hasattr(content, "iterall"):
            yield from find_in_dicom(content, f"extension{number}.")
            continue
        text = printable(content) if isinstance(content, bytes) else str(content)
        if identities(text[:LONGEST]):
            yield HeaderFound(f"extension{number}", Reason.PHI_HEADER)


PNG, PNG_REMARKS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
GPS, EXIF_DETAILS = 0x8825, 0x8769
_PERSONAL = {0xA430: "CameraOwnerName", 0xA431: "BodySerialNumber", 0xA435: "LensSerialNumber", 0x013B: "Artist"}


def _picture(media: Media) -> Iterator[HeaderFound]:
    """EXIF, GPS, comments, XMP, IPTC and text chunks. Remarks of Pillow on broken metadata are errors."""
    from PIL import Image
    from PIL.ExifTags import TAGS

    with warnings.catch_warnings(), Image.open(_small_source(media)) as image:
        warnings.simplefilter("error")  # Pillow tells of broken EXIF by a warning and goes on without it
        exif = image.getexif()
        if image.info.get("exif") and not exif:
            raise ValueError("EXIF data without an entry that can be read")
        if exif.get_ifd(GPS):
            yield HeaderFound("GPSInfo", Reason.PHI_LOCATION)
        for directory in (exif, exif.get_ifd(EXIF_DETAILS)):
            for tag, value in directory.items():
                if tag in (GPS, EXIF_DETAILS):
                    continue
                text = _remark(value)
                if tag in _PERSONAL:
                    if text and not ANONYMOUS.search(text):
                        yield HeaderFound(_PERSONAL[tag], Reason.PHI_HEADER)
                elif "Date" in TAGS.get(tag, ""):
                    if re.match(r"(?:19|20)\d\d:", text) and not text.startswith("1900"):
                        yield HeaderFound(TAGS[tag], Reason.PHI_DATE)
                elif identities(text):
                    yield HeaderFound(TAGS.get(tag, f"{tag:04X}"), Reason.PHI_HEADER)
        remarks = {**image.info, **getattr(image, "text", {}), **getattr(image, "app", {})}
        for name, value in remarks.items():
            if (
                name not in ("exif", "Exif", "icc_profile")
                and isinstance(value, str | bytes)
                and identities(_remark(value))
            ):
                yield HeaderFound(str(name)[:64], Reason.PHI_HEADER)


def _small_source(media: Media) -> Any:
    """What Pillow can open; of a PNG, whose remarks may stand behind its pixels, one pixel with all of its remarks."""
    source = source_of(media)
    with nullcontext(source) if isinstance(source, BytesIO) else source.open("rb") as file:
        if file.read(len(PNG)) != PNG:
            file.seek(0)
            return source
        data = file.read()
    remarks, at = [], 0
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if end > len(data):
            raise ValueError(f"the PNG chunk {kind!r} is cut short")
        if kind in PNG_REMARKS:
            remarks.append(data[at:end])
        if kind == b"IEND":
            break
        at = end
    from PIL import Image

    pixel = BytesIO()
    Image.new("L", (1, 1)).save(pixel, "PNG")
    whole = pixel.getvalue()
    after_size = len(PNG) + 25
    return BytesIO(whole[:after_size] + b"".join(remarks) + whole[after_size:])


def _remark(value: Any) -> str:
    if isinstance(value, bytes):
        plain = value.replace(b"\0", b"") if value[:8] in (b"UNICODE\0", b"ASCII\0\0\0") else value
        return printable(plain[:LONGEST])
    return str(value)[:LONGEST].strip("\0 ")
