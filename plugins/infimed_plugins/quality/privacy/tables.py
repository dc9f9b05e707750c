"""Tables beside the files (``metadata.csv``): cleaned cell by cell, and naming the copies instead of the originals."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from infimed_core import DataError
from infimed_plugins.quality.identity import redact, tag
from infimed_plugins.quality.identity_keys import identity_of, in_name, is_pseudonym, kind_of_key, without_old_age
from infimed_plugins.quality.privacy.containers import Changes
from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms, is_uid
from infimed_plugins.quality.reasons import Reason

TABLES = {".csv": ",", ".tsv": "\t"}
JOINED = frozenset({Reason.PHI_NAME, Reason.PHI_RECORD_NUMBER})
"""Kinds that rows are joined by: they get a pseudonym and no tag."""


def clean_table(
    data: bytes, delimiter: str, copies: Mapping[str, str], pseudonyms: Pseudonyms
) -> tuple[bytes, Changes]:
    """A table's copy, in UTF-8, and what was changed.

    ``copies`` leads from the path and the name of every file of the source to its copy. A value that names a file gets
    the copy's place; one that its column says to identify gets a pseudonym, equal for equal values; all others are
    searched as any text is.

    Raises:
        DataError: ``bad_table``: it cannot be read as a table.
    """
    changes: Changes = Counter()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError("bad_table", f"not a table ({error})") from None
    if not rows or "\0" in text:
        raise DataError("bad_table", "it holds no row, or bytes that are no text")
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    head = rows[0]
    writer.writerow([_cell("", value, {}, pseudonyms, changes) for value in head])
    for row in rows[1:]:
        keys = [*head, *[""] * (len(row) - len(head))]
        writer.writerow([_cell(key, value, copies, pseudonyms, changes) for key, value in zip(keys, row, strict=False)])
    return out.getvalue().encode("utf-8"), changes


def cells_of(text: str, delimiter: str) -> Iterator[str]:
    """The values of a copied table, without pseudonyms and the places of copies."""
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        yield from (value for value in row if not is_pseudonym(PurePosixPath(value).stem))


def _cell(key: str, value: str, copies: Mapping[str, str], pseudonyms: Pseudonyms, changes: Changes) -> str:
    plain = value.strip()
    place = copies.get(plain) or copies.get(PurePosixPath(plain.replace("\\", "/")).name) if plain else None
    if place is not None:
        changes["table", "file given its copy's name"] += 1
        return place
    if is_uid(plain):
        changes["table", "given another UID"] += 1
        return pseudonyms.uid(plain)
    owned = identity_of(key, plain) or (
        kind_of_key(key) if plain and kind_of_key(key) in JOINED and len(plain) > 2 else None
    )
    if owned is Reason.PHI_AGE:
        changes["table", "90 in place of an age above"] += 1
        return without_old_age(plain)
    if owned is not None:
        changes["table", "given a pseudonym"] += 1
        return pseudonyms.name(redact(key).text, plain) if owned in JOINED else tag(owned)
    if plain and " " not in plain and in_name(plain):
        changes["table", "given a pseudonym"] += 1
        return pseudonyms.name("value", plain)
    redacted = redact(value)
    for reason, count in redacted.counts.items():
        changes["table", f"{reason.value} replaced"] += count
    return redacted.text


__all__ = ["JOINED", "TABLES", "cells_of", "clean_table"]
