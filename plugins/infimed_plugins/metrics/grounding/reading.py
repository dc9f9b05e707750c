"""Boxes and points out of an answer's text, as shares of the image's width and height."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Convention = Literal["thousandths", "shares", "pixels"]
Shape = Literal["box", "point"]

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_SEPARATOR = r"\s*[,\s]\s*"
_FOUR = re.compile(
    rf"[\[(]\s*({_NUMBER}){_SEPARATOR}({_NUMBER})\s*[\])]?{_SEPARATOR}[\[(]?\s*({_NUMBER}){_SEPARATOR}({_NUMBER})\s*[\])]"
)
"""[l, t, r, b], (l, t, r, b), (l,t),(r,b) and [[l, t], [r, b]]."""
_TWO = re.compile(rf"[\[(]\s*({_NUMBER}){_SEPARATOR}({_NUMBER})\s*[\])]")
_LOCATIONS = re.compile(r"<loc(\d{4})><loc(\d{4})>(?:<loc(\d{4})><loc(\d{4})>)?")
"""PaliGemma's marks: top, left, bottom, right in 1,024ths."""
_MARKED = re.compile(r"<\|box_start\|>(.*?)<\|box_end\|>|<box>(.*?)</box>", re.DOTALL)
"""The marks of Qwen2-VL and InternVL: always thousandths."""
_SURE = re.compile(r'"(?:score|confidence)"\s*:\s*([01](?:\.\d+)?)')


@dataclass(frozen=True)
class Place:
    """A box (left, top, right, bottom) or a point (x, y) in shares of the image, and how sure the model is of it."""

    shares: tuple[float, ...]
    confidence: float = 1.0

    @property
    def centre(self) -> tuple[float, float]:
        """The point, or the middle of the box."""
        if len(self.shares) == 2:
            return self.shares[0], self.shares[1]
        left, top, right, bottom = self.shares
        return (left + right) / 2, (top + bottom) / 2


def read_places(text: str, shape: Shape, convention: Convention, size: tuple[int, int]) -> list[Place]:
    """Every box or point that the text names, in its order; ``size`` is the image's (height, width).

    Marks that have a scale of their own (PaliGemma, Qwen2-VL, InternVL) are read by it, all else by ``convention``.
    What
    is no place in the image (beyond its edges, right of its own right side) is none.
    """
    text = text.rpartition("</think>")[2]
    found = list(_located(text, shape))
    if not found:
        marked = ["".join(match.groups("")) for match in _MARKED.finditer(text)]
        scale = (1000.0, 1000.0) if marked else _scale(convention, size)
        # a mark holds its numbers with or without brackets
        for part in [f"[{part.strip().strip('[]')}]" for part in marked] or [text]:
            for numbers in _numbers(part, shape):
                found.append(tuple(value / scale[place % 2] for place, value in enumerate(numbers)))
    sure = [float(value) for value in _SURE.findall(text)]
    confidences = sure if len(sure) == len(found) else [1.0] * len(found)
    return [Place(shares, one) for shares, one in zip(found, confidences, strict=True) if _is_inside(shares)]


def _located(text: str, shape: Shape) -> Iterator[tuple[float, ...]]:
    for match in _LOCATIONS.finditer(text):
        values = [int(value) / 1024 for value in match.groups() if value is not None]
        if shape == "box" and len(values) == 4:
            yield values[1], values[0], values[3], values[2]
        elif shape == "point" and len(values) == 2:
            yield values[1], values[0]


def _numbers(text: str, shape: Shape) -> Iterator[Sequence[float]]:
    boxes = list(_FOUR.finditer(text))
    if shape == "box" or boxes:
        for match in boxes:
            numbers = [float(value) for value in match.groups()]
            yield numbers if shape == "box" else [(numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2]
        return
    for match in _TWO.finditer(text):
        yield [float(value) for value in match.groups()]


def written(shares: Sequence[float], convention: Convention, size: tuple[int, int]) -> str:
    """A box or point as an answer would give it: what ``read_places`` reads."""
    scale = _scale(convention, size)
    values = [value * scale[place % 2] for place, value in enumerate(shares)]
    return "[" + ", ".join(f"{value:.3f}" if convention == "shares" else f"{value:.0f}" for value in values) + "]"


def _scale(convention: Convention, size: tuple[int, int]) -> tuple[float, float]:
    """What numbers along the width and along the height are divided by."""
    height, width = size
    return {"thousandths": (1000.0, 1000.0), "shares": (1.0, 1.0), "pixels": (float(width), float(height))}[convention]


def _is_inside(shares: Sequence[float]) -> bool:
    if not all(-0.01 <= value <= 1.01 for value in shares):
        return False
    return len(shares) == 2 or (shares[0] < shares[2] and shares[1] < shares[3])
