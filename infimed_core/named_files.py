"""Digests of the files that settings name, for what reads files and does not say when they have changed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from errno import EACCES
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

WHOLE_FOLDER_BYTES = 64 * 2**20
"""Up to this size the content of a folder's files is hashed, beyond it their names and sizes."""


def read_named(path: Path, most: int = 2**26) -> bytes:
    """The content of a file that a user names.

    Raises:
        OSError: also where it is a pipe or a device, which may never end, and where it has more than ``most`` bytes.
    """
    if not S_ISREG(mode := path.stat().st_mode) and not S_ISDIR(mode):
        raise OSError(EACCES, "no plain file: pipes and devices are not opened", str(path))
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(EACCES, f"larger than {most // 2**20} MB", str(path))
    return content


def digest_of_files(settings: Mapping[str, Any], as_named: Callable[[str], str] = str) -> str:
    """sha256 over every file and folder that a value of ``settings`` names, by path, pattern or within a list or table.

    A file counts by its content; a folder by its listing, and by the content of its files where they are small. The
    path that is hashed is ``as_named(path)``.
    """
    digest = hashlib.sha256()
    above = {str(folder) for folder in (Path.cwd(), *Path.cwd().parents)}
    for text in sorted(set(_paths(settings))):
        is_pattern = glob.has_magic(text) and os.path.basename(text) != text and not os.path.exists(text)
        for name in sorted(glob.glob(text)) if is_pattern else [text]:
            path = Path(name)
            if os.path.abspath(name) in above:
                continue  # "." or "/", as a separator may be: no data set, and everything there is
            if path.is_file() or path.is_dir():
                content = _listing(path) if path.is_dir() else _content(path)
                digest.update(f"{as_named(name)}\0".encode("utf-8", "surrogatepass") + content)
    return digest.hexdigest()


def _paths(value: Any) -> Iterator[str]:
    """Every text or path in a value, at any depth, that may name a file."""
    if isinstance(value, os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, str):
        if value and len(value) < 4096 and "\0" not in value and "\n" not in value:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _paths(inner)
    elif hasattr(type(value), "model_fields"):
        yield from _paths(dict(value))


def _content(path: Path) -> bytes:
    with suppress(OSError):
        if path.is_file():  # a pipe would not end
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
    return b"unreadable"


def _listing(folder: Path) -> bytes:
    rows: list[tuple[str, int]] = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            file = os.path.join(parent, name)
            size = -1  # gone meanwhile, or a link to nothing
            with suppress(OSError):
                size = os.stat(file).st_size
            rows.append((os.path.relpath(file, folder), size))
    digest = hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass"))
    if sum(size for _, size in rows) <= WHOLE_FOLDER_BYTES:
        for name, _ in rows:
            digest.update(_content(folder / name))
    return digest.digest()


NO_PART = re.compile(
    r"(?i)(^|/)(\.|__pycache__/|artifact\.json$|(README|LICENSE)$)|\.(md|png|jpe?g|gif|pdf|lock|h5|msgpack|onnx)$"
)
"""Files in a checkpoint's folder that have no part in what it says; when it was made is in ``artifact.json``."""
KEPT_BYTES = 16 * 2**20
"""Digests of files from this size on are kept, so that weights are read whole once and not in every process."""
_HEADER_BYTES = 2**20
_known: dict[str, str] = {}


def digest_of_checkpoint(name: str) -> str:
    """sha256 over the content of a checkpoint on this disk, a directory or a file; "" where there is none.

    A file whose place, size, times and header are those of an earlier look is not read again.
    """
    path = Path(os.path.expanduser(name))
    if not path.is_dir():
        return digest_of_file(path) if path.is_file() else ""
    named = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    files = {name: named[name] for name in sorted(named) if not NO_PART.search(name)}
    from concurrent.futures import ThreadPoolExecutor  # brings logging with it

    with ThreadPoolExecutor(4) as pool:
        rows = list(zip(files, pool.map(digest_of_file, files.values()), strict=True))
    return hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_file(file: Path) -> str:
    """sha256 over a file, "unreadable" where it cannot be read; a large one that was not touched is not read again."""
    try:
        state = file.stat()
        if not S_ISREG(state.st_mode):
            return "unreadable"  # a pipe would not end
        with file.open("rb") as stream:
            header = hashlib.sha256(stream.read(_HEADER_BYTES)).hexdigest()
    except OSError:
        return "unreadable"
    seen = [str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, header]
    key = hashlib.sha256(json.dumps(seen).encode()).hexdigest()
    if key not in _known:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infimed" / "digests" / key
        text = ""
        with suppress(OSError, ValueError):
            text = kept.read_text(encoding="ascii") if state.st_size >= KEPT_BYTES else ""
        if len(text) != 64:
            text = _content(file).hex()
            if state.st_size >= KEPT_BYTES:
                with suppress(OSError):
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(text, encoding="ascii")  # one that is cut has another length
        _known[key] = text
    return _known[key]
