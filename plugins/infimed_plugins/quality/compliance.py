"""Dimension ``compliance``: identity in text, keys, names of files, headers and, where asked for, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from infimed_core import Media, MediaLoader, Sample
from infimed_plugins.quality.identity import WEAK, identities
from infimed_plugins.quality.identity_keys import in_entries, in_name
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pixels import PixelReader, burned_in
from infimed_plugins.quality.reasons import UNCHECKED, Reason


def header_identity(media: Media) -> tuple[list[Reason], int]:
    """Identity in the header of a DICOM or NIfTI file or in the metadata of a picture, and in how many places.

    A header that cannot be read, and a kind of media whose header nobody here can read, is not taken for one without
    identity: the reason is ``identity_unchecked``.
    """
    try:
        found = find_in_header(media)
    except Exception:
        return [Reason.IDENTITY_UNCHECKED], 0
    return list(dict.fromkeys(place.reason for place in found)), len(found)


def named_identity(sample: Sample) -> list[Reason]:
    """Identity in the id, in tags and meta by their keys or values, and in the names of files with their folder."""
    found = [*in_name(sample.id), *in_entries(dict(sample.tags)), *in_entries(dict(sample.meta))]
    for media in sample.media:
        for part in PurePath(media.uri or "").parts[-2:]:
            found += in_name(part)
    return list(dict.fromkeys(found))


def pixel_identity(media: Media, loader: MediaLoader, reader: PixelReader | None) -> list[Reason]:
    """Identity in burned-in text; without a ``reader``, or where it fails, ``pixels_unchecked``."""
    if reader is None:
        return [Reason.PIXELS_UNCHECKED]
    try:
        return burned_in(reader.read(loader.load(media)))
    except Exception:
        return [Reason.PIXELS_UNCHECKED]


def compliance(
    sample: Sample, everything: str, headers: Sequence[tuple[list[Reason], int]], names: bool
) -> tuple[float | None, list[Reason], dict[str, float]]:
    """1 where nothing was found, 0 with structured identity, 0.3 with names, dates or ages alone.

    A risk flag, not a clearance. ``None`` where nothing was found but something could not be looked at.
    """
    reasons = identities("\n".join((everything, *sample.options)), names)
    reasons += named_identity(sample)
    for found, _ in headers:
        reasons += found
    reasons = list(dict.fromkeys(reasons))
    num_elements = sum(num for _, num in headers)
    found_any = [reason for reason in reasons if reason not in UNCHECKED]
    value = (None if reasons else 1.0) if not found_any else 0.3 if WEAK.issuperset(found_any) else 0.0
    return value, reasons, {"num_header_elements": float(num_elements)}
