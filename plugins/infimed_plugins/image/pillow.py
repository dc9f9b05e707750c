"""An image opened by Pillow: its size when upright, and its pixels as RGB."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError
from infimed_plugins.image import jpeg2000, png
from infimed_plugins.image.depth import to_rgb

ORIENTATION = 0x0112


class PillowPicture:
    """A context manager: the picture with its header read, at the wanted frame, within the limit.

    ``checked`` is given (height, width) as stored and raises where they may not be read.
    """

    def __init__(
        self, file: BinaryIO, kind: str, frame: Any, checked: Callable[[tuple[int, int]], tuple[int, int]]
    ) -> None:
        from PIL import Image as Pillow

        self._file, self._frame = file, frame
        self._image: Any = Pillow.open(file, formats=(kind,))
        try:
            checked(self._image.size[::-1])
            if frame != 0:
                self._seek(frame)
                checked(self._image.size[::-1])
            self._orientation = _orientation(self._image)
        except BaseException:
            self._image.__exit__()
            raise

    def __enter__(self) -> PillowPicture:
        return self

    def __exit__(self, *error: object) -> None:
        self._image.__exit__()  # unlike close(), it leaves a file open that it did not open

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) when upright."""
        width, height = self._image.size
        return (width, height) if self._orientation >= 5 else (height, width)

    def read(self, at_most: tuple[int, int] | None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3], upright; a JPEG is decoded smaller where ``at_most`` allows."""
        from PIL import ImageFile

        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it: half an image would pass as whole
        image = self._image
        if at_most is not None and image.format in ("JPEG", "MPO"):
            height, width = at_most if self._orientation < 5 else at_most[::-1]
            image.draft(image.mode, (max(1, width), max(1, height)))
        deep = self._deep_data()
        image.load()
        pixels = self._deep_rgb(deep) if deep else _to_rgb(image)
        return upright(pixels, self._orientation)

    def _seek(self, frame: Any) -> None:
        num_frames = getattr(self._image, "n_frames", 1)
        if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < num_frames:
            raise DataError("no_such_frame", f"frame {frame!r}, but it has frames 0 to {num_frames - 1}")
        self._image.seek(frame)

    def _deep_data(self) -> bytes | None:
        """The file, where its samples have more bits than Pillow keeps of them; it keeps all of plain grey."""
        if self._image.format not in ("PNG", "JPEG2000") or self._frame != 0:
            return None
        place = self._file.tell()
        self._file.seek(0)
        data = self._file.read(26)
        if self._image.format == "PNG":
            data = data + self._file.read() if data[24] == 16 and data[25] in png.DEEP_CHANNELS else b""
        else:
            data += self._file.read()
            bits = jpeg2000.check_codestream(data, self._image.size[::-1])
            data = data if bits > 8 and self._image.mode in ("RGB", "RGBA", "LA") else b""
        self._file.seek(place)
        return data or None

    def _deep_rgb(self, data: bytes) -> NDArray[np.uint8]:
        samples = png.deep_samples(data) if self._image.format == "PNG" else jpeg2000.deep_samples(data)
        if samples.shape[2] in (2, 4):
            colours = samples[..., 0] if samples.shape[2] == 2 else samples[..., :3]
            return to_rgb(colours, samples[..., -1])
        clear = self._image.info.get("transparency")
        return to_rgb(samples, None if clear is None else (samples != np.asarray(clear)).any(axis=-1))


def _orientation(image: Any) -> int:
    """EXIF orientation, 1 to 8, from the header; must be asked before the pixels are loaded."""
    if image.format == "TIFF":  # Pillow turns these itself, size and all
        return 1
    raw = image.info.get(
        "Raw profile type exif"
    )  # how ImageMagick keeps EXIF in a PNG: lines, the last ones hexadecimal
    if "exif" not in image.info and raw is None:
        return 1  # asking a PNG for EXIF that is not in its header would decode it
    try:
        if "exif" in image.info:
            exif = image.getexif()
        else:
            from PIL import Image as Pillow

            exif = Pillow.Exif()
            exif.load(bytes.fromhex("".join(raw.split("\n")[3:])))
        value = exif.get(ORIENTATION, 1)
    except Exception:  # broken EXIF is no reason to lose the image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@functools.cache
def _transpositions() -> dict[int, Any]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The pixels turned as EXIF ``orientation`` says, in an array of their own."""
    from PIL import Image as Pillow

    if orientation != 1:
        pixels = np.asarray(Pillow.fromarray(pixels).transpose(_transpositions()[orientation]))
    return np.array(pixels, dtype=np.uint8, order="C")


def _to_rgb(image: Any) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of a loaded Pillow image of any mode."""
    mode, clear = image.mode, image.info.get("transparency")
    if mode.startswith("I") or mode == "F":
        grey = np.asarray(image)
        return to_rgb(grey, grey != clear if isinstance(clear, int) else None)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or clear is not None:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.uint16)
        return ((rgba[:, :, :3] * rgba[:, :, 3:] + 127) // 255).astype(np.uint8)
    try:
        return np.asarray(image if mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
    except ValueError as error:
        raise DataError("unsupported", f"colour mode {mode} cannot be turned into RGB ({error})") from None
