"""Images of cases: files inside installed packages, found without importing them, or files beside the cases."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from infimed_core import DataError, Media
from infimed_plugins.mdt.cases import CaseImage


def media_of(image: CaseImage, folder: Path) -> Media:
    """The image by its place; nothing is decoded.

    Raises:
        DataError: the package or the file is not there, or lies outside of the package or the folder; the message
            names what to install.
    """
    return Media(kind=image.kind, uri=str(_file(image, folder).resolve()), options=dict(image.options))


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
    name = image.distribution or image.package
    try:
        spec = importlib.util.find_spec(image.package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise DataError("missing_package", f"an image needs the package {name}, not installed; pip install {name}")
    for place in spec.submodule_search_locations or ():
        path = Path(place) / image.path
        if path.is_file() and path.resolve().is_relative_to(Path(place).resolve()):
            return path
    raise DataError("missing_file", f"the installed package {name} holds no {image.path}; another version may")
