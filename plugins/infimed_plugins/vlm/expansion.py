"""Placeholders made as many as an image has tokens, with labels, types and positions of what results."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infimed_core import IGNORED_LABEL
from infimed_plugins.vlm.chat import Tokens


def expand(
    tokens: Tokens, image_token: int, counts: NDArray[np.int64], generate: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids with as many placeholders as each image has visual tokens, shifted labels, and token types."""
    places = tokens.ids == image_token
    repeats = np.ones(len(tokens.ids), dtype=np.int64)
    repeats[places] = counts
    ids = np.repeat(tokens.ids, repeats)
    types = np.repeat(places, repeats).astype(np.int64)
    labels = np.full(len(ids), IGNORED_LABEL, dtype=np.int64)
    if not generate:
        supervised = np.repeat(tokens.supervised & ~places, repeats)
        labels[:-1][supervised[1:]] = ids[1:][supervised[1:]]
    return ids, labels, types


def mark_lines(
    ids: NDArray[np.int64], token_types: NDArray[np.int64], grids: NDArray[np.int64], line_end: int, image_end: int
) -> None:
    """Write the token that ends a line behind each line of an image, and the one that ends an image behind its last.

    ``grids`` int64 [images, 2] holds the tokens down and across, the end of a line included. ``ids`` is changed.
    """
    visual, place = np.flatnonzero(token_types), 0
    for down, across in grids.tolist():
        image = visual[place : place + down * across]
        ids[image[across - 1 :: across]] = line_end
        ids[image[-1]] = image_end
        place += down * across


def rope_positions(token_types: NDArray[np.int64], grids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the Qwen-VL families, int64 [4, L]: row 0 counts tokens; rows 1 to 3 are time, height and width.

    ``grids`` int64 [images, 2] holds the visual tokens down and across of each image. Text advances all three by
    one; an image starts at the next position, spreads over height and width, and what follows continues after its
    longer side (Qwen2-VL, arXiv 2409.12191, section 2.1).
    """
    length = len(token_types)
    positions = np.empty((4, length), dtype=np.int64)
    positions[0] = np.arange(length)
    visual = np.flatnonzero(token_types)
    place = current = 0
    for down, across in grids.tolist():
        start = int(visual[np.searchsorted(visual, place)])
        positions[1:, place:start] = np.arange(current, current + start - place)
        current += start - place
        stop = start + down * across
        positions[1, start:stop] = current
        positions[2, start:stop] = current + np.repeat(np.arange(down), across)
        positions[3, start:stop] = current + np.tile(np.arange(across), down)
        current += max(down, across)
        place = stop
    positions[1:, place:] = np.arange(current, current + length - place)
    return positions
