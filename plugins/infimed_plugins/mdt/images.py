"""Images of cases: files inside installed packages, found without importing them, or files beside the cases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path

from infimed_core import DataError, Media
from infimed_plugins.mdt.cases import CaseImage


def media_of(image: CaseImage, folder: Path) -> Media:
    """The image by its place; nothing is decoded, and nothing is imported.

    Raises:
        DataError: the package or the file is not there, or lies outside of the package or the folder; the message
            names what to install.
    """
    try:
        place = _file(image, folder).resolve()
    except (OSError, ValueError) as error:  # a name that no file system holds
        raise DataError("bad_path", f"'{image.path[:80]}' is no path: {type(error).__name__}; mend it") from None
    return Media(kind=image.kind, uri=str(place), options=dict(image.options))


def _file(image: CaseImage, folder: Path) -> Path:
    if image.package is None:
        path = folder / image.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(
                "outside_root", f"{image.path}: leads out of {folder}; put the image beside the file of cases"
            )
        if not path.is_file():
            raise DataError("missing_file", f"{path}: no such image; paths are relative to the file of cases")
        return path
    if not image.package.isidentifier():
        told = "is no package's name; write the name that stands first, and what is inside of it under path"
        raise DataError("bad_package", f"'{image.package[:80]}' {told}")
    name = image.distribution or image.package
    place = _folder_of(image.package, name)
    if place is None:
        raise DataError("missing_package", f"an image needs the package {name}, not installed; pip install {name}")
    path = place / image.path
    if path.is_file() and path.resolve().is_relative_to(place.resolve()):
        return path
    raise DataError("missing_file", f"the installed package {name} holds no {image.path}; another version may")


@cache
def _folder_of(package: str, distribution: str) -> Path | None:
    """The folder that an installed distribution has put there; ``None`` where none has.

    Import is not asked: it runs the package that holds a dotted name, and takes whatever lies in the current folder.
    """
    for one in (*_distributions(distribution), *_distributions(None)):
        place = Path(str(one.locate_file(package)))
        if _is_folder(place) and any(file.parts[0] == package and len(file.parts) > 1 for file in one.files or ()):
            return place
    return None


@cache
def _is_folder(place: Path) -> bool:
    return place.is_dir()


def _distributions(name: str | None) -> Iterator[Distribution]:
    """What is installed under a name, or all of it; the current folder installs nothing."""
    here = Path.cwd()
    places = [place for place in sys.path if place and Path(place).resolve() != here.resolve()]
    yield from Distribution.discover(path=places) if name is None else Distribution.discover(name=name, path=places)
