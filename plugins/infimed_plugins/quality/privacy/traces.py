"""What was identity in a source, searched for byte by byte in the copy: another way than the one that removed it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from infimed_core import Media
from infimed_plugins.quality.identity import find
from infimed_plugins.quality.identity_names import is_ordinary
from infimed_plugins.quality.privacy.profile import DATE_VR, IDENTITY_VR, action_of
from infimed_plugins.quality.privacy.pseudonyms import is_uid
from infimed_plugins.quality.privacy.unpacking import unpacked

LEAST = 5
"""Characters of a value that are looked for; fewer stand in any picture by chance."""
_STANDARD = "1.2.840.10008."
_HARMLESS = re.compile(
    r"^(?:removed|anonym\w*|unknown|none|n/?a|yes|no|original|derived|primary|secondary|\d{1,4}|0+)$", re.I
)


def traces_of(media: Media, data: bytes) -> frozenset[str]:
    """Values of a source file that must not stand in its copy: of a DICOM header, or found in its readable pieces."""
    if media.kind != "dicom":
        return frozenset(_in_bytes(data))
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
            return frozenset(value for value in _in_dataset(dataset) if _counts(value))
        except Exception:  # what cannot be read is withheld, and nothing of it is written
            return frozenset()


def traces_in_text(text: str) -> Iterator[str]:
    """What is found in a text, as it stands there."""
    yield from (text[found.start : found.stop] for found in find(text) if _counts(text[found.start : found.stop]))


def _in_dataset(dataset: Any) -> Iterator[str]:
    for element in dataset:
        tag = int(element.tag)
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _in_dataset(item)
            continue
        values = element.value if type(element.value).__name__ == "MultiValue" else [element.value]
        if element.VR == "PN":
            for value in values:
                yield from (str(value), *re.split(r"[\^= ]+", str(value)))
        elif element.VR == "UI":
            yield from (str(value) for value in values if is_uid(str(value)) and not str(value).startswith(_STANDARD))
        elif (action_of(tag) is not None and element.VR in IDENTITY_VR | DATE_VR) or (tag >> 16) % 2:
            yield from (str(value) for value in values if isinstance(value, str | int | float))


def _in_bytes(data: bytes) -> Iterator[str]:
    """Identity in the readable pieces of a file that is no DICOM: remarks, and what lies behind its end."""
    for piece in re.findall(rb"[\x20-\x7e]{8,400}", data[:65536] + b"\n" + data[-65536:]):
        yield from traces_in_text(piece.decode("ascii"))


def _counts(value: str) -> bool:
    plain = value.strip()
    return len(plain) >= LEAST and not _HARMLESS.match(plain) and not (plain.isalpha() and is_ordinary(plain))


def left_in(data: bytes, traces: frozenset[str]) -> list[int]:
    """Where in a copy, unpacked if it is compressed, one of the traces stands."""
    try:
        plain = unpacked(data)
    except Exception:  # a damaged copy is found by what opens it
        plain = data
    places = []
    for trace in traces:
        for form in {
            trace.encode("utf-8", "replace"),
            trace.encode("latin-1", "replace"),
            trace.encode("utf-16-le", "replace"),
        }:
            if (at := plain.find(form)) >= 0:
                places.append(at)
    return sorted(set(places))
