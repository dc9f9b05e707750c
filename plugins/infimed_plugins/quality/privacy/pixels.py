"""Text burned into pixels: read by OCR, judged, and covered."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infimed_plugins.quality.identity import given_names, identities
from infimed_plugins.quality.reasons import Reason

INSTALL = "pip install 'infimed[privacy]'"
LONGEST_SIDE, OTHER_SIDE = 1536, 1100
"""Pixels of the longest side at which a picture is read, and at which its copy is read once more."""
LEAST_CONFIDENCE = 0.5
LEAST_CHARACTERS = 3
_LONG_NUMBER = re.compile(r"(?<!\d)\d(?:[ -]?\d){5,}(?!\d)")
_BORDER = re.compile(r"(?<=[A-Za-z]{2})(?=\d\d)|(?<=\d\d)(?=[A-Za-z]{3})")
_CARET = re.compile(r"(?<=[A-Za-z])[-:.,;*'~|/\\\"’^](?=[A-Za-z])")
_HARMLESS = re.compile(
    r"^(?:[LRAPHFIS]{1,3}|left|right|ant(?:erior)?|post(?:erior)?|sup(?:erior)?|inf(?:erior)?|axial|coronal|sagittal"
    r"|supine|prone|erect|portable|upright|ap|pa|lat(?:eral)?|flair|t[12]w?|dwi|adc|stir|ct|mri?|us|xr|series|slice|image"
    r"|img|se|im|w[lw]?|c|zoom|[+-]?\d{1,5}(?:\.\d+)?\s?(?:mm|cm|m|hz|mhz|khz|ms|s|sec|min|kv|kvp|ma|mas|mgy|msv|t|%|x|fps|bpm|db"
    r"|um|µm|dpi|°)?|\d{1,4}\s?[x/]\s?\d{1,4})$",
    re.I,
)


class TextBox(NamedTuple):
    """A line of text in a picture: rows ``top`` to ``bottom``, columns ``left`` to ``right`` (exclusive)."""

    top: int
    left: int
    bottom: int
    right: int
    text: str
    confidence: float


def can_read_pixels() -> bool:
    """Whether the OCR of the extra ``privacy`` is installed; its models are in its wheel."""
    return all(importlib.util.find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


class PixelReader:
    """Finds and reads lines of text. The engine is started on first use, in about a second."""

    @cached_property
    def _engine(self) -> Any:
        from rapidocr import RapidOCR

        engine = RapidOCR(
            params={
                "Global.use_cls": False,  # burned-in lines stand upright
                "Global.log_level": "error",
                # One thread: pictures are spread over processes, and n processes of n threads are slower.
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        return engine

    def read(self, pixels: NDArray[np.uint8], longest: int = LONGEST_SIDE) -> list[TextBox]:
        """Lines in a picture, uint8 [h, w, 3], from top to bottom; few characters or low confidence are left out.

        A picture is read no larger than ``longest``, so that a film of any size takes about the same time.

        Raises:
            ImportError: the extra ``privacy`` is not installed.
        """
        scale = min(1.0, longest / max(pixels.shape[:2]))
        shown = np.ascontiguousarray(pixels[..., ::-1])  # the engine takes BGR
        if scale < 1.0:
            import cv2

            size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
            shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        result = self._engine(shown)
        if result.boxes is None:
            return []
        lines = []
        for corners, text, confidence in zip(result.boxes, result.txts, result.scores, strict=True):
            if float(confidence) < LEAST_CONFIDENCE or len(text.strip()) < LEAST_CHARACTERS:
                continue
            left, top = np.floor(np.min(corners, axis=0) / scale).astype(int)
            right, bottom = np.ceil(np.max(corners, axis=0) / scale).astype(int)
            lines.append(TextBox(int(top), int(left), int(bottom), int(right), text, float(confidence)))
        return sorted(lines)


def burned_in(lines: Iterable[TextBox]) -> list[Reason]:
    """``phi_pixels`` where the text of a picture identifies: as any text does, or by a number of six digits or more."""
    # the engine often drops the space between a word and a number
    texts = [_BORDER.sub(" ", line.text) for line in lines]
    joined = "\n".join(texts)
    found = (
        bool(identities(joined))
        or bool(identities(" ".join(texts)))
        or bool(_LONG_NUMBER.search(joined))
        or any(_two_names(word) for word in joined.split())
    )
    return [Reason.PHI_PIXELS] if found else []


def _two_names(word: str) -> bool:
    """Whether a word is a family and a given name whose caret the engine took for another sign, or for an A."""
    parts = _CARET.split(word)
    if len(parts) > 1:
        return all(len(part) > 1 for part in parts[:2]) and any(part.lower() in given_names() for part in parts[:2])
    lower = word.lower()
    return (
        len(word) >= 8
        and word.isalpha()
        and word.isupper()
        and any(lower[start - 1] == "a" and lower[start:] in given_names() for start in range(4, len(lower) - 3))
    )


def to_cover(lines: Iterable[TextBox]) -> list[TextBox]:
    """Lines that are not plainly a side, a view, a sequence's name or a measure: a bare name looks like any word."""
    return [line for line in lines if not _HARMLESS.match(line.text.strip())]


def cover(pixels: NDArray[Any], boxes: Sequence[TextBox], value: int = 0, margin: int = 2) -> NDArray[Any]:
    """A copy of pixels, [h, w] or [h, w, channels], with the boxes and a margin around them filled with ``value``."""
    covered = pixels.copy()
    for box in boxes:
        rows = slice(max(0, box.top - margin), box.bottom + margin)
        covered[rows, max(0, box.left - margin) : box.right + margin] = value
    return covered
