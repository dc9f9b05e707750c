"""Where media lie and what they are: inside a root, by a name with or without its ending, by their first bytes."""

from __future__ import annotations

import functools
import os
import re
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

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


def kind_of_file(place: Path) -> str:
    """By its ending; a file without one that tells is opened and looked at."""
    if ending_of(place.name) or not is_plain(place):
        return kind_of(place.name)
    try:
        with open(place, "rb") as file:
            return kind_of_bytes(file.read(4096), place.name)
    except OSError:
        return kind_of(place.name)


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


def with_ending(place: Path) -> Path:
    """The file that a name without its ending means, where there is one such; else the name as it is.

    Raises:
        DataError: ``ambiguous_media``: there are several.
    """
    ending = ending_of(place.name)
    if ending or os.path.exists(place):
        return place
    found = _names(str(place.parent)).get(place.name, ())
    if len(found) > 1:
        raise DataError("ambiguous_media", f"'{place.name}' may be {' or '.join(found[:4])}; write its ending")
    return place.with_name(found[0]) if found else place


def below(root: Path, name: str, digest: Callable[[Path], str]) -> Path | None:
    """The file in a folder below ``root`` whose path ends with the name, with or without its ending; if there is one.

    Raises:
        DataError: ``ambiguous_media``: there are several, and they differ.
    """
    folder, _, own = name.removeprefix("./").rpartition("/")
    end = f"/{folder}/" if folder else "/"
    found = [Path(place, file) for place, file in _tree(str(root)).get(own, ()) if f"/{place}/".endswith(end)]
    if len(found) > 1 and len({digest(one) for one in found}) > 1:
        told = " and ".join(str(one.relative_to(root)) for one in found[:3])
        raise DataError("ambiguous_media", f"'{name}' may be {told}, which differ; write more of its path")
    return found[0] if found else None


@functools.lru_cache(maxsize=4)
def _tree(root: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """The folder and name of every file below a folder, by its name and, of media, by that without the ending."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for place, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            ending = ending_of(name)
            for key in {name, name[: len(name) - len(ending)]}:
                found[key] = (*found.get(key, ()), (place, name))
    return found


def _names(folder: str) -> dict[str, tuple[str, ...]]:
    try:
        return _listed(folder, os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):
        return {}


@functools.lru_cache(maxsize=16)
def _listed(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """The media files of a folder by their names without the ending."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):
        if ending := ending_of(name):
            stem = name[: -len(ending)]
            found[stem] = (*found.get(stem, ()), name)
    return found
