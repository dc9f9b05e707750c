"""Where media lie and what they are: inside a root, by a name with or without its ending, by their first bytes."""

from __future__ import annotations

import functools
import os
import re
import stat
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infimed_core import DataError

KINDS = {
    ".dcm": "dicom", ".dicom": "dicom", ".ima": "dicom", ".nii": "nifti",
    **dict.fromkeys(
        (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".j2k", ".avif",
         ".pgm", ".ppm", ".pbm", ".pnm"), "image",
    ),
}  # fmt: skip
"""The modality of a file by its ending."""
GROUPS = (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")
"""How DICOM without its preamble begins."""
PICTURE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP|.{128}DICM", re.DOTALL)
"""How pictures begin."""
_HEAD = 352
SHORTEST = 32
"""Numbers in a list up to which it holds no picture."""


def ending_of(name: str) -> str:
    """The ending that says what a file is (``.png``, ``.nii.gz``); "" of ``IM0001`` and ``1.2.840.7``."""
    lower = name.lower()
    ending = os.path.splitext(lower.removesuffix(".gz"))[1]
    return (ending + ".gz" if lower.endswith(".gz") else ending) if ending in KINDS else ""


def kind_of(name: str) -> str:
    """The modality component that reads a file of this name."""
    return KINDS.get(ending_of(name).removesuffix(".gz"), "image")


def kind_of_bytes(content: bytes, name: str = "") -> str:
    """The modality that the first bytes tell, else that of the name."""
    head = content[:_HEAD]
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(wbits=31).decompress(content[:4096], _HEAD)
        except zlib.error:
            return kind_of(name)
    if head[128:132] == b"DICM" or (head[:4] in GROUPS and not ending_of(name)):
        return "dicom"
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    return kind_of(name)


def picture_of(numbers: Sequence[Any]) -> bytes | None:
    """The picture whose bytes a list of numbers holds, as some programs store it; ``None`` where it holds none."""
    try:
        content = bytes(numbers) if len(numbers) > SHORTEST else b""
    except (TypeError, ValueError):  # texts, or numbers that are no bytes
        return None
    return content if PICTURE.match(content) else None


def kind_of_file(place: Path) -> str:
    """By its ending, or by the header that lies beside it; a file without one that tells is opened and looked at."""
    if is_half_of_pair(place):
        return "nifti"
    if ending_of(place.name) or not is_plain(place):
        return kind_of(place.name)
    try:
        with open(place, "rb") as file:
            return kind_of_bytes(file.read(4096), place.name)
    except OSError:
        return kind_of(place.name)


def is_half_of_pair(place: Path) -> bool:
    """Whether a file holds the voxels of which the header lies beside it (``.img`` and ``.hdr``)."""
    stem, dot, ending = place.name.partition(".img")
    return bool(dot) and ending in ("", ".gz") and is_plain(place.with_name(f"{stem}.hdr{ending}"))


def is_header_of_pair(place: Path) -> bool:
    """Whether a file is the header of voxels that lie beside it."""
    stem, dot, ending = place.name.partition(".hdr")
    return bool(dot) and is_half_of_pair(place.with_name(f"{stem}.img{ending}"))


def is_picture(place: Path) -> bool:
    """Whether a file is a medium by its ending, or by its first bytes where the ending says nothing."""
    if ending_of(place.name):
        return True
    if kind_of_file(place) != "image":
        return True
    try:
        with open(place, "rb") as file:
            return is_plain(place) and bool(PICTURE.match(file.read(_HEAD)))
    except OSError:
        return False


def is_plain(place: Path) -> bool:
    """Whether there is a plain file: no folder, pipe or device."""
    try:
        return stat.S_ISREG(os.stat(place).st_mode)
    except (OSError, ValueError):
        return False


def inside(place: Path, root: Path) -> bool:
    """Whether a path leads to somewhere in ``root``, links followed."""
    return place.is_relative_to(root) and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root))


def with_ending(place: Path, root: Path) -> Path:
    """The file below ``root`` that a name means; else the name as it is.

    A name may lack its ending, and be written in other cases or in composed letters than the disk has it, as it is
    where folders come from Windows or macOS; a file of exactly that name comes first.

    Raises:
        DataError: ``ambiguous_media``: there are several.
    """
    if os.path.lexists(place) or place == root or not place.is_relative_to(root):
        return place
    *folders, own = place.relative_to(root).parts
    parent = root
    for folder in folders:
        if not os.path.isdir(parent / folder):
            named = _spelled(parent, folder)
            if len(named) != 1:
                return place
            folder = named[0]
        parent /= folder
    found = _names(str(parent)).get(folded(own), ())
    exact = [name for name in found if name[: len(name) - len(ending_of(name))] == own]
    found = tuple(_spelled(parent, own) or exact or (() if ending_of(own) else found))
    if len(found) > 1:
        raise DataError("ambiguous_media", f"'{own}' may be {' or '.join(found[:4])}; write its ending")
    return parent / (found[0] if found else own)


def _spelled(folder: Path, name: str) -> list[str]:
    """What in a folder has a name but for cases and composed letters."""
    return [one for one in _names(str(folder)).get(folded(name), ()) if folded(one) == folded(name)]


def below(root: Path, name: str, digest: Callable[[Path], str]) -> Path | None:
    """The file in a folder below ``root`` whose path ends with the name, as ``with_ending`` takes names.

    Raises:
        DataError: ``ambiguous_media``: there are several, and they differ.
    """
    folder, _, own = name.removeprefix("./").rpartition("/")
    end = folded(f"/{folder}/") if folder else "/"
    files = _tree(str(root)).get(folded(own), ())
    found = [Path(place, file) for place, file in files if folded(f"/{place}/").endswith(end)]
    exact = [one for one in found if str(one).endswith(f"/{name}") or str(one.with_suffix("")).endswith(f"/{name}")]
    found = exact or found
    if len(found) > 1 and len({digest(one) for one in found}) > 1:
        told = " and ".join(str(one.relative_to(root)) for one in found[:3])
        raise DataError("ambiguous_media", f"'{name}' may be {told}, which differ; write more of its path")
    return found[0] if found else None


def folded(name: str) -> str:
    """A name as file systems that do not tell case or composed letters apart take it."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


@functools.lru_cache(maxsize=4)
def _tree(root: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """The folder and name of every file below a folder, by its folded name with and, of media, without the ending."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for place, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            ending = ending_of(name)
            for key in {folded(name), folded(name[: len(name) - len(ending)])}:
                found[key] = (*found.get(key, ()), (place, name))
    return found


def _names(folder: str) -> dict[str, tuple[str, ...]]:
    try:
        return _listed(folder, os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):
        return {}


@functools.lru_cache(maxsize=16)
def _listed(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """What is in a folder, by folded names with and, of media, without the ending."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):
        ending = ending_of(name)
        for key in {folded(name), folded(name[: len(name) - len(ending)])}:
            found[key] = (*found.get(key, ()), name)
    return found
