"""A DICOM volume as its slices: the files of one series, or the frames of one file, ordered by position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media, Slices
from infimed_plugins.dicom.groups import numbers, places
from infimed_plugins.dicom.opening import name_of, open_source, read_header

PLANES = ("sagittal", "coronal", "axial")
TO_RIGHT_FRONT_UP = np.array([-1.0, -1.0, 1.0])
"""DICOM's axes run to the left, to the back and up."""


def find_slices(media: Sequence[Media], force: bool) -> Slices | None:
    """The slices of the volume that the media are; ``None`` where they are none.

    Raises:
        DataError: ``mixed_series``, ``repeated_position``, ``no_volume``, ``outside_root``, and what a header raises.
    """
    if len(media) > 1:
        return _listed(media, force)
    (item,) = media
    if item.uri is not None and Path(item.uri).is_dir():
        files, headers = _in_folder(item, force)
        return _of_files(files, headers, item.uri)
    header = _header(item, force)
    num_frames = int(header.get("NumberOfFrames") or 1)
    if num_frames < 2 or "frame" in item.options:
        return None
    frames = [item.model_copy(update={"options": {**item.options, "frame": frame}}) for frame in range(num_frames)]
    return _ordered(frames, [header] * num_frames, list(range(num_frames)), name_of(item))


def _header(item: Media, force: bool) -> Any:
    with open_source(item) as file:
        return read_header(item, file, force)[0]


def _in_folder(folder: Media, force: bool) -> tuple[list[Media], list[Any]]:
    """The images in a folder, of one ``series`` if the options name it; what is no DICOM image is passed by."""
    files, headers, series = [], [], folder.options.get("series")
    options = {name: value for name, value in folder.options.items() if name != "series"}
    for path in sorted(Path(str(folder.uri)).iterdir()):
        if not path.is_file() or path.name.startswith("."):  # .DS_Store, ._IM0001
            continue
        if not path.resolve().is_relative_to(Path(str(folder.uri)).resolve()):
            raise DataError("outside_root", f"{path}: a link that leads out of its folder")
        item = Media(kind="dicom", uri=str(path), options=options)
        try:
            header = _header(item, force)
        except DataError as error:
            if error.code not in ("not_dicom", "no_pixels"):
                raise
            continue
        if series in (None, str(header.get("SeriesInstanceUID"))):
            headers.append(header)
            files.append(item)
    if not files:
        raise DataError("no_volume", f"{folder.uri}: a folder without a DICOM image")
    return files, headers


def _listed(media: Sequence[Media], force: bool) -> Slices | None:
    """Three files or more with places of their own in one series; ``None`` for views that only stand together."""
    if len(media) < 3:
        return None
    headers = [_header(item, force) for item in media]
    try:
        found = _of_files(media, headers, name_of(media[0]))
    except DataError:
        return None
    return found if found is not None and found.ordered_by == "position" else None


def _of_files(media: Sequence[Media], headers: Sequence[Any], name: str) -> Slices | None:
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        if len(headers) > 1:
            raise DataError("mixed_series", f"{name}: several files, of which one has many frames; name it alone")
        return find_slices(media, force=True)
    kept = [at for at, header in enumerate(headers) if "LOCALIZER" not in list(header.get("ImageType") or ())]
    kept = kept or list(range(len(headers)))  # a scout among slices is none of them; scouts alone are a series
    facts = {_fact(headers[at]) for at in kept}
    if len(facts) > 1:
        what = f"{len(facts)} series, sizes or orientations of image"
        series = ", ".join(sorted({fact[0] for fact in facts}))
        raise DataError("mixed_series", f"{name}: {what} together; choose one by the option series ({series[:300]})")
    found = _ordered([media[at] for at in kept], [headers[at] for at in kept], [0] * len(kept), name)
    return found.model_copy(update={"left_out": len(headers) - len(kept)})


def _fact(header: Any) -> tuple[Any, ...]:
    """What the slices of one volume have in common."""
    cosines = tuple(round(number, 2) + 0.0 for number in numbers(header.get("ImageOrientationPatient")))
    return str(header.get("SeriesInstanceUID")), int(header.Rows), int(header.Columns), cosines


def _ordered(media: list[Media], headers: list[Any], frames: list[int], name: str) -> Slices:
    """In order by position, else by instance number, or by frame within a file."""
    of_frames = len(media) > 1 and headers[0] is headers[-1]
    normal, plane = _direction(headers[0], frames[0])
    placed = [_position(header, frame, normal) for header, frame in zip(headers, frames, strict=True)]
    ordered_by, positions = "position", [place for place in placed if place is not None]
    if len(positions) < len(media) or (of_frames and len(set(positions)) < len(positions)):
        ordered_by = "frame" if of_frames else "instance"
        positions = [float(frame) for frame in frames] if of_frames else [_instance(header) for header in headers]
    order = np.argsort(positions, kind="stable")
    positions = [positions[at] for at in order]
    if len(media) > 1 and not np.all(np.diff(positions) > 0):
        raise DataError(
            "repeated_position",
            f"{name}: slices at one place (a time series, or several echoes?); name each volume alone",
        )
    spacing = _spacing(headers[0], frames[0], positions) if ordered_by == "position" else None
    return Slices(
        media=tuple(media[at] for at in order),
        plane=plane,
        positions=tuple(round(position, 4) for position in positions),
        spacing=spacing,
        ordered_by=ordered_by,
    )


def _direction(header: Any, frame: int) -> tuple[NDArray[np.float64] | None, str]:
    """The way through the slices towards right, front or head, and the plane that they lie in."""
    for place in places(header, frame, "PlaneOrientationSequence"):
        cosines = numbers(place.get("ImageOrientationPatient"))
        if len(cosines) == 6:
            normal = np.cross(cosines[:3], cosines[3:]) * TO_RIGHT_FRONT_UP
            axis = int(np.argmax(np.abs(normal)))
            length = float(np.linalg.norm(normal))
            if length > 0.5:
                return normal * (np.sign(normal[axis]) / length), PLANES[axis]
    return None, ""


def _position(header: Any, frame: int, normal: NDArray[np.float64] | None) -> float | None:
    for place in places(header, frame, "PlanePositionSequence"):
        corner = numbers(place.get("ImagePositionPatient"))
        if len(corner) == 3 and normal is not None:
            return float(np.dot(np.asarray(corner) * TO_RIGHT_FRONT_UP, normal))
    return None


def _instance(header: Any) -> float:
    found = numbers(header.get("InstanceNumber"))
    if not found:
        raise DataError("no_volume", "slices without a position and without an instance number cannot be put in order")
    return found[0]


def _spacing(header: Any, frame: int, positions: list[float]) -> tuple[float, float, float] | None:
    """Between slices (the usual distance), rows and columns, in millimetres."""
    for place in places(header, frame, "PixelMeasuresSequence"):
        size = numbers(place.get("PixelSpacing"))
        if len(size) == 2:
            between = float(np.median(np.diff(positions))) if len(positions) > 1 else 0.0
            return round(between, 4), size[0], size[1]
    return None
