"""Which stored voxels a slice across one of the patient's axes is, and how they are turned upright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media, Slices
from infimed_plugins.nifti.volumes import Header

MOST_STRETCHED = 20.0
"""A voxel is never taken to be longer than this many times its width: such a header is a mistake."""

PLANES = ("sagittal", "coronal", "axial")
MOST_PIXELS = 2**26
"""A slice that would have more once it is stretched stays as it is stored."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice: the index of its volume, where it lies there, how it is turned, and (height, width) of the picture."""

    volume: int
    where: tuple[int | slice, ...]
    swapped: bool
    flipped: tuple[bool, bool]
    shape: tuple[int, int]

    def upright(self, values: NDArray[Any], convention: str) -> NDArray[Any]:
        """The stored values [first axis, second axis] as they are looked at, [h, w]."""
        if self.swapped:
            values = values.swapaxes(0, 1)
        for position, flip in enumerate(self.flipped):
            if flip:
                values = np.flip(values, position)
        turned = np.rot90(values)
        return np.fliplr(turned) if convention == "radiological" else turned


def find_cut(header: Header, options: Mapping[str, Any]) -> Cut:
    """The slice that ``axis``, ``index`` and ``volume`` of the options name.

    Raises:
        DataError: ``bad_option``, ``no_such_slice``, ``corrupt`` (an affine without orientation).
    """
    stored, reversed_ = patient_axes(header)
    axis: Any = options.get("axis", stored.index(2) if header.shape[2] == 1 else 2)
    if not _is_index(axis, 3):
        raise DataError("bad_option", f"axis must be 0 (sagittal), 1 (coronal) or 2 (axial), not {axis!r}")
    size = header.shape[stored[axis]]
    index: Any = options.get("index", size // 2)
    if not _is_index(index, size):
        raise DataError("no_such_slice", f"index {index!r}, but axis {axis} has 0 to {size - 1}")
    num_volumes = prod(header.shape[3:])
    volume: Any = options.get("volume", 0)
    if not _is_index(volume, num_volumes):
        raise DataError("no_such_slice", f"volume {volume!r}, but it has 0 to {num_volumes - 1}")
    where: list[int | slice] = [slice(None)] * 3
    where[stored[axis]] = size - 1 - index if reversed_[axis] else index
    across, up = (other for other in range(3) if other != axis)
    shape = header.shape[stored[up]], header.shape[stored[across]]
    if options.get("square_pixels"):
        sizes = np.linalg.norm(header.affine[:3, :3], axis=0)
        shape = _square_shape(shape, float(sizes[stored[up]]), float(sizes[stored[across]]))
    flipped = reversed_[across], reversed_[up]
    return Cut(volume, tuple(where), stored[across] > stored[up], flipped, shape)


def find_slices(item: Media, header: Header, plane: str | None) -> Slices | None:
    """The slices across ``plane``'s axis, from the patient's left, back or feet; ``None`` of a single one.

    Raises:
        DataError: ``bad_option``, ``corrupt``, ``repeated_position``: there are several volumes, and none is picked.
    """
    stored, reversed_ = patient_axes(header)
    axis: Any = item.options.get("axis", 2) if plane is None else PLANES.index(plane) if plane in PLANES else None
    if not _is_index(axis, 3):
        raise DataError("bad_option", f"plane must be one of {', '.join(PLANES)}, not {plane or axis!r}")
    source, across, up = (stored[number] for number in (axis, *(other for other in range(3) if other != axis)))
    size = header.shape[source]
    if size < 2:
        return None
    if (num_volumes := prod(header.shape[3:])) > 1 and "volume" not in item.options:
        told = f"it holds {num_volumes} volumes, as a series in time; pick one with the medium's options: {{volume: 0}}"
        raise DataError("repeated_position", told)
    middle = [(length - 1) / 2 for length in header.shape[:3]]
    positions = []
    for index in range(size):
        middle[source] = size - 1 - index if reversed_[axis] else index
        positions.append(round(float(header.affine[axis] @ [*middle, 1.0]), 4))
    sizes = [round(float(size), 4) for size in np.linalg.norm(header.affine[:3, :3], axis=0)]
    options = [{**item.options, "axis": axis, "index": index} for index in range(size)]
    return Slices(
        media=tuple(item.model_copy(update={"options": chosen}) for chosen in options),
        plane=PLANES[axis],
        positions=tuple(positions),
        spacing=(sizes[source], sizes[up], sizes[across]),
    )


def patient_axes(header: Header) -> tuple[list[int], list[bool]]:
    """For each axis of the patient (right, front, up): the stored axis, and whether it runs the other way."""
    import nibabel

    try:
        orientation = nibabel.orientations.io_orientation(header.affine)
    except Exception:
        orientation = np.full((3, 2), np.nan)
    missing = np.flatnonzero(~np.isfinite(orientation).all(axis=1))
    if len(missing) == 1 and header.shape[missing[0]] == 1:  # a picture need not say where its one layer lies
        orientation[missing[0]] = (set(range(3)) - set(orientation[:, 0])).pop(), 1
    elif len(missing):
        raise DataError("corrupt", "its affine gives no orientation; mend it with a NIfTI tool")
    stored = [int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3)]
    return stored, [bool(orientation[source, 1] < 0) for source in stored]


def _is_index(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _square_shape(shape: tuple[int, int], up: float, across: float) -> tuple[int, int]:
    """The size at which pixels are square and no detail is lost; the same where they differ by less than 1%."""
    if not (up > 0 and across > 0 and np.isfinite([up, across]).all()):
        return shape
    stretch = up / across
    if abs(stretch - 1) < 0.01 or not 1 / MOST_STRETCHED <= stretch <= MOST_STRETCHED:
        return shape
    square = (round(shape[0] * stretch), shape[1]) if stretch > 1 else (shape[0], round(shape[1] / stretch))
    return square if prod(square) <= MOST_PIXELS else shape
