"""The reader ``jsonl``: InfiMed's own samples, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.files import FileReader
from infimed_plugins.readers.json_array import constant, unlike
from infimed_plugins.readers.places import kind_of
from infimed_plugins.readers.texts import lines_of, not_whole, opened


class Jsonl(FileReader):
    """Each line is a ``Sample`` (schemas/sample.schema.json); ``id`` may be left out. ``.gz`` is read too.

    A medium's ``uri`` is taken relative to ``image_root``; ``kind``, where
    not given, is told from the file's ending, or from the file where it has none.
    """

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Lines that hold anything, as objects."""
        return json_lines(file, self.encoding)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The sample itself, its media placed and its fields checked."""
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a line must be a JSON object, not {type(row).__name__}")
        row = dict(row)
        row["id"] = str(row["id"] if row.get("id") not in (None, "") else identity)
        media = row.get("media")
        kinds = [isinstance(m, dict) and "kind" in m for m in media] if isinstance(media, list) else []
        if isinstance(media, list):
            row["media"] = [
                {"kind": kind_of(str(m.get("uri") or "")), **m} if isinstance(m, dict) else m for m in media
            ]
        turns = row.get("turns")
        contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
        if any(isinstance(part, bool) for content in contents if isinstance(content, list) for part in content):
            raise DataError("bad_row", "true or false in the content of a turn, which holds texts and indices of media")
        if told := not_whole(row, self.encoding):
            raise DataError("bad_row", told)
        sample = Sample.model_validate_json(json.dumps(row))
        for turn in sample.turns:
            if any(not 0 <= index < len(sample.media) for index in turn.media_indices):
                raise DataError("bad_row", f"a turn points at medium {max(turn.media_indices)} of {len(sample.media)}")
        placed = (self._placed(file, medium, given) for medium, given in zip(sample.media, kinds, strict=True))
        return sample.model_copy(update={"media": tuple(placed)})

    def _placed(self, file: Path, medium: Media, has_kind: bool) -> Media:
        if medium.uri is None and medium.data is None and "parts" not in medium.options:
            raise DataError("bad_row", "a medium needs a uri or data")
        if medium.uri is None and "parts" not in medium.options:
            return medium
        placed: dict[str, Any] = {}
        if medium.uri is not None:
            found = self.media(file, medium.uri)
            placed = {"uri": found.uri, "kind": medium.kind if has_kind else found.kind}
        parts = medium.options.get("parts")
        if isinstance(parts, list):  # of a montage: each is a medium with a place of its own
            inner = [self._part(file, part) for part in parts]
            return medium.model_copy(update={**placed, "options": {**medium.options, "parts": inner}})
        return medium.model_copy(update=placed)

    def _part(self, file: Path, part: Any) -> Any:
        if not isinstance(part, dict):
            raise DataError("bad_row", "a part of a montage must be an object")
        if isinstance(part.get("options"), dict) and "parts" in part["options"]:
            raise DataError("bad_row", "a montage within a montage")
        if part.get("uri") is None:
            return part
        found = self.media(file, str(part["uri"]))
        return {**part, "uri": found.uri, "kind": part.get("kind", found.kind)}


def json_lines(file: Path, encoding: str | None = None) -> Iterator[tuple[str, Any]]:
    """(``file:line``, object) of every line that is not blank; a line that is no JSON comes as the error it is."""
    with opened(file, encoding) as lines:
        for number, line in enumerate(lines_of(lines), start=1):
            if isinstance(line, DataError):
                yield f"{file}:{number}", line
            elif line.strip():
                yield f"{file}:{number}", parsed(line, encoding)


def parsed(text: str, encoding: str | None = None) -> Any:
    """The JSON value, or a ``DataError`` (returned, not raised) that says what is wrong."""
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_constant=constant, object_pairs_hook=unlike)
    except RecursionError:
        return DataError("bad_row", "nested too deeply")
    except ValueError as error:
        return DataError("bad_row", not_whole(text, encoding) or f"not JSON: {error}")
