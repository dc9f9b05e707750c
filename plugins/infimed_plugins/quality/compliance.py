"""Dimension ``compliance``: identity in text, keys, names of files, headers and, where asked for, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from infimed_core import Media, MediaLoader, Sample
from infimed_plugins.quality.identity import WEAK, find
from infimed_plugins.quality.identity_keys import in_entries, in_name, in_tag
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pixels import PixelReader, burned_in
from infimed_plugins.quality.reasons import UNCHECKED, Reason

SHOWN = 3
"""Finds of one kind that a note shows."""


def told(reason: Reason, matched: str, place: str) -> str:
    """A find as a note shows it: the rule, what it matched, and where."""
    return f"{reason.value}: '{matched[:60]}' in {place}" if matched else f"{reason.value} in {place}"


def header_identity(media: Media) -> tuple[list[Reason], int, list[str]]:
    """Identity in the header of a DICOM or NIfTI file or in the metadata of a picture, in how many places, and notes.

    A header that cannot be read, and a kind of media whose header nobody here can read, is not taken for one without
    identity: the reason is ``identity_unchecked``.
    """
    try:
        found = find_in_header(media)
    except Exception:
        return [Reason.IDENTITY_UNCHECKED], 0, []
    notes = [told(place.reason, "", f"the header, {place.place}") for place in found[:SHOWN]]
    return list(dict.fromkeys(place.reason for place in found)), len(found), notes


def named_identity(sample: Sample) -> tuple[list[Reason], list[str]]:
    """Identity in the id, in tags and meta by their keys or values, and in the names of files; with notes."""
    places: list[tuple[str, str, Sequence[Reason]]] = []
    if found := in_name(sample.id):
        places.append(("the id", sample.id, found))
    places += [(f"the tag {tag}", value, own) for tag, value in sample.tags.items() if (own := in_tag(tag, value))]
    places += [("meta", "", in_entries(dict(sample.meta)))] if sample.meta else []
    for media in sample.media:
        places += [("the name of a file", part, in_name(part)) for part in PurePath(media.uri or "").parts[-2:]]
    notes = [told(reason, value, place) for place, value, reasons in places for reason in reasons]
    return list(dict.fromkeys(reason for _, _, reasons in places for reason in reasons)), notes


def pixel_identity(media: Media, loader: MediaLoader, reader: PixelReader | None) -> tuple[list[Reason], list[str]]:
    """Identity in burned-in text, with notes; without a ``reader``, or where it fails, ``pixels_unchecked``."""
    if reader is None:
        return [Reason.PIXELS_UNCHECKED], []
    try:
        lines = reader.read(loader.load(media))
    except Exception:
        return [Reason.PIXELS_UNCHECKED], []
    found = burned_in(lines)
    return found, [told(reason, " / ".join(line.text for line in lines), "the pixels") for reason in found]


def compliance(
    sample: Sample, everything: str, headers: Sequence[tuple[list[Reason], int, list[str]]], names: bool
) -> tuple[float | None, list[Reason], dict[str, float], list[str]]:
    """1 where nothing was found, 0 with structured identity, 0.3 with names, dates or ages alone.

    A risk flag, not a clearance. ``None`` where nothing was found but something could not be looked at. The notes say
    for each find what matched, where, and which rule.
    """
    text = "\n".join((everything, *sample.options)) if sample.options else everything
    pieces = find(text, names)
    notes = [told(piece.reason, text[piece.start : piece.stop], "the text") for piece in pieces]
    named, more = named_identity(sample)
    reasons = [*(piece.reason for piece in pieces), *named]
    notes += more
    for found, _, more in headers:
        reasons += found
        notes += more
    reasons = list(dict.fromkeys(reasons))
    num_elements = sum(num for _, num, _ in headers)
    found_any = [reason for reason in reasons if reason not in UNCHECKED]
    value = (None if reasons else 1.0) if not found_any else 0.3 if WEAK.issuperset(found_any) else 0.0
    return value, reasons, {"num_header_elements": float(num_elements)}, list(dict.fromkeys(notes))[: 4 * SHOWN]
