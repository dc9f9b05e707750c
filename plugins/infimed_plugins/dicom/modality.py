"""The modality ``dicom``: one frame of a DICOM file as it would be shown on a viewing station."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Media, Modality
from infimed_plugins.dicom.windows import PRESETS, apply_window, full_range

_quiet_lock = threading.RLock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pydicom's remarks (warnings and log) to itself; what makes a file unusable is told as a ``DataError``."""
    logger = logging.getLogger("pydicom")
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


class Dicom(Modality):
    """Reads a frame: modality LUT, window, palette or colour space, then MONOCHROME1 inverted, to RGB.

    ``Media.options``: ``frame`` (from 0, default 0); ``window``: ``[center, width]`` in the units of the rescaled
    values, a preset's name, ``"file"`` or ``"full"`` (from the least to the greatest value).
    """

    window: str | tuple[float, float] = Field(
        default="file",
        description="'file' (the file's own window or VOI LUT, else the full range), 'full', a preset "
        f"({', '.join(PRESETS)}), or [center, width].",
    )
    max_pixels: int = Field(default=64_000_000, ge=1, description="Most pixels of a frame; more are refused unread.")
    force: bool = Field(default=False, description="Read files without DICOM's preamble and file meta information.")

    def probe(self, media: Media) -> tuple[int, ...]:
        """(rows, columns) from the header, pixels unread.

        Raises:
            DataError: ``missing_file``, ``not_dicom``, ``no_pixels``, ``too_large``, ``no_such_frame``.
        """
        with _quiet():
            dataset = self._read(media, header_only=True)
            self._frame(media, dataset)
            return int(dataset.Rows), int(dataset.Columns)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [rows, columns, 3]. Further codes: ``truncated``, ``corrupt``, ``unsupported``, ``bad_option``."""
        with _quiet():
            try:
                dataset = self._read(media, header_only=False)
            except DataError as error:
                if error.code == "no_pixels":  # pydicom drops the header too where the pixels break off
                    self._read(media, header_only=True)
                    raise _cut(media) from None
                raise
            frame = self._frame(media, dataset)
            pixels = _decode(media, dataset, frame)
            try:
                return self._to_rgb(media, dataset, pixels, frame)
            except DataError:
                raise
            except Exception as error:
                raise DataError(
                    "corrupt", f"{_name(media)}: its look-up tables cannot be applied ({type(error).__name__}: {error})"
                ) from None

    def _read(self, media: Media, header_only: bool) -> Any:
        import pydicom
        from pydicom.errors import InvalidDicomError

        if media.data is None and media.uri is None:
            raise DataError("missing_file", "a DICOM image with neither uri nor data")
        try:
            source: Any = BytesIO(media.data) if media.data is not None else media.uri
            dataset = pydicom.dcmread(source, stop_before_pixels=header_only, force=self.force)
            if "Rows" not in dataset or "Columns" not in dataset or not dataset.Rows or not dataset.Columns:
                raise DataError("no_pixels", f"{_name(media)}: a DICOM object without an image")
            rows, columns = int(dataset.Rows), int(dataset.Columns)
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError("missing_file", f"{_name(media)}: no such file; check path and image_root") from None
        except (IsADirectoryError, PermissionError) as error:
            raise DataError("unreadable", f"{_name(media)}: cannot be read ({error.strerror})") from None
        except InvalidDicomError:
            raise DataError(
                "not_dicom", f"{_name(media)}: no DICOM file (if it only lacks the preamble, set force: true)"
            ) from None
        except (EOFError, struct.error):
            raise DataError("truncated", f"{_name(media)}: the file is cut short; fetch it again") from None
        except Exception as error:
            raise DataError(
                "corrupt", f"{_name(media)}: header cannot be read ({type(error).__name__}: {error})"
            ) from None
        if rows * columns > self.max_pixels:
            raise DataError(
                "too_large", f"{_name(media)}: {rows} x {columns} pixels, over max_pixels={self.max_pixels}"
            )
        return dataset

    def _frame(self, media: Media, dataset: Any) -> int:
        try:
            num_frames = int(dataset.get("NumberOfFrames") or 1)
        except (TypeError, ValueError) as error:
            raise DataError("corrupt", f"{_name(media)}: header cannot be read (NumberOfFrames: {error})") from None
        frame = media.options.get("frame", 0)
        if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < num_frames:
            raise DataError(
                "no_such_frame", f"{_name(media)}: frame {frame!r}, but it has frames 0 to {num_frames - 1}"
            )
        return frame

    def _to_rgb(self, media: Media, dataset: Any, pixels: NDArray[Any], frame: int) -> NDArray[np.uint8]:
        from pydicom.pixels import apply_color_lut

        photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
        if photometric == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
            bits = 8 * pixels.dtype.itemsize
        if pixels.ndim == 3:
            if bits > 8:
                pixels = pixels >> (bits - 8)
            return np.ascontiguousarray(pixels[..., :3].astype(np.uint8))
        grey = self._grey(media, dataset, pixels, frame)
        if photometric == "MONOCHROME1":
            grey = 1.0 - grey
        return np.repeat(np.rint(grey * 255.0).astype(np.uint8)[..., None], 3, axis=2)

    def _grey(self, media: Media, dataset: Any, pixels: NDArray[Any], frame: int) -> NDArray[np.float64]:
        """Grey in [0, 1] before inversion."""
        from pydicom.pixels import apply_modality_lut, apply_voi

        if int(dataset.get("BitsStored") or dataset.get("BitsAllocated", 16)) == 1:
            return pixels.astype(np.float64)  # a mask: 0 and 1, whatever else is in the frame
        values = apply_modality_lut(pixels, _part(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope"))
        if not np.isfinite(values).all():
            raise DataError("not_finite", f"{_name(media)}: pixels that are not finite numbers")
        window = media.options.get("window", self.window)
        function = "LINEAR"
        if window == "file":
            voi = _part(dataset, frame, "FrameVOILUTSequence", "WindowCenter")
            if voi.get("VOILUTSequence") and np.issubdtype(values.dtype, np.integer):
                table_bits = int(voi.VOILUTSequence[0].LUTDescriptor[2])
                return np.clip(apply_voi(values, voi, 0) / (2.0**table_bits - 1.0), 0.0, 1.0)
            center, width = _first(voi.get("WindowCenter")), _first(voi.get("WindowWidth"))
            if center is not None and width is not None and width >= 1:
                return apply_window(values, center, width, str(voi.get("VOILUTFunction") or "LINEAR").upper())
            window = "full"
        if window == "full":
            padding = dataset.get("PixelPaddingValue")
            return full_range(values, None if padding is None else pixels != int(padding))
        center, width = _named_window(media, window)
        return apply_window(values, center, width, function)


def _name(media: Media) -> str:
    return media.uri or f"DICOM image of {len(media.data or b'')} bytes"


def _decode(media: Media, dataset: Any, frame: int) -> NDArray[Any]:
    """The frame's stored values, [rows, columns] or [rows, columns, 3] in RGB."""
    from pydicom.pixels import pixel_array

    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise _cut(media)
    if "TransferSyntaxUID" not in dataset.file_meta:  # files read with force: true
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        pixels = pixel_array(dataset, index=frame)
    except MemoryError:
        raise DataError("too_large", f"{_name(media)}: not enough memory to decode; lower max_pixels") from None
    except Exception as error:
        raise _broken(media, dataset, error) from None
    shape = (int(dataset.Rows), int(dataset.Columns))
    if pixels.shape[:2] != shape:
        raise DataError("corrupt", f"{_name(media)}: its pixels are {pixels.shape}, its header says {shape}")
    return pixels


def _cut(media: Media) -> DataError:
    what = "the header announces an image, but the file ends before its pixels do"
    return DataError("truncated", f"{_name(media)}: {what}; fetch it again")


def _broken(media: Media, dataset: Any, error: Exception) -> DataError:
    text = str(error)
    lower = text.lower()
    if "missing" in lower and "dependenc" in lower:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        return DataError("unsupported", f"{_name(media)}: no decoder for {syntax}; pip install 'infimed[dicom]'")
    if any(
        word in lower for word in ("less than", "truncat", "end of", "not enough", "unexpected end", "eof", "fewer")
    ):
        return DataError("truncated", f"{_name(media)}: pixel data cut short; fetch the file again ({_one_line(text)})")
    return DataError("corrupt", f"{_name(media)}: pixels cannot be decoded ({type(error).__name__}: {_one_line(text)})")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _part(dataset: Any, frame: int, sequence: str, keyword: str) -> Any:
    """Where ``keyword`` is said: in the functional groups of an enhanced multi-frame object, else at the top."""
    if keyword in dataset:
        return dataset
    groups = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame and frame < len(per_frame):
        groups.append(per_frame[frame])
    shared = dataset.get("SharedFunctionalGroupsSequence")
    if shared:
        groups.append(shared[0])
    for group in groups:
        found = group.get(sequence)
        if found:
            return found[0]
    return dataset


def _first(value: Any) -> float | None:
    """The first number of a single or multiple value."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return float(value)
    return float(value[0]) if len(value) else None


def _named_window(media: Media, window: Any) -> tuple[float, float]:
    if isinstance(window, str):
        if window not in PRESETS:
            raise DataError(
                "bad_option",
                f"{_name(media)}: no window named '{window}' (there are: file, full, {', '.join(PRESETS)})",
            )
        return PRESETS[window]
    try:
        center, width = (float(value) for value in window)
    except (TypeError, ValueError):
        raise DataError("bad_option", f"{_name(media)}: window must be [center, width], not {window!r}") from None
    if not width > 0:
        raise DataError("bad_option", f"{_name(media)}: a window's width must be above 0, not {width}")
    return center, width
