"""A look for identity in a whole sample or file, in text, header and pixels; what was not looked at is told."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import Media, MediaLoader, Sample
from infimed_plugins.quality.identity import find
from infimed_plugins.quality.identity_keys import without_pseudonyms
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pictures import shown_frames
from infimed_plugins.quality.privacy.pixels import OTHER_SIDE, PixelReader, burned_in
from infimed_plugins.quality.privacy.renditions import dicom_renditions
from infimed_plugins.quality.reasons import Reason

Findings = Counter[tuple[str, str]]
"""How often something was found: (place, reason); places are ``text``, ``pixels`` or a header's keyword."""
MOST_RENDITIONS = 6


def strings_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_in(inner)


def texts_of(sample: Sample) -> Iterator[str]:
    """Every text of a sample: id, turns with their calls, tools, options, references, tags, meta."""
    yield sample.id
    for turn in sample.turns:
        yield from (part for part in turn.content if isinstance(part, str))
        yield from (text for call in turn.tool_calls for text in strings_in(call.arguments))
        yield from (region.name for region in turn.regions if region.name)
    yield from (*sample.options, *sample.references, *sample.tags.values())
    yield from strings_in([dict(sample.meta), *sample.tools])


def scan_texts(texts: Iterable[str]) -> Findings:
    """Identity in texts; stand-ins of a clean copy are none."""
    return Counter(("text", found.reason.value) for text in texts for found in find(without_pseudonyms(text)))


def _at_another_scale(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half as large again where a picture is small: letters that one size of the OCR misses another one reads."""
    import cv2

    if max(pixels.shape[:2]) > OTHER_SIDE / 1.5:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _other_renditions(media: Media) -> Iterator[NDArray[np.uint8]]:
    """What a viewer can show of the first frame of a DICOM file, or of a picture of more than 8 bits, by a window."""
    if media.kind not in ("dicom", "image"):
        return
    data = media.data if media.data is not None else Path(media.uri or "").read_bytes()
    if media.kind == "image":
        yield from itertools.islice(shown_frames(data), 1, MOST_RENDITIONS)
        return
    import pydicom
    from pydicom.pixels import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values of the header are no fault of the pixels
        dataset = pydicom.dcmread(BytesIO(data), force=True)
        yield from list(itertools.islice(dicom_renditions(dataset, pixel_array(dataset, index=0)), MOST_RENDITIONS))


def scan_media(media: Media, loader: MediaLoader, reader: PixelReader | None) -> Findings:
    """Identity in the header and the pixels of ``media``; what cannot be looked at is ``identity_unchecked``."""
    found: Findings = Counter()
    try:
        found.update((place.place, place.reason.value) for place in find_in_header(media))
    except Exception:
        found["header", Reason.IDENTITY_UNCHECKED.value] += 1
    if reader is None:
        found["pixels", Reason.PIXELS_UNCHECKED.value] += 1
        return found
    try:
        for pixels in (loader.load(media), *_other_renditions(media)):
            lines = reader.read(_at_another_scale(pixels), OTHER_SIDE)
            found.update(("pixels", reason.value) for reason in burned_in(lines))
    except Exception:
        found["pixels", Reason.PIXELS_UNCHECKED.value] += 1
    return found
