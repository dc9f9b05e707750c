"""The reader ``webdataset``: tar shards whose members of one name make a sample."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tarfile import (  # type: ignore[attr-defined]  # the stubs lack these kinds of HeaderError
    EmptyHeaderError,
    EOFHeaderError,
    InvalidHeaderError,
    ReadError,
    TruncatedHeaderError,
)
from typing import IO, Any, ClassVar

from pydantic import Field

from infimed_core import DataError, Media, Sample
from infimed_plugins.readers.conversation import conversation, question_and_answer
from infimed_plugins.readers.fields import refuse, structured
from infimed_plugins.readers.files import FileReader, stable_id
from infimed_plugins.readers.jsonl import parsed
from infimed_plugins.readers.options import read_options, refuse_unread
from infimed_plugins.readers.places import KINDS, ending_of, kind_of_bytes
from infimed_plugins.readers.texts import decoded, regular
from infimed_plugins.readers.tools import tools_of
from infimed_plugins.readers.values import is_empty, known, natural, text_of

TEXTS = ("txt", "text", "caption")
ENDINGS = (*(ending[1:] for ending in KINDS), "nii.gz", "img")
MEMBERS = 8
"""How many of the largest members a sample may weigh."""
PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_UID = re.compile(r"((?:[A-Za-z]{1,4}\.)?[0-9]+(?:\.[0-9]+){2,})\.([A-Za-z].*)")
Group = dict[str, "bytes | DataError"]


class WebDataset(FileReader):
    """Members ``KEY.jpg``, ``KEY.txt``, ``KEY.json`` of a tar (also .tar.gz) are one sample with the id ``KEY``.

    ``KEY`` is the member's path up to the first dot of its file name; a UID is a key with its dots. Text comes from a
    ``.json`` with ``conversations``, ``messages``, ``question``/``answer`` or ``caption``; else from ``.txt``, as a
    caption. Several images (``KEY.0.png``, ``KEY.1.png``) are taken in the order of their numbers. Nothing is unpacked
    to disk. A member that is none of these, a key that comes again, and a text without a picture are faults.
    """

    max_member_bytes: int = Field(default=256 * 2**20, ge=1, description="Largest member that is read.")
    look: ClassVar[int] = 20
    text_only: bool = Field(default=False, description="Take samples without a picture too; else each is a fault.")

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Groups of members that follow each other and share a key (``file:KEY``)."""
        regular(file)
        key, group, seen, num_bytes = "", Group(), set[bytes](), 0
        tar = None
        try:
            with _unpacked(file) as stream, _Tar.open(fileobj=stream, mode="r:", ignore_zeros=True) as tar:
                for member in tar:
                    found, ending = _split(member.name)
                    if member.isdir() or not found:  # .hidden, ._0001.jpg
                        continue
                    if group and (found != key or ending in group):
                        yield f"{file}:{key}", (key, _unless_seen(key, group, seen))
                        group, num_bytes = Group(), 0
                    key, num_bytes = found, num_bytes + member.size
                    group[ending] = self._content(tar, member, num_bytes)
        except Exception as error:
            if group and tar is not None and tar.has_ended:  # what breaks lies behind the end
                yield f"{file}:{key}", (key, _unless_seen(key, group, seen))
            raise DataError("bad_file", f"the tar ends or breaks after '{key}': {error}; fetch it again") from None
        if group:
            yield f"{file}:{key}", (key, _unless_seen(key, group, seen))

    def own_id(self, row: Any) -> Any:
        """The key."""
        return row[0]

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """One group of members."""
        key, group = row
        if isinstance(group, DataError):
            raise group
        for content in group.values():
            if isinstance(content, DataError):
                raise content
        media = [
            Media(kind=kind_of_bytes(group[ending], f"x.{ending}"), data=group[ending])
            for ending in sorted(group, key=natural)
            if _is_medium(ending)
        ]
        for ending in group:
            if ending not in (*TEXTS, "json", *self.ignore) and not _is_medium(ending):
                told = f"nothing here reads a member .{ending}; set ignore: [{ending}] to read the sample without it"
                told = told if ending else "a member has no ending, which says what it is; name it KEY.png, KEY.dcm ..."
                raise DataError("unsupported_member", told)
        facts = _facts(group, self.encoding)
        refuse(facts, self.ignore)
        caption = next((decoded(group[ending], self.encoding).strip() for ending in TEXTS if ending in group), None)
        other = None if "caption" in self.ignore else facts.get("caption")
        if caption and isinstance(other, str) and other.strip() and other.strip() != caption:
            told = "the texts in .txt and under 'caption' in .json differ; set ignore: [caption] to read the first"
            raise DataError("bad_row", told)
        turns, found = self._turns(facts, facts.get("caption") if caption is None else caption, media, group)
        if not found and not self.text_only:
            told = f"no picture among its members ({', '.join(sorted(group))}); set text_only: true if none is meant"
            raise DataError("missing_media", told)
        tags = facts.get("tags") or {}
        sample = Sample(
            id=stable_id(facts.get("id"), key),
            turns=turns,
            tools=tools_of(structured(facts, "tools", self.ignore)),
            media=found,
            options=read_options(facts.get("options")),
            tags={str(name): text_of(value, str(name)) for name, value in tags.items() if known(value) is not None},
            licence=facts.get("licence") or facts.get("license"),
        )
        refuse_unread(facts, sample, "give them as a list in 'options'", self.ignore)
        return sample

    def _turns(self, facts: dict[str, Any], caption: Any, media: list[Media], group: Group) -> tuple[Any, Any]:
        def place(name: str) -> Media:
            raise DataError("outside_root", f"'{name}': a shard's images are members of the tar")

        messages, system = facts.get("conversations", facts.get("messages")), facts.get("system")
        objects = structured(facts, "objects", self.ignore)
        if messages is not None:
            return conversation(messages, media, place, system, self.ignore, objects)
        if not is_empty(facts.get("question")):
            question, answer, history = facts["question"], facts.get("answer"), facts.get("history")
            return question_and_answer(question, answer, media, place, system, history, self.ignore, objects)
        if not is_empty(caption):
            return question_and_answer(None, caption, media, place, ignore=self.ignore)
        raise DataError("empty_text", f"no text member among: {', '.join(sorted(group))}")

    def _content(self, tar: Any, member: Any, num_bytes: int) -> bytes | DataError:
        if not member.isfile():
            return DataError("outside_root", f"{member.name} is a link or device, which is never followed")
        if member.size > self.max_member_bytes:
            return DataError("too_large", f"{member.name} has {member.size} bytes, over max_member_bytes")
        if num_bytes > MEMBERS * self.max_member_bytes:
            return DataError("too_large", f"its members have {num_bytes} bytes, over {MEMBERS} times max_member_bytes")
        content: bytes = tar.extractfile(member).read()
        if len(content) != member.size:
            raise EOFError(f"{member.name} is cut short")
        return content


class _Member(tarfile.TarInfo):
    """A member's header; where none stands though the archive goes on or breaks off, that is an error and no end."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        """The next member.

        Raises:
            ReadError: what stands there is no header, or half of one; or the file ends without the mark of its end.
        """
        try:
            member = super().fromtarfile(tarfile)
        except EOFHeaderError:  # a block of zeros: the end, unless another archive was written behind this one
            tarfile.has_ended = True
            raise
        except (EmptyHeaderError, InvalidHeaderError, TruncatedHeaderError) as error:
            if tarfile.has_ended and isinstance(error, EmptyHeaderError):
                raise
            raise ReadError(f"{error}, where a member or the end mark should stand") from None
        tarfile.has_ended = False
        return member


class _Tar(tarfile.TarFile):
    """A tar that knows whether its end mark was read."""

    tarinfo = _Member
    has_ended = False


@contextmanager
def _unpacked(file: Path) -> Iterator[IO[bytes]]:
    """The tar itself. ``tarfile`` can unpack a stream, but copies what waits with every block that it reads, and reads
    on behind the end for as long as a header says."""
    with open(file, "rb") as start:
        head = start.read(6)
    kind: Any = next((kind for mark, kind in PACKED.items() if head.startswith(mark)), open)
    with kind(file, "rb") as stream:
        yield stream


def _split(name: str) -> tuple[str, str]:
    """Key and ending of a member; no key of what is hidden."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    uid = _UID.fullmatch(base)
    stem, ending = (uid[1], uid[2]) if uid else base.partition(".")[::2]
    return (f"{folder}/{stem}" if folder and stem else stem), ending.lower()


def _unless_seen(key: str, group: Group, seen: set[bytes]) -> Group | DataError:
    """The group, or that its key came before."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    if digest in seen:
        there = ", ".join(sorted(group))
        told = f"the key '{key}' came before ({there} here); members of a sample must follow each other, each once"
        return DataError("repeated_key", told)
    seen.add(digest)
    return group


def _is_medium(ending: str) -> bool:
    return ending.endswith(ENDINGS) and ending not in TEXTS and (bool(ending_of(f"x.{ending}")) or ending[-3:] == "img")


def _facts(group: dict[str, Any], encoding: str | None) -> dict[str, Any]:
    """The object in the ``.json`` member, or nothing."""
    if "json" not in group:
        return {}
    facts = parsed(decoded(group["json"], encoding), encoding)
    if isinstance(facts, Exception):
        raise facts
    if not isinstance(facts, dict):
        raise DataError("bad_row", "the .json member must be an object")
    return facts
