"""What a model gained and lost against another one, counted on the questions that both answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from infimed_core.records import RunRecord, is_baseline
from infimed_plugins.reporting.page.answers import AnswerTables
from infimed_plugins.reporting.page.tables import Matrix, column_of, first_scorings

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Movement:
    """Questions on which the later model did better (``gained``) and worse (``lost``), of ``num`` that both answered.

    ``is_certain`` says whether the sign test finds more than chance in it (p < 0.05).
    """

    against: str
    gained: int
    lost: int
    num: int
    difference: float

    @property
    def is_certain(self) -> bool:
        """Whether one side outweighs the other by more than chance."""
        from scipy.special import bdtr

        moved = self.gained + self.lost
        return bool(moved) and 2 * float(bdtr(min(self.gained, self.lost), moved, 0.5)) < 0.05

    @property
    def kind(self) -> str:
        """``up``, ``down``, or "" where nothing is shown by it."""
        return ("up" if self.difference > 0 else "down") if self.is_certain else ""


@dataclass(frozen=True)
class MovedRow:
    """A row of the matrix "gained and lost": against the model before, and the last against the best before it."""

    steps: tuple[Movement | None, ...]
    kept: Movement | None


def movements(record: RunRecord, tables: AnswerTables, matrix: Matrix) -> list[MovedRow]:
    """For every row of ``matrix`` (``tables.forgetting``): what moved from each model to the next."""
    parts = _questions_of(record, tables)
    values = _values(tables)
    found = []
    for name, cells in matrix.rows:
        own = parts.get(name, [])
        steps: list[Movement | None] = [None]
        for before, model in zip(matrix.columns, matrix.columns[1:], strict=False):
            steps.append(movement(own, values.get(model, {}), values.get(before, {}), before))
        earlier = [(cell.value, model) for cell, model in zip(cells[:-1], matrix.columns, strict=False)]
        known = [(value, model) for value, model in earlier if value is not None]
        best = max(known, key=lambda one: one[0])[1] if known else ""
        found.append(
            MovedRow(tuple(steps), movement(own, values.get(matrix.columns[-1], {}), values.get(best, {}), best))
        )
    return found


def movement(
    questions: Iterable[K], ours: Mapping[K, float], others: Mapping[K, float], against: str
) -> Movement | None:
    """What ``ours`` gains and loses against ``others`` on the questions that both have; ``None`` without any."""
    changes = [ours[place] - others[place] for place in questions if place in ours and place in others]
    if not changes:
        return None
    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return Movement(against, gained, lost, len(changes), sum(changes) / len(changes))


def _values(tables: AnswerTables) -> dict[str, dict[int, float]]:
    """By model and question the value under the scoring that counts; unread is 0, an error has none."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in tables.answers:
        if row[4][:1] not in ("", "e"):
            found[tables.models[row[1]]][row[0]] = row[5][0] or 0.0
    return found


def _questions_of(record: RunRecord, tables: AnswerTables) -> dict[str, list[int]]:
    """By row of the matrix the questions in it."""
    scorings = first_scorings(record)
    wanted: dict[str, tuple[str, Sequence[tuple[str, str]]]] = {}
    for row in record.results:
        if len(row.group) < 2 and row.scoring == scorings[row.benchmark] and not is_baseline(row.model):
            wanted[column_of(row)] = row.benchmark, tuple(row.group.items())
    found: dict[str, list[int]] = {}
    for name, (benchmark, tags) in wanted.items():
        found[name] = [
            place
            for place, question in enumerate(tables.questions)
            if tables.benchmarks[question[0]] == benchmark
            and all(question[5].get(tag, "unlabelled") == value for tag, value in tags)
        ]
    return found
