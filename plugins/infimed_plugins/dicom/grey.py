"""From stored values to what a viewing station shows: modality, VOI, palette, padding and inversion, in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError
from infimed_plugins.dicom.groups import first_number, places
from infimed_plugins.dicom.tables import Table, read_palette, read_table
from infimed_plugins.dicom.windows import apply_window, full_range, named_window

RESCALE, VOI = "PixelValueTransformationSequence", "FrameVOILUTSequence"


def frame_to_rgb(dataset: Any, pixels: NDArray[Any], frame: int, window: Any) -> NDArray[np.uint8]:
    """uint8 [rows, columns, 3] of a frame's stored values or colours.

    ``window`` is ``"file"``, ``"full"``, a preset's name, [center, width], or three of these for red, green and blue.

    Raises:
        DataError: ``not_finite``, ``bad_option``, ``unsupported``, ``corrupt``.
    """
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()
    if pixels.ndim == 3:
        bits = min(int(dataset.get("BitsStored") or 8), 8 * pixels.dtype.itemsize)
        return _scaled(pixels, 2.0**bits - 1.0)
    if photometric == "PALETTE COLOR":
        signed, little = _is_signed(dataset), _is_little_endian(dataset)
        tables = read_palette(dataset, signed, little)
        return _scaled(np.stack([table.apply(pixels) for table in tables], axis=-1), tables[0].top)
    if not photometric.startswith("MONOCHROME"):
        raise DataError("unsupported", f"one sample per pixel of {photometric} is not read")
    padding = padding_of(dataset, pixels)
    channels = []
    for each in window if _is_three(window) else [window]:
        grey = _grey(dataset, pixels, frame, each, padding)
        if photometric == "MONOCHROME1":
            grey = 1.0 - grey
        if padding is not None:
            grey[padding] = 0.0
        channels.append(np.rint(grey * 255.0).astype(np.uint8))
    return np.stack(channels * (3 // len(channels)), axis=-1)


def _is_three(window: Any) -> bool:
    return isinstance(window, (list, tuple)) and len(window) == 3


def _scaled(values: NDArray[Any], top: float) -> NDArray[np.uint8]:
    if top == 255.0:
        return np.ascontiguousarray(values.astype(np.uint8))
    return np.rint(np.clip(values.astype(np.float64) * (255.0 / top), 0.0, 255.0)).astype(np.uint8)


def _is_signed(dataset: Any) -> bool:
    return bool(dataset.get("PixelRepresentation"))


def _is_little_endian(dataset: Any) -> bool:
    return bool(dataset.original_encoding[1])


def padding_of(dataset: Any, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which stored values are padding and no part of the image; ``None`` where none is, or all would be.

    The value and the limit of its range are read with the pixels' own sign, whatever VR they were written with.
    Source: DICOM PS3.3 C.7.5.1.1.2.
    """
    value = first_number(dataset.get("PixelPaddingValue"))
    if value is None or pixels.dtype.kind not in "iu":
        return None
    limit = first_number(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted(_as_stored(dataset, int(end)) for end in (value, value if limit is None else limit))
    padded = (pixels >= low) & (pixels <= high)
    return padded if padded.any() and not padded.all() else None


def _as_stored(dataset: Any, value: int) -> int:
    """``value`` as the number that its bits are among the stored values."""
    allocated = int(dataset.BitsAllocated)
    if _is_signed(dataset):
        return ((value & (2**allocated - 1)) ^ 2 ** (allocated - 1)) - 2 ** (allocated - 1)
    return value if value >= 0 else value & (2 ** int(dataset.get("BitsStored") or allocated) - 1)


def _grey(
    dataset: Any, pixels: NDArray[Any], frame: int, window: Any, padding: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Grey in [0, 1] before inversion."""
    if int(dataset.get("BitsStored") or dataset.get("BitsAllocated", 16)) == 1:
        return pixels.astype(np.float64)  # a mask: 0 and 1, whatever else is in the frame
    values, may_be_negative = _modality_values(dataset, pixels, frame)
    if not np.isfinite(values).all():
        raise DataError("not_finite", "pixels that are not finite numbers")
    if window == "file":
        shown = _file_voi(dataset, frame, may_be_negative)
        if isinstance(shown, Table):
            return np.clip(shown.apply(values) / shown.top, 0.0, 1.0)
        if shown is not None:
            return apply_window(values, *shown)
        window = "full"
    if window == "full":
        return full_range(values, None if padding is None else ~padding)
    return apply_window(values, *named_window(window))


def _modality_values(dataset: Any, pixels: NDArray[Any], frame: int) -> tuple[NDArray[Any], bool]:
    """The values in their unit, and whether such values may be below 0. What is there and empty is as if absent."""
    signed = _is_signed(dataset)
    for place in places(dataset, frame, RESCALE):
        sequence = place.get("ModalityLUTSequence")
        if sequence:
            return read_table(sequence[0], signed, _is_little_endian(dataset)).apply(pixels), False
        slope = first_number(place.get("RescaleSlope")) or None  # a slope of 0 would leave no image
        intercept = first_number(place.get("RescaleIntercept"))
        if slope is not None or intercept is not None:
            slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
            return pixels.astype(np.float64) * slope + intercept, signed or intercept < 0 or slope < 0
    return pixels, signed


def _file_voi(dataset: Any, frame: int, may_be_negative: bool) -> Table | tuple[float, float, str] | None:
    """The VOI LUT that the file gives for the frame, or its window as (center, width, function), or neither."""
    for place in places(dataset, frame, VOI):
        sequence = place.get("VOILUTSequence")
        if sequence:
            return read_table(sequence[0], may_be_negative, _is_little_endian(dataset))
        center, width = first_number(place.get("WindowCenter")), first_number(place.get("WindowWidth"))
        if center is not None and width is not None and width > 0:
            return center, width, str(place.get("VOILUTFunction") or "LINEAR").strip().upper()
    return None
