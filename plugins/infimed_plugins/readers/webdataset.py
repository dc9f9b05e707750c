"""The reader ``webdataset``: tar shards whose members of one name make a sample."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.conversation import conversation, question_and_answer
from infimed_plugins.readers.files import FileReader, kind_of, stable_id
from infimed_plugins.readers.jsonl import parsed

TEXTS = ("txt", "text", "caption")
MEDIA = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif", "jp2", "avif", "dcm", "nii", "nii.gz", "img")


class WebDataset(FileReader):
    """Members ``KEY.jpg``, ``KEY.txt``, ``KEY.json`` of a tar (also .tar.gz) are one sample with the id ``KEY``.

    ``KEY`` is the member's path up to the first dot of its file name. Text comes from a ``.json`` with
    ``conversations``, ``messages``, ``question``/``answer`` or ``caption``; else from ``.txt``, as a caption. Several
    images (``KEY.0.png``, ``KEY.1.png``) are taken in the order of their names. Nothing is unpacked to disk.
    """

    max_member_bytes: int = Field(default=256 * 2**20, ge=1, description="Largest member that is read.")

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Groups of members that follow each other and share a key (``file:KEY``)."""
        group: dict[str, bytes | DataError] = {}
        key = None
        try:
            with tarfile.open(file, "r|*") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    folder, _, base = member.name.removeprefix("./").rpartition("/")
                    stem, _, ending = base.partition(".")
                    if not stem:  # .hidden, ._0001.jpg
                        continue
                    found = f"{folder}/{stem}" if folder else stem
                    if found != key:
                        if key is not None:
                            yield f"{file}:{key}", (key, group)
                        key, group = found, {}
                    group[ending.lower()] = self._content(tar, member)
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise DataError("bad_file", f"the tar ends or breaks after '{key}': {error}; fetch it again") from None
        if key is not None:
            yield f"{file}:{key}", (key, group)

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """One group of members."""
        key, group = row
        for content in group.values():
            if isinstance(content, DataError):
                raise content
        media = [
            Media(kind=kind_of(f"x.{ending}"), data=group[ending])
            for ending in sorted(group)
            if ending.endswith(MEDIA) and ending not in TEXTS
        ]
        facts = _facts(group)
        caption = next((_decoded(group[ending]) for ending in TEXTS if ending in group), facts.get("caption"))

        def place(name: str) -> Media:
            raise DataError("outside_root", f"'{name}': a shard's images are members of the tar")

        messages = facts.get("conversations", facts.get("messages"))
        if messages is not None:
            turns, found = conversation(messages, media, place, facts.get("system"))
        elif "question" in facts:
            turns, found = question_and_answer(facts["question"], facts.get("answer"), media, place)
        elif caption is not None:
            turns, found = question_and_answer(None, caption, media, place)
        else:
            raise DataError("empty_text", f"no text member among: {', '.join(sorted(group))}")
        tags = facts.get("tags") or {}
        return Sample(
            id=stable_id(facts.get("id"), key),
            turns=turns,
            media=found,
            tags={str(name): str(value) for name, value in tags.items()},
            licence=facts.get("licence") or facts.get("license"),
        )

    def _content(self, tar: Any, member: Any) -> bytes | DataError:
        if not member.isfile():
            return DataError("outside_root", f"{member.name} is a link or device, which is never followed")
        if member.size > self.max_member_bytes:
            return DataError("too_large", f"{member.name} has {member.size} bytes, over max_member_bytes")
        content = tar.extractfile(member).read()
        if len(content) != member.size:
            raise EOFError(f"{member.name} is cut short")
        return content


def _facts(group: dict[str, Any]) -> dict[str, Any]:
    """The object in the ``.json`` member, or nothing."""
    if "json" not in group:
        return {}
    facts = parsed(group["json"])
    if isinstance(facts, Exception):
        raise facts
    if not isinstance(facts, dict):
        raise DataError("bad_row", "the .json member must be an object")
    return facts


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("bad_row", f"the text member is not UTF-8 (byte {error.start})") from None
