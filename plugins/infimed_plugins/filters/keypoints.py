"""Local details of a picture: where they lie, and codes that survive crops, mirrors, inversion and contrast."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 256
MOST = 96
"""Details of a picture that are kept, the strongest first."""
LEAST_SIZE = 3.0
"""Pixels of 256: smaller details are noise or compression."""
FLAT_LINE = 10
"""Grey levels within which a whole row or column at the border counts as a border that was added."""
CODE_BITS = 24


class Details(NamedTuple):
    """``places`` float32 [n, 3]: column, row and size in pixels of the picture at 256; ``vectors`` float32 [n, 128]."""

    places: NDArray[np.float32]
    vectors: NDArray[np.float32]


class Marks(NamedTuple):
    """What is kept of a picture's details: their places, and their codes as it is, mirrored, inverted and both."""

    places: NDArray[np.float16]
    codes: NDArray[np.uint32]


def prepared(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in grey, without borders of one level, its longest side 256 pixels, its histogram made even."""
    import cv2

    cv2.setNumThreads(1)
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    rows, columns = _content(grey), _content(grey.T)
    if rows is not None and columns is not None:
        grey = np.ascontiguousarray(grey[rows, columns])
    scale = SIDE / max(grey.shape)
    size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(cv2.equalizeHist(small), dtype=np.uint8)


def _content(lines: NDArray[Any]) -> slice | None:
    varied = np.flatnonzero(lines.max(axis=1).astype(np.int16) - lines.min(axis=1) > FLAT_LINE)
    return slice(int(varied[0]), int(varied[-1]) + 1) if len(varied) > 7 else None


def details(shown: NDArray[np.uint8]) -> Details:
    """The strongest details of a prepared picture (SIFT, Lowe 2004), described as they stand and not turned."""
    import cv2

    create: Any = cv2.SIFT_create  # type: ignore[attr-defined]
    sift = create(nfeatures=3 * MOST, contrastThreshold=0.015, edgeThreshold=12)
    points = sorted(sift.detect(shown, None), key=lambda point: -point.response)
    seen: set[tuple[int, int]] = set()
    kept = []
    for point in points:
        place = (round(point.pt[0]), round(point.pt[1]))
        if point.size >= LEAST_SIZE and place not in seen:
            seen.add(place)
            point.angle = 0.0
            kept.append(point)
    described, vectors = sift.compute(shown, kept[:MOST]) if kept else ([], None)
    if vectors is None:
        return Details(np.zeros((0, 3), np.float32), np.zeros((0, 128), np.float32))
    places = np.array([(*point.pt, point.size) for point in described], dtype=np.float32)
    rooted = np.sqrt(vectors / np.maximum(vectors.sum(axis=1, keepdims=True), 1e-6))  # Arandjelovic, Zisserman 2012
    return Details(places, rooted.astype(np.float32))


@cache
def _changes() -> tuple[NDArray[np.int64], ...]:
    """Orders of the 128 numbers of a detail: as it is, mirrored, inverted, and both."""
    numbers = np.arange(128).reshape(4, 4, 8)
    mirrored = numbers[:, ::-1][..., (4 - np.arange(8)) % 8]
    inverted = numbers[..., (np.arange(8) + 4) % 8]
    both = inverted[:, ::-1][..., (4 - np.arange(8)) % 8]
    return tuple(order.reshape(-1) for order in (numbers, mirrored, inverted, both))


def changed(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What the details would be in the picture as it is, mirrored, inverted, and mirrored and inverted."""
    return [vectors[:, order] for order in _changes()]


@cache
def _projection() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    stored = np.load(Path(__file__).with_name("keypoints.npy"), allow_pickle=False).astype(np.float32)
    return stored[0], stored[1:]


def codes(vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
    """24 bits of each detail: on which side of 24 directions it lies, in which details differ most."""
    mean, directions = _projection()
    bits = (vectors - mean) @ directions.T > 0
    return (bits @ (1 << np.arange(CODE_BITS, dtype=np.uint32))).astype(np.uint32)


def marks(pixels: NDArray[np.uint8]) -> Marks:
    """The marks of a picture, uint8 [h, w, 3]: places float16 [n, 3], codes uint32 [4, n]."""
    found = details(prepared(pixels))
    return Marks(found.places.astype(np.float16), np.stack([codes(vectors) for vectors in changed(found.vectors)]))
