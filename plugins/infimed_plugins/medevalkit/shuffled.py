"""The benchmark ``option-shuffled``: each question of another one, asked with its options in several orders."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import (
    Answer,
    AnswerMetric,
    ComponentRef,
    DataError,
    Fault,
    GradedAnswer,
    Sample,
    Score,
    Turn,
)
from infimed_plugins.medevalkit.answers.named_options import LETTERS
from infimed_plugins.medevalkit.wrappers.wrapped import OfAnother

LETTER = re.compile(r"[A-Z](?= <- |$)")
"""The letter that a strict score says was read."""


class OptionShuffled(OfAnother):
    """How far a model's answers follow the place of an option: every question in ``orders`` orders, the first its own.

    ``accuracy`` is over all orders; ``consistency`` the share of questions to which the same option is chosen in all of
    them; ``right-in-all-orders`` the share that is answered rightly in all. Intervals resample questions, not orders.
    """

    cluster_by: ClassVar[str] = "question"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "consistency", "right-in-all-orders")

    benchmark: ComponentRef = Field(description="The multiple-choice benchmark and its settings.")
    orders: int = Field(default=3, ge=2, le=24, description="In how many orders a question is asked.")
    seed: int = Field(default=0, ge=0, description="Draws the orders.")

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question with one right letter, in all its orders; others are left out."""
        for row in self.inner.samples():
            if isinstance(row, Fault):
                yield row
            elif len(row.options) > 1 and row.references and row.references[0] in LETTERS[: len(row.options)]:
                try:
                    yield from [reordered(row, order) for order in self._orders(row)]
                except DataError as error:
                    yield Fault(sample_id=row.id, code=error.code, detail=str(error))

    def _orders(self, sample: Sample) -> list[tuple[int, ...]]:
        """As many orders as there are, the question's own first."""
        own = tuple(range(len(sample.options)))
        draw = random.Random(f"{self.seed} {sample.id}")
        if len(own) <= 4:
            others = [order for order in permutations(own) if order != own]
            return [own, *draw.sample(others, min(self.orders - 1, len(others)))]
        found = {own: None}
        while len(found) < self.orders:
            found[tuple(draw.sample(own, len(own)))] = None
        return list(found)

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """As the benchmark grades it, by the order in which the options were shown."""
        return self.inner.grade(sample, answer, scoring)

    def is_open(self, sample: Sample) -> bool:
        """Never: what is asked is multiple choice."""
        return False


def reordered(sample: Sample, order: Sequence[int]) -> Sample:
    """The question with option ``order[i]`` at place i, its right letter and what grading keeps moved along.

    Raises:
        DataError: the prompt does not show the options, each on a line of its own behind its letter.
    """
    old = LETTERS.index(sample.references[0])
    letter = LETTERS[list(order).index(old)]
    kept: Any = sample.meta.get("record") or {}
    record: dict[str, Any] = dict(kept)
    for key in ("choices", "options"):
        if isinstance(record.get(key), list):
            record[key] = [_relettered(record[key][place], number) for number, place in enumerate(order)]
    if isinstance(record.get("index2ans"), dict):
        texts = list(record["index2ans"].values())
        record["index2ans"] = {LETTERS[number]: texts[place] for number, place in enumerate(order)}
    if "letters" in record:
        record |= {"letters": [letter], "answer": [letter, sample.options[old]]}
    elif str(record.get("answer")).strip() in LETTERS:
        record["answer"] = letter
    *before, last = sample.turns
    return sample.model_copy(
        update={
            "id": f"{sample.id}~{''.join(LETTERS[place] for place in order)}",
            "turns": (*before, _shown(last, sample, order)),
            "options": tuple(sample.options[place] for place in order),
            "references": (letter, *sample.references[1:]),
            "tags": sample.tags | {"question": sample.id, "order": "".join(LETTERS[place] for place in order)},
            "meta": {**sample.meta, "record": record},
        }
    )


def _relettered(option: Any, number: int) -> Any:
    """``B. text`` with the letter of another place; a text without a letter stays as it is."""
    if not isinstance(option, str):
        return option
    return re.sub(r"^(\s*\(?)[A-Z]([.):、]\s*)", rf"\g<1>{LETTERS[number]}\g<2>", option)


def _shown(turn: Turn, sample: Sample, order: Sequence[int]) -> Turn:
    content = list(turn.content)
    for place, part in enumerate(content):
        if not isinstance(part, str):
            continue
        lines = part.split("\n")
        at = [_line_of(lines, number, text) for number, text in enumerate(sample.options)]
        if None in at:
            continue
        moved = list(lines)
        for number, old in enumerate(order):
            moved[at[number] or 0] = _relettered(lines[at[old] or 0], number)
        content[place] = "\n".join(moved)
        return turn.model_copy(update={"content": tuple(content)})
    raise DataError("options_not_shown", f"'{sample.id}' does not show its options one a line, so they have no order")


def _line_of(lines: Sequence[str], number: int, text: str) -> int | None:
    wanted = re.compile(rf"\s*\(?{LETTERS[number]}[.):、]\s*{re.escape(text.strip())}\s*")
    return next((place for place, line in enumerate(lines) if wanted.fullmatch(line)), None)


class _OverOrders(AnswerMetric):
    """A share of questions, each asked in several orders."""

    counts_unread: ClassVar[bool] = True

    def holds(self, rows: Sequence[GradedAnswer]) -> bool:
        """Whether a question counts, by its answers in all orders."""
        raise NotImplementedError

    def answer_values(self, rows: Sequence[GradedAnswer]) -> NDArray[np.float64]:
        """1 where the row's question counts, weighed so that every question counts alike."""
        groups: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            groups[row.sample.tags.get("question", row.sample.id)].append(place)
        values = np.empty(len(rows))
        for places in groups.values():
            values[places] = float(self.holds([rows[place] for place in places]))
        return values

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        """The mean over the rows."""
        return float(self.answer_values(rows).mean()) if rows else None


class Consistency(_OverOrders):
    """The share of questions to which the same option is chosen in every order; an unread answer is no choice."""

    def holds(self, rows: Sequence[GradedAnswer]) -> bool:
        """Whether one option is chosen throughout."""
        chosen = set()
        for row in rows:
            read = LETTER.match(row.score.note)
            order = row.sample.tags.get("order", "")
            place = LETTERS.index(read[0]) if read and row.score.value is not None else -1
            chosen.add(order[place] if 0 <= place < len(order) else None)
        return len(chosen) == 1 and None not in chosen


class RightInAllOrders(_OverOrders):
    """The share of questions that are answered rightly in every order."""

    def holds(self, rows: Sequence[GradedAnswer]) -> bool:
        """Whether all are right."""
        return all(row.score.value == 1.0 for row in rows)
