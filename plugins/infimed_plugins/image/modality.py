"""The modality ``image``: photographs, slides and exported scans, decoded strictly."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import DataError, Media, Modality
from infimed_plugins.image.formats import OTHERS, REMEDIES, UNREAD, is_cut, sniff, unreadable_jpeg
from infimed_plugins.image.pillow import PillowPicture, upright
from infimed_plugins.image.png import without_extras
from infimed_plugins.image.tiff import needs_own_reading, page_orientation, page_shape, read_page, tiff_page

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF", "PPM")
"""What is opened. Not everything that Pillow knows: an EPS file, for one, would start Ghostscript."""

_quiet_lock = threading.RLock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the decoders' remarks to themselves; what is wrong with a file is told once, as a ``DataError``."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Image(Modality):
    """Reads an image file or its bytes to RGB.

    ``Media.options``: ``frame`` (an animation's or a TIFF stack's page, from 0). EXIF orientation is applied, by
    ``probe`` too. Transparency is laid on black. Values of more than 8 bits are scaled linearly from zero to
    the largest value of the smallest bit depth (of 8 or more) that holds all channels of the image, so that a 12-bit
    radiograph in a 16-bit file is not black; fractions from 0 to 1 as they are; other floating-point and negative
    values from their least to their greatest.
    """

    version: ClassVar[str] = "2"
    max_pixels: int = Field(
        default=64_000_000,
        ge=1,
        le=178_956_970,
        description="Most pixels of an image; a larger one is refused from its header, never decoded.",
    )

    def probe(self, media: Media) -> tuple[int, ...]:
        """(height, width) from the header.

        Raises:
            DataError: ``missing_file``, ``unreadable``, ``not_an_image``, ``truncated``, ``corrupt``, ``too_large``,
                ``unsupported``, ``no_such_frame``.
        """
        with _quiet(), _open(media) as file, self._told(media, file):
            return self._probed(media, file)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]; JPEG alone uses ``at_most``. Further code: ``not_finite``."""
        with _open(media) as file, self._told(media, file):
            return self._loaded(media, file, at_most)

    def _probed(self, media: Media, file: BinaryIO) -> tuple[int, int]:
        kind, frame = _kind(file), media.options.get("frame", 0)
        if kind == "TIFF":
            with tiff_page(file, frame) as page:
                if needs_own_reading(page):
                    shape = page_shape(page)
                    return shape[::-1] if page_orientation(page) >= 5 else self._checked(shape)
        source = without_extras(file, header_only=frame == 0) if kind == "PNG" else file
        with PillowPicture(source, kind, frame, self._checked) as picture:
            return picture.shape

    def _loaded(self, media: Media, file: BinaryIO, at_most: tuple[int, int] | None) -> NDArray[np.uint8]:
        kind, frame = _kind(file), media.options.get("frame", 0)
        if kind == "TIFF":
            with tiff_page(file, frame) as page:
                if needs_own_reading(page):
                    self._checked(page_shape(page))
                    return upright(read_page(page), page_orientation(page))
        source = without_extras(file, header_only=False) if kind == "PNG" else file
        with _quiet():  # as short as can be: threads decode side by side
            picture = PillowPicture(source, kind, frame, self._checked)
        with picture, _quiet() if kind == "TIFF" else nullcontext():
            return picture.read(at_most)

    def _checked(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The shape, if an image of that size may be read."""
        if shape[0] * shape[1] > self.max_pixels:
            limit = f"over max_pixels={self.max_pixels}; shrink it or raise the limit"
            raise DataError("too_large", f"{shape[1]} x {shape[0]} pixels, {limit}")
        if min(shape) < 1:
            raise DataError("corrupt", f"an image of {shape[1]} x {shape[0]} pixels")
        return shape

    @contextmanager
    def _told(self, media: Media, file: BinaryIO) -> Iterator[None]:
        """Turn whatever a decoder raises into the error that names the cause."""
        from PIL.Image import DecompressionBombError

        try:
            yield
        except DataError as error:
            raise DataError(error.code, f"{_name(media)}: {error}") from None
        except DecompressionBombError:
            raise DataError(
                "too_large", f"{_name(media)}: far too many pixels (max_pixels={self.max_pixels})"
            ) from None
        except ImportError as error:  # of OpenCV (rare PNG files), tifffile or imagecodecs
            needs = f"{_name(media)}: to open it needs {error.name}; run: pip install 'infimed[score]'"
            raise DataError("missing_package", needs) from None
        except MemoryError:
            raise DataError("too_large", f"{_name(media)}: not enough memory to decode; lower max_pixels") from None
        except Exception as error:
            raise _broken(media, file, error) from None


@contextmanager
def _open(media: Media) -> Iterator[BinaryIO]:
    """The file, or its bytes. A pipe or a device is refused: reading it could wait for ever."""
    if media.data is not None:
        yield BytesIO(media.data)
        return
    if media.uri is None:
        raise DataError("missing_file", "an image with neither uri nor data")
    try:
        if not stat.S_ISREG(os.stat(media.uri).st_mode):
            raise DataError("unreadable", f"{media.uri}: not a regular file")
        file = open(media.uri, "rb")  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("missing_file", f"{media.uri}: no such file; check the row's path and image_root") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError("unreadable", f"{media.uri}: cannot be read ({reason})") from None
    with file:
        yield file


def _name(media: Media) -> str:
    return media.uri or f"image of {len(media.data or b'')} bytes"


def _kind(file: BinaryIO) -> str:
    head = file.read(352)
    file.seek(0)
    kind = sniff(head)
    if kind in UNREAD:
        remedy = REMEDIES.get(kind, "convert it to PNG or TIFF")
        raise DataError("unsupported", f"{UNREAD[kind]}, which is not read as an image; {remedy}")
    if kind is None:
        start = head.lstrip().lower()
        if other := next((told for begin, told in OTHERS.items() if start.startswith(begin)), None):
            raise DataError("not_an_image", other)
        what = "an empty file" if not head else "no image of a known format"
        raise DataError("not_an_image", f"{what} (known: {', '.join(FORMATS)})")
    return kind


def _broken(media: Media, file: BinaryIO, error: Exception) -> DataError:
    """What is wrong with a file that a decoder gave up on: cut, of a kind that nobody here decodes, or damaged."""
    from PIL import UnidentifiedImageError

    file.seek(0)
    data = file.read()
    kind = sniff(data[:300]) or ""
    text = " ".join(str(error).split())[:200]
    if is_cut(kind, data):
        return DataError("truncated", f"{_name(media)}: the file is cut short ({text}); fetch it again")
    reason = unreadable_jpeg(data) if kind == "JPEG" else None
    unidentified = isinstance(error, UnidentifiedImageError) and kind in ("TIFF", "BMP", "WEBP")
    if reason or unidentified or isinstance(error, NotImplementedError):
        return DataError("unsupported", f"{_name(media)}: {reason or f'{kind} of a kind that is not read ({text})'}")
    if isinstance(error, EOFError) or any(word in text.lower() for word in ("truncat", "not enough", "premature")):
        return DataError("truncated", f"{_name(media)}: its pixels end early ({text}); fetch it again")
    return DataError("corrupt", f"{_name(media)}: cannot be decoded ({type(error).__name__}: {text})")
