"""A DICOM file without identity: the Basic Application Level Confidentiality Profile of PS3.15, applied."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from infimed_core import DataError
from infimed_plugins.quality.identity import redact
from infimed_plugins.quality.privacy.containers import Changes, rebuild_pixel_data
from infimed_plugins.quality.privacy.header import CODES, years_of
from infimed_plugins.quality.privacy.pixels import PixelReader, TextBox, cover, to_cover
from infimed_plugins.quality.privacy.profile import DATE_VR, FREE_TEXT, TEXT_VR, action_of
from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms, is_uid
from infimed_plugins.quality.privacy.renditions import dicom_renditions, frames_of

CHARACTERISTICS = frozenset({"PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientSexNeutered"})
METHOD = "InfiMed; PS3.15 2026c Basic Application Confidentiality Profile"
"""At most 64 characters, as the standard has it."""
MOST_FRAMES = 8
"""Frames of a file that are read by OCR, evenly spaced; what is found is covered in every frame."""
_DUMMY = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "PN": "ANONYMOUS",
    "DS": "0",
    "IS": "0",
}


@dataclass(frozen=True)
class DicomCleaner:
    """Cleans data sets in place.

    ``dates``: ``remove`` them as the basic profile does, or ``shift`` them by a number of days of each patient.
    ``descriptions``: ``remove`` prose as the profile does, or ``clean`` it of what the recognisers find.
    ``characteristics``: whether sex, age, size and weight stay. ``reader`` reads burned-in text; nothing does without.
    """

    pseudonyms: Pseudonyms
    dates: str = "remove"
    descriptions: str = "remove"
    characteristics: bool = False
    reader: PixelReader | None = None

    def clean(self, dataset: Any) -> Changes:
        """Change a pydicom data set, its sequences, its file meta and its pixels.

        Raises:
            DataError: the file must be withheld: it says that identity is burned in and nothing here can read it, or
                its pixels cannot be decoded to be read.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are removed or kept as they are
            return self._clean(dataset)

    def _clean(self, dataset: Any) -> Changes:
        changes: Changes = Counter()
        patient = "|".join(str(dataset.get(name, "")) for name in ("PatientID", "IssuerOfPatientID")) or "nobody"
        pixels = self._pixels(dataset, changes)
        rebuild_pixel_data(dataset, str(_syntax(dataset)), changes)
        self._elements(dataset, patient, "", changes)
        subject = self.pseudonyms.subject(patient)
        for name in ("PatientName", "PatientID"):
            for done in ("emptied", "replaced", "removed"):
                if changes.pop((name, done), 0):
                    changes[name, "given a pseudonym"] += 1
        dataset.PatientName, dataset.PatientID, dataset.PatientIdentityRemoved = subject, subject, "YES"
        dataset.DeidentificationMethod = METHOD
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if self.dates == "shift" else "REMOVED"
        dataset.DeidentificationMethodCodeSequence = [_code(*code) for code in self._codes(pixels)]
        if pixels:
            dataset.BurnedInAnnotation = "NO"
        self._meta(dataset)
        return changes

    def _codes(self, pixels: bool) -> list[tuple[str, str]]:
        codes = [("113100", "Basic Application Confidentiality Profile")]
        if pixels:
            codes.append(("113101", "Clean Pixel Data Option"))
        if self.descriptions == "clean":
            codes.append(("113105", "Clean Descriptors Option"))
        if self.dates == "shift":
            codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        if self.characteristics:
            codes.append(("113108", "Retain Patient Characteristics Option"))
        return codes

    def _meta(self, dataset: Any) -> None:
        from pydicom.dataset import FileMetaDataset

        old = dataset.file_meta
        meta: Any = FileMetaDataset()
        meta.TransferSyntaxUID = _syntax(dataset)
        meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or old.get("MediaStorageSOPClassUID")
        meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or self.pseudonyms.uid(
            str(old.get("MediaStorageSOPInstanceUID", ""))
        )
        dataset.file_meta = meta
        dataset.preamble = b"\0" * 128

    def _elements(self, dataset: Any, patient: str, within: str, changes: Changes) -> None:
        for element in list(dataset):
            tag = int(element.tag)
            place = "private" if (tag >> 16) % 2 else within + (element.keyword or f"{tag:08X}")
            # an overlay or a curve without its data, which the profile removes, is nothing but its texts
            action = "X" if (tag >> 24) in (0x50, 0x60) else action_of(tag)
            if element.keyword in CHARACTERISTICS and self.characteristics:
                of_age = element.keyword == "PatientAge"
                if not (of_age and element.value and years_of(str(element.value)) is None):  # prose is no age
                    action = None
                if of_age and (years_of(str(element.value)) or 0) > 90:
                    element.value = "090Y"
                    changes[place, "capped at 90 years"] += 1
            if element.VR == "SQ" and (action is None or "U" in action):
                for item in element.value or ():
                    self._elements(item, patient, f"{place}.", changes)
                continue
            done = self._element(dataset, element, action, patient)
            if done:
                changes[place, done] += 1

    def _element(self, dataset: Any, element: Any, action: str | None, patient: str) -> str:
        """Change one element; return what was done, "" for nothing."""
        empty = element.value is None or element.value == "" or element.value == b""
        if element.VR == "UI":
            return self._uid(element)
        if action is None:
            return "" if empty else self._outside(dataset, element)
        if element.VR in DATE_VR | {"TM"} and self.dates == "shift" and "Birth" not in element.keyword and not empty:
            if element.VR == "TM":
                return ""
            values = [self.pseudonyms.shifted(str(value), patient) for value in _several(element)]
            element.value = values if len(values) > 1 else values[0]
            return "shifted"
        if self.descriptions == "clean" and FREE_TEXT.search(element.keyword) and element.VR in TEXT_VR:
            return "" if empty else self._text(element)
        if action == "X":
            del dataset[element.tag]
            return "removed"
        if empty:
            return ""
        if action in ("Z", "X/Z") or element.VR == "SQ":
            element.value = [] if element.VR == "SQ" else None
            return "emptied"
        element.value = _dummy(element)
        return "replaced"

    def _uid(self, element: Any) -> str:
        values = [self.pseudonyms.uid(str(value)) for value in _several(element)]
        if values == [str(value) for value in _several(element)]:
            return ""
        element.value = values if len(values) > 1 else values[0]
        return "given another UID"

    def _outside(self, dataset: Any, element: Any) -> str:
        """An attribute that the profile does not name: a person is removed, other text is searched."""
        if element.VR == "PN":
            del dataset[element.tag]
            return "removed"
        if element.VR in ("UN", "OB") and (int(element.tag) >> 16) not in (0x7FE0, 0x0028, 0x5400, 0x0042):
            del dataset[element.tag]
            return "removed"
        return self._text(element) if element.VR in TEXT_VR and element.keyword not in CODES else ""

    def _text(self, element: Any) -> str:
        values = [str(value) for value in _several(element)]
        cleaned = [value if is_uid(value) else redact(value).text for value in values]
        if cleaned == values:
            return ""
        element.value = cleaned if len(cleaned) > 1 else cleaned[0]
        return "text replaced"

    def _pixels(self, dataset: Any, changes: Changes) -> bool:
        """Cover burned-in text; whether the pixels were read."""
        if "PixelData" not in dataset or int(dataset.get("BitsAllocated") or 8) < 8:
            return False
        if self.reader is None:
            if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
                raise DataError(
                    "burned_in_annotation", "the header says that identity is burned in; no OCR is installed"
                )
            changes["pixels", "unchecked"] += 1
            return False
        try:
            frames = frames_of(dataset)
            chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int))
            boxes: dict[TextBox, None] = {}
            for index in chosen:
                for picture in dicom_renditions(dataset, frames[index]):
                    boxes.update(dict.fromkeys(to_cover(self.reader.read(picture))))
            if boxes:
                _write(dataset, list(boxes))
        except Exception as error:
            raise DataError("pixels_unreadable", f"pixels cannot be decoded ({type(error).__name__})") from None
        changes["pixels", "line of text covered"] += len(boxes)
        if len(frames) > len(chosen):
            changes["pixels", "frame not read"] += len(frames) - len(chosen)
        return True


def _syntax(dataset: Any) -> Any:
    """The transfer syntax; where the file does not say it, as it was read."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" in dataset.file_meta:
        return dataset.file_meta.TransferSyntaxUID
    implicit, little = dataset.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _several(element: Any) -> list[Any]:
    value = element.value
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]


def _dummy(element: Any) -> Any:
    if element.VR in _DUMMY:
        return _DUMMY[element.VR]
    if element.VR in ("OB", "OW", "UN"):
        return b"\0\0"
    return "REMOVED" if element.VR in TEXT_VR else 0


def _code(value: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning[:64]
    return code


def _write(dataset: Any, boxes: list[TextBox]) -> None:
    """Cover boxes in every frame; the pixels are stored uncompressed from here on."""
    if _syntax(dataset).is_compressed:
        dataset.decompress(generate_instance_uid=False)
    frames = frames_of(dataset)
    if frames.ndim == 4 and "YBR" in str(dataset.PhotometricInterpretation):
        dataset.PhotometricInterpretation = "RGB"  # what the frames were decoded to
    inverted = str(dataset.PhotometricInterpretation) == "MONOCHROME1"
    value = int(frames.max() if inverted else frames.min())
    covered = np.stack([cover(frame, boxes, value) for frame in frames])
    data = np.ascontiguousarray(covered).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    if covered.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset["PixelData"].VR = "OW" if int(dataset.BitsAllocated) > 8 else "OB"
