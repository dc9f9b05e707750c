"""The modality ``image``: photographs, slides and exported scans, decoded strictly by Pillow."""

from __future__ import annotations

import functools
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

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "MPO", "PPM", "AVIF")
"""What may be opened. Not everything that Pillow knows: an EPS file, for one, would start Ghostscript."""

MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"II*\x00", b"MM\x00*", b"GIF8", b"BM", b"RIFF", b"\x00\x00\x00\x0cjP")
"""First bytes of those formats: a file that starts so and has no readable header was cut short."""

_warnings_lock = threading.Lock()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep Pillow's remarks on headers to itself; what is wrong with a file is told once, as a ``DataError``."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class Image(Modality):
    """Reads an image file or its bytes to RGB.

    ``Media.options``: ``frame`` (an animation's or a TIFF stack's page, from 0). EXIF orientation is applied, by
    ``probe`` too. Transparency is laid on black. Values of more than 8 bits are scaled linearly from zero to
    the largest value of the smallest bit depth that holds the image (8 to 16, or 32 bits), so that a 12-bit
    radiograph in a 16-bit file is not black; negative or floating-point values from their least to their greatest.
    """

    max_pixels: int = Field(
        default=64_000_000,
        ge=1,
        le=178_956_970,
        description="Most pixels of an image; a larger one is refused from its header, never decoded.",
    )

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) from the header; codes ``missing_file``, ``not_an_image``, ``truncated``, ``too_large``."""
        with self._open(media) as image:
            width, height = image.size
            return (width, height) if _orientation(image) >= 5 else (height, width)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]; JPEG alone uses ``at_most``. Further codes: ``corrupt``, ``unsupported``."""
        from PIL import Image as Pillow
        from PIL import ImageFile

        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it: half an image would pass as whole
        with self._open(media) as image:
            orientation = _orientation(image)
            if at_most is not None and image.format in ("JPEG", "MPO"):
                height, width = at_most if orientation < 5 else at_most[::-1]
                image.draft(image.mode, (max(1, width), max(1, height)))
            try:
                image.load()
                pixels = _to_rgb(image)
            except DataError as error:
                raise DataError(error.code, f"{_name(media)}: {error}") from None
            except MemoryError:
                raise DataError("too_large", f"{_name(media)}: not enough memory to decode; lower max_pixels") from None
            except Exception as error:
                raise _broken(media, error) from None
            if orientation != 1:
                turned = Pillow.fromarray(pixels).transpose(_transpositions()[orientation])
                pixels = np.asarray(turned)
        return np.array(pixels, dtype=np.uint8, order="C")

    @contextmanager
    def _open(self, media: Media) -> Iterator[Any]:
        """The image with its header read, at the wanted frame, within the limit."""
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        source = _source(media)
        try:
            with _without_warnings():
                image = Pillow.open(source, formats=_formats())
        except FileNotFoundError:
            raise DataError(
                "missing_file", f"{_name(media)}: no such file; check the row's path and image_root"
            ) from None
        except (IsADirectoryError, PermissionError) as error:
            raise DataError("unreadable", f"{_name(media)}: cannot be read ({error.strerror})") from None
        except Pillow.DecompressionBombError:
            raise self._too_large(media, None) from None
        except UnidentifiedImageError:
            raise _unidentified(media) from None
        except Exception as error:
            raise _broken(media, error) from None
        with image:
            self._check_size(media, image.size)
            frame = media.options.get("frame", 0)
            if frame != 0:
                _seek(media, image, frame)
                self._check_size(media, image.size)
            yield image

    def _check_size(self, media: Media, size: tuple[int, int]) -> None:
        if size[0] * size[1] > self.max_pixels:
            raise self._too_large(media, size)
        if min(size) < 1:
            raise DataError("corrupt", f"{_name(media)}: an image of {size[0]} x {size[1]} pixels")

    def _too_large(self, media: Media, size: tuple[int, int] | None) -> DataError:
        shown = f"{size[0]} x {size[1]} pixels" if size else "far too many pixels"
        return DataError(
            "too_large", f"{_name(media)}: {shown}, over max_pixels={self.max_pixels}; shrink it or raise the limit"
        )


def _source(media: Media) -> Any:
    if media.data is not None:
        return BytesIO(media.data)
    if media.uri is None:
        raise DataError("missing_file", "an image with neither uri nor data")
    return media.uri


def _name(media: Media) -> str:
    return media.uri or f"image of {len(media.data or b'')} bytes"


def _head(media: Media) -> tuple[bytes, int]:
    """The first 16 bytes and the size of the whole."""
    if media.data is not None:
        return media.data[:16], len(media.data)
    with open(_source(media), "rb") as file:
        return file.read(16), file.seek(0, 2)


def _unidentified(media: Media) -> DataError:
    head, _ = _head(media)
    if head.startswith(MAGIC):
        return DataError("truncated", f"{_name(media)}: cut short in its header; fetch the file again")
    what = "an empty file" if not head else "no image of a known format"
    return DataError("not_an_image", f"{_name(media)}: {what} (known: {', '.join(_formats())})")


def _broken(media: Media, error: Exception) -> DataError:
    text = str(error).lower()
    cut = isinstance(error, EOFError) or any(
        word in text for word in ("truncat", "unexpected end", "not enough", "eof", "premature")
    )
    head, size = _head(media)
    if head.startswith(b"RIFF") and len(head) >= 8:  # WebP's decoder does not say what is wrong; its header does
        cut = cut or size < int.from_bytes(head[4:8], "little") + 8
    if cut:
        return DataError("truncated", f"{_name(media)}: the file is cut short ({error}); fetch it again")
    return DataError("corrupt", f"{_name(media)}: cannot be decoded ({type(error).__name__}: {error}); fetch it again")


def _seek(media: Media, image: Any, frame: Any) -> None:
    num_frames = getattr(image, "n_frames", 1)
    if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < num_frames:
        raise DataError("no_such_frame", f"{_name(media)}: frame {frame!r}, but it has frames 0 to {num_frames - 1}")
    try:
        with _without_warnings():
            image.seek(frame)
    except Exception as error:
        raise _broken(media, error) from None


def _orientation(image: Any) -> int:
    """EXIF orientation, 1 to 8, from the header; must be asked before the pixels are loaded."""
    if image.format == "TIFF":  # Pillow turns these itself, size and all
        return 1
    if "exif" not in image.info and "Raw profile type exif" not in image.info:
        return 1  # asking a PNG for EXIF that is not in its header would decode it
    try:
        with _without_warnings():
            value = image.getexif().get(0x0112, 1)
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


def _to_rgb(image: Any) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] of a loaded Pillow image of any mode."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        grey = scale_to_uint8(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.uint16)
        return ((rgba[:, :, :3] * rgba[:, :, 3:] + 127) // 255).astype(np.uint8)
    try:
        return np.asarray(image if mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
    except ValueError as error:
        raise DataError("unsupported", f"colour mode {mode} cannot be turned into RGB ({error})") from None


def scale_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale [h, w] of any number type linearly to uint8, by the rule that ``Image`` documents.

    Raises:
        DataError: ``not_finite`` where a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise DataError("not_finite", "pixels that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.integer) and low >= 0:
        bits = max(8, int(high).bit_length())
        low, high = 0.0, float(2 ** (bits if bits <= 16 else 32) - 1)
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if high == low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint((values.astype(np.float64) - low) * (255.0 / (high - low))).astype(np.uint8)
