"""Files that are written whole or not at all, their checksums, and what is wrong with a line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError


@contextmanager
def replaced(path: Path, mode: str = "w", *, durable: bool = True) -> Iterator[IO[Any]]:
    """A stream whose content takes the place of ``path`` at the end; a reader, or a kill, sees the old or the new one.

    An exception within leaves ``path`` as it was. The temporary file lies beside it and ends in ``.tmp``.

    Args:
        durable: wait until the disk has it, so that a power cut cannot leave an empty file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # such as that of a file system that is read only, where it could not be made
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text file whole; ``text`` may come in parts, of which one is held at a time."""
    with replaced(path) as stream:
        stream.writelines([text] if isinstance(text, str) else text)


CHECKSUM = b',\n "checksum": "'


def with_checksum(text: str) -> str:
    """JSON of an object, indented by 1, with the checksum of all of it as its last key."""
    return f'{text[:-2]}{CHECKSUM.decode()}{hashlib.sha256(text.encode()).hexdigest()}"\n}}'


def without_checksum(content: bytes) -> tuple[bytes, bool]:
    """What ``with_checksum`` was given, and whether it is unchanged; an earlier version wrote no checksum."""
    before, found, _ = content.rpartition(CHECKSUM)
    whole = before + b"\n}" if found else content
    return whole, not found or content == with_checksum(whole.decode("utf-8", "replace")).encode()


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, none where it is missing."""
    if path.is_file():
        with path.open("rb") as stream:
            yield from stream


def first_mistake(error: ValidationError) -> str:
    """``sample.id: Field required``: the first of a validation's errors, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
