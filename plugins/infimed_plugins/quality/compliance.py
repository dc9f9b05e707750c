"""Dimension ``compliance``: identity in the text, in the file's header and, where asked for, burned into the pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from infimed_core import Media, MediaLoader, Sample
from infimed_plugins.quality.identity import identities
from infimed_plugins.quality.reasons import UNCHECKED, Reason

IDENTITY_KEYWORDS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate", "PatientBirthName",
    "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator", "IssuerOfPatientID",
    "MilitaryRank", "EthnicGroup", "AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName",
    "PhysiciansOfRecord", "OperatorsName", "RequestingPhysician", "InstitutionName", "InstitutionAddress",
    "PersonName", "ResponsiblePerson", "PatientInsurancePlanCodeSequence", "CountryOfResidence",
)  # fmt: skip
"""DICOM elements that name a person, a record or a place (part of PS3.15's Basic Profile)."""

_ANONYMOUS = re.compile(
    r"^\W*$|anonym|de-?identif|removed|redacted|unknown|^(?:none|n/?a|x+|0+|patient|subject)\W*\d*$|compressedsamples",
    re.I,
)


def header_identity(media: Media) -> tuple[list[Reason], int]:
    """Identity in the header of a DICOM file or in the EXIF of a picture, and how many DICOM elements hold it.

    A header that cannot be read, and a kind of media whose header nobody here can read, is not taken for one without
    identity: the reason is ``identity_unchecked``.
    """
    try:
        if media.kind == "dicom":
            num = _dicom_elements(media)
            return ([Reason.PHI_HEADER] if num else []), num
        if media.kind == "image":
            return _exif(media), 0
    except Exception:
        return [Reason.IDENTITY_UNCHECKED], 0
    return [Reason.IDENTITY_UNCHECKED], 0


def _source(media: Media) -> Any:
    return BytesIO(media.data) if media.data is not None else Path(media.uri or "")


def _dicom_elements(media: Media) -> int:
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in a header are not what is looked for
        dataset = pydicom.dcmread(_source(media), stop_before_pixels=True, specific_tags=[*IDENTITY_KEYWORDS])
        values = [str(dataset.get(keyword, "") or "") for keyword in IDENTITY_KEYWORDS]
    return sum(bool(value.strip()) and not _ANONYMOUS.search(value) for value in values)


def _exif(media: Media) -> list[Reason]:
    """Raises whatever Pillow raises, and its remarks on broken EXIF as errors."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings(), Image.open(_source(media)) as image:
        if "exif" not in image.info and "comment" not in image.info and not getattr(image, "text", None):
            return []
        warnings.simplefilter("error")  # Pillow tells of broken EXIF by a warning and goes on without it
        exif = image.getexif()
        if image.info.get("exif") and not exif:
            raise ValueError("EXIF data without an entry that can be read")
        reasons = [Reason.PHI_LOCATION] if exif.get_ifd(0x8825) else []
        texts = [str(value) for tag, value in exif.items() if tag in (0x010E, 0x013B, 0x8298, 0x9286)]
        texts += [str(value) for value in image.info.values() if isinstance(value, str | bytes) and len(value) < 4096]
    return reasons + ([Reason.PHI_HEADER] if any(identities(text) for text in texts) else [])


def pixel_identity(media: Media, loader: MediaLoader, engine: Any) -> list[Reason]:
    """Identity in burned-in text, read by an OCR ``engine`` of rapidocr."""
    result = engine(loader.load(media))
    read = [
        text
        for text, confidence in zip(result.txts or (), result.scores or (), strict=False)
        if confidence > 0.5 and len(text.strip()) >= 3
    ]
    return [Reason.PHI_PIXELS] if identities(" ".join(read)) else []


def compliance(
    sample: Sample, everything: str, headers: Sequence[tuple[list[Reason], int]], names: bool
) -> tuple[float | None, list[Reason], dict[str, float]]:
    """1 where nothing was found, 0 with structured identity, 0.3 with a name alone. A risk flag, not a clearance.

    ``None`` where nothing was found but something could not be looked at.
    """
    reasons = identities("\n".join((everything, *sample.options)), names)
    for found, _ in headers:
        reasons += found
    reasons = list(dict.fromkeys(reasons))
    num_elements = sum(num for _, num in headers)
    found_any = [reason for reason in reasons if reason not in UNCHECKED]
    value = (None if reasons else 1.0) if not found_any else 0.3 if found_any == [Reason.PHI_NAME] else 0.0
    return value, reasons, {"num_header_elements": float(num_elements)}
