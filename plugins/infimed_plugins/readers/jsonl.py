"""The reader ``jsonl``: InfiMed's own samples, one JSON object a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.files import FileReader, kind_of


class Jsonl(FileReader):
    """Each line is a ``Sample`` (schemas/sample.schema.json); ``id`` may be left out. ``.gz`` is read too.

    A medium's ``uri`` is taken relative to ``image_root``; ``kind``, where
    not given, is told from the file's ending.
    """

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Lines that hold anything, as objects."""
        return json_lines(file)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The sample itself, its media placed and its fields checked."""
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a line must be a JSON object, not {type(row).__name__}")
        row = dict(row)
        row["id"] = str(row.get("id") or identity)
        media = row.get("media")
        if isinstance(media, list):
            row["media"] = [
                {"kind": kind_of(str(m.get("uri") or "")), **m} if isinstance(m, dict) else m for m in media
            ]
        try:
            sample = Sample.model_validate_json(json.dumps(row))
        except ValidationError as error:
            raise DataError("bad_row", _problems(error)) from None
        for turn in sample.turns:
            if any(not 0 <= index < len(sample.media) for index in turn.media_indices):
                raise DataError("bad_row", f"a turn points at medium {max(turn.media_indices)} of {len(sample.media)}")
        return sample.model_copy(update={"media": tuple(self._placed(file, medium) for medium in sample.media)})

    def _placed(self, file: Path, medium: Media) -> Media:
        if medium.uri is None:
            if medium.data is None:
                raise DataError("bad_row", "a medium needs a uri or data")
            return medium
        return medium.model_copy(update={"uri": self.media(file, medium.uri).uri})


def json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    """(``file:line``, object) of every line that is not blank; a line that is no JSON comes as the error it is."""
    with gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{file}:{number}", parsed(line)


def parsed(text: bytes) -> Any:
    """The JSON value, or a ``DataError`` (returned, not raised) that says what is wrong."""
    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        return DataError("bad_row", f"not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8")
    except RecursionError:
        return DataError("bad_row", "nested too deeply")
    except ValueError as error:
        return DataError("bad_row", f"not JSON: {error}")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value; write null")


def _problems(error: ValidationError) -> str:
    told = [f"{'.'.join(map(str, item['loc'])) or 'row'}: {item['msg']}" for item in error.errors()[:3]]
    more = len(error.errors()) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
