"""Rows of answers: packed next to each other, with what their loss needs of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import IGNORED_LABEL, Encoded, Fault, PackedBatch, assemble


@dataclass(frozen=True)
class AnswerRow(PackedBatch):
    """A row of answers.

    Attributes:
        values: float64 [answers], what the objective gave each (an advantage; 1 for chosen and -1 for rejected).
        counted: bool [answers], whether an answer adds to the loss.
        old: log-probabilities of the labels by the weights that drew the answers; ``None``: by those as they are.
        reference: log-probabilities of the labels by the weights that the stage began with.
        divergence: of the step, from those weights, where the objective measures from it.
    """

    values: NDArray[np.float64] | None = None
    counted: NDArray[np.bool_] | None = None
    old: NDArray[np.float32] | None = None
    reference: NDArray[np.float32] | None = None
    divergence: float = 0.0

    @property
    def positions_with_loss(self) -> NDArray[np.int64]:
        """int64 [n]."""
        return np.flatnonzero(self.labels != IGNORED_LABEL)

    @property
    def answer_of_position(self) -> NDArray[np.int64]:
        """The answer that each position with loss belongs to, int64 [n]."""
        return np.searchsorted(self.cu_seqlens, self.positions_with_loss, side="right") - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each answer, int64 [answers]."""
        return np.bincount(self.answer_of_position, minlength=len(self.cu_seqlens) - 1)


def packed(
    items: Sequence[Sequence[tuple[Encoded, float, bool]]], row_tokens: int, padded: bool = False
) -> list[AnswerRow]:
    """Rows of items, each of answers that stay in one row; filled in order.

    ``items`` hold answers with their values and whether they count. An item longer than a row has one of its own.
    ``padded`` fills every answer up to the longest of its row, for models whose samples may not share one.
    """
    rows: list[list[tuple[Encoded, float, bool]]] = []
    size = 0
    for item in items:
        length = sum(len(encoded) for encoded, _, _ in item)
        if not rows or size + length > row_tokens:
            rows.append([])
            size = 0
        rows[-1] += item
        size += length
    return [_row(row, padded) for row in rows]


def _row(answers: Sequence[tuple[Encoded, float, bool]], padded: bool) -> AnswerRow:
    plain = assemble([encoded for encoded, _, _ in answers], padded)
    return AnswerRow(
        **{item.name: getattr(plain, item.name) for item in fields(PackedBatch)},
        values=np.array([value for _, value, _ in answers], dtype=np.float64),
        counted=np.array([counted for _, _, counted in answers], dtype=bool),
    )


def lost(faults: Sequence[Fault]) -> list[PackedBatch]:
    """A row without a sample that tells which were left out."""
    return [assemble([], dropped=tuple(faults))] if faults else []


def with_log_probabilities(rows: Sequence[AnswerRow], name: str, values: Sequence[Any]) -> list[AnswerRow]:
    """The rows with ``old`` or ``reference`` filled in."""
    return [replace(row, **{name: own}) for row, own in zip(rows, values, strict=True)]
