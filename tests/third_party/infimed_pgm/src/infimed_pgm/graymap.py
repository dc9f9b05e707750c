"""Binary portable graymaps (magic number P5), 8 or 16 bits."""

import re
from pathlib import Path

import numpy as np

from infimed_core import DataError, Media, Modality

HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+(\d+)\s")


class Graymap(Modality):
    """Reads a binary PGM file; 16-bit values are scaled to 8."""

    def _header(self, media: Media) -> tuple[int, int, int, int]:
        try:
            with Path(media.uri or "").open("rb") as stream:
                found = HEADER.match(stream.read(4096))
        except OSError as error:
            raise DataError("missing_file", f"{media.uri}: {error.strerror}; give the path of a PGM file") from None
        if found is None:
            raise DataError("not_a_graymap", f"{media.uri}: does not begin as a binary PGM file (P5)")
        width, height, most = (int(group) for group in found.groups())
        return height, width, most, found.end()

    def probe(self, media: Media) -> tuple[int, ...]:
        return self._header(media)[:2]

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> np.ndarray:
        height, width, most, start = self._header(media)
        data = Path(media.uri or "").read_bytes()[start:]
        dtype = np.dtype(">u2") if most > 255 else np.dtype("u1")
        if len(data) < height * width * dtype.itemsize:
            raise DataError("truncated", f"{media.uri}: the file ends before the picture does")
        gray = np.frombuffer(data, dtype, height * width).reshape(height, width).astype(np.float64)
        gray = np.rint(gray * (255.0 / most)).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
