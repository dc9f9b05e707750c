"""The reader ``llava``: LLaVA and ShareGPT conversations in JSON or JSON Lines."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError, Sample
from infimed_plugins.readers.conversation import conversation, image_list, medium_of
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import json_lines

USED = {"id", "image", "images", "conversations", "messages", "system", "tags", "licence", "license"}


class Llava(FileReader):
    """Rows with ``conversations`` (from, value) or ``messages`` (role, content) and ``image`` or ``images``.

    A file is a JSON array, or one object a line; ``.gz`` is read too. ``<image>`` stays where it stands. Other keys
    with a plain value are kept in ``meta``.
    """

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Entries of the array, or lines (``file:line`` where the entry begins)."""
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rb") as peeked:
            is_array = peeked.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        if not is_array:
            yield from json_lines(file)
            return
        with opener(file, "rt", encoding="utf-8-sig") as text:
            for line, entry in array_entries(text):
                yield f"{file}:{line}", entry

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """A conversation with its images placed."""
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        messages = row.get("conversations", row.get("messages"))
        if messages is None:
            raise DataError("bad_row", f"no 'conversations' or 'messages' (keys: {', '.join(sorted(map(str, row)))})")

        def place(name: str) -> Any:
            return self.media(file, name)

        images = image_list(row.get("image")) + image_list(row.get("images"))
        turns, media = conversation(messages, [medium_of(image, place) for image in images], place, row.get("system"))
        tags = row.get("tags") or {}
        return Sample(
            id=stable_id(row.get("id"), identity),
            turns=turns,
            media=media,
            tags={str(key): str(value) for key, value in tags.items()},
            licence=row.get("licence") or row.get("license"),
            meta={key: value for key, value in row.items() if key not in USED and _is_plain(value)},
        )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
