"""Are published answers read as a careful person reads them? ``python benchmarks/reading.py FOLDER --json OUT.json``.

FOLDER holds the repositories that ``benchmarks/README.md`` names, cloned as they are; ``reading_labels`` says what a
person read in some of their answers. Each of these is graded by the strict scoring of the ``medevalkit`` benchmarks,
through the function behind ``infimed rescore``, and stands beside what the publishers' own tool took from it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
from reading_sets import CHOICE, LETTERS, OPEN, POLAR, UNKNOWN, Published, read_all

LABELS = Path(__file__).parent / "reading_labels"
OUTCOMES = ("right", "wrong", "guess", "unread")
_POLAR_GOLDS = ("yes", "no")
_CHOICE_TASKS = {"omnimed": "OmniMedVQA", "gaokao": "MedQA_MCMLE"}
_VISUAL_TASKS = {"slake": "SLAKE", "pathvqa": "PATH_VQA"}


@dataclass(frozen=True)
class Labelled:
    """A published answer and what a person says it is: a letter, yes or no, 1 or 0; ``None`` is no commitment."""

    answer: Published
    label: str | int | None
    stratum: str
    weight: float

    @property
    def key(self) -> tuple[str, str, str]:
        """Where figures are summed: set, kind and half."""
        return self.answer.set, self.answer.kind, self.answer.split


def labelled(folder: Path, labels: Path, half: str) -> tuple[list[Labelled], list[str]]:
    """The labelled answers found in ``folder`` and the files with labels that are not there."""
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(labels.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if half in ("both", row["split"]):
                wanted[row["file"], row["question_id"]] = row
    files = {file for file, _ in wanted}
    found, seen = [], set()
    for answer in read_all(folder, files):
        seen.add(answer.file)
        row = wanted.get((answer.file, answer.question_id))
        if row is not None:
            if (row["kind"], row["split"]) != (answer.kind, answer.split):
                sys.exit(f"{answer.file}: question {answer.question_id} is not the one that was labelled")
            found.append(Labelled(answer, row["label"], row["stratum"], row["weight"]))
    return found, sorted(files - seen)


def read_strictly(rows: list[Labelled]) -> list[str | int | None]:
    """What strict scoring reads in each answer, in the terms of the labels.

    Which letter (or yes, or no) was read shows by grading the answer once for each as the reference: the one that makes
    it right. An answer that every reference leaves unscored is not read; one that no single reference makes right is
    read as "other".
    """
    tries = [(index, gold) for index, row in enumerate(rows) for gold in _references(row.answer)]
    by_task: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for index, gold in tries:
        by_task[_task(rows[index].answer)].append((index, gold))
    values: dict[int, dict[str, float | None]] = defaultdict(dict)
    for task, group in by_task.items():
        items = [_item(rows[index].answer, gold) for index, gold in group]
        for (index, gold), value in zip(group, _strict_values(task, items), strict=True):
            values[index][gold] = value
    return [_read(row.answer, values[index]) for index, row in enumerate(rows)]


def _references(answer: Published) -> tuple[str, ...]:
    if answer.kind == CHOICE:
        return tuple(LETTERS[: len(answer.options)])
    return _POLAR_GOLDS if answer.kind == POLAR else (answer.gold,)


def _task(answer: Published) -> str:
    if answer.kind == CHOICE:
        return _CHOICE_TASKS.get(answer.set, "MedQA_USMLE")
    return next((task for data, task in _VISUAL_TASKS.items() if f"_{data}_" in answer.file), "VQA_RAD")


def _item(answer: Published, gold: str) -> dict[str, Any]:
    """The answer as a row of the kit's results.json."""
    item: dict[str, Any] = {"question": answer.question, "answer": gold, "response": answer.response}
    if answer.kind == CHOICE:
        item["choices"] = [f"{letter}. {text}" for letter, text in zip(LETTERS, answer.options, strict=False)]
    elif _task(answer) == "SLAKE":
        item |= {"answer_type": "CLOSED" if answer.kind == POLAR else "OPEN", "lang": "en"}
    return item


def _strict_values(task: str, items: list[dict[str, Any]]) -> list[float | None]:
    from infimed_plugins.medevalkit.rescore import rescore

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        path.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
        graded = rescore(path, task, scoring="strict", samples=True)
    return [sample["value"] for sample in graded["strict"]["samples"]]


def _read(answer: Published, values: dict[str, float | None]) -> str | int | None:
    if answer.kind == OPEN:
        value = values[answer.gold]
        return None if value is None else int(value == 1)
    if all(value is None for value in values.values()):
        return None
    credited = [gold for gold, value in values.items() if value == 1]
    return credited[0] if len(credited) == 1 else "other"


def outcome(label: str | int | None, read: str | int | None) -> str:
    """Right, wrong, guess (read as something where a person says nothing) or unread."""
    if label == read:
        return "right"
    if label is None:
        return "guess"
    return "unread" if read is None else "wrong"


def their_outcome(row: Labelled) -> str | None:
    """The same for the publishers' tool; if it only says right or wrong, whether a person says so too."""
    theirs, label, answer = row.answer.theirs, row.label, row.answer
    if theirs == UNKNOWN:
        return None
    if theirs not in ("right", "wrong"):
        return outcome(label, theirs)
    right = label == 1 if answer.kind == OPEN else label == answer.gold
    if (theirs == "right") == right:
        return "right"
    return "guess" if label is None else "wrong"


def shares(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The weighted share of each outcome."""
    summed: dict[str, float] = defaultdict(float)
    for name, weight in pairs:
        summed[name] += weight
    total = sum(summed.values())
    return {name: summed[name] / total for name in OUTCOMES} if total else {}


def level_weights(rows: list[Labelled]) -> list[float]:
    """Weights by which a set counts by its labels and, within it, a stratum by the answers it stands for."""
    totals: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        totals[row.key].append(row.weight)
    return [row.weight * len(totals[row.key]) / sum(totals[row.key]) for row in rows]


def report(results: common.Results, rows: list[Labelled], read: list[str | int | None]) -> None:
    """The tables, the details and, over the half that no rule was written on, the targets."""
    weights = level_weights(rows)
    ours = [outcome(row.label, value) for row, value in zip(rows, read, strict=True)]
    theirs = [their_outcome(row) for row in rows]
    table, details = [], []
    for key in sorted({row.key for row in rows}):
        at = [i for i, row in enumerate(rows) if row.key == key]
        strict = shares((ours[i], weights[i]) for i in at)
        own = shares((name, weights[i]) for i in at if (name := theirs[i]) is not None)
        counts = {name: sum(ours[i] == name for i in at) for name in OUTCOMES}
        details.append(
            dict(zip(("set", "kind", "half"), key, strict=True))
            | {"labels": len(at), "counts": counts, "strict": strict, "publishers": own or None}
        )
        table.append([*key, len(at), *strict.values(), *(own[name] if own else "" for name in OUTCOMES)])
    common.table(["set", "kind", "half", "labels", *OUTCOMES, *(f"their {name}" for name in OUTCOMES)], table)
    results.details["sets"] = details
    for half in sorted({row.answer.split for row in rows}):
        at = [i for i, row in enumerate(rows) if row.answer.split == half]
        _targets(
            results, half, [rows[i] for i in at], [ours[i] for i in at], [weights[i] for i in at], [read[i] for i in at]
        )


def _targets(
    results: common.Results,
    half: str,
    rows: list[Labelled],
    ours: list[str],
    weights: list[float],
    read: list[str | int | None],
) -> None:
    definite = [i for i, row in enumerate(rows) if row.answer.kind != OPEN]
    if definite:
        found = shares((ours[i], weights[i]) for i in definite)
        results.target(f"{half}: choice and yes/no right", found["right"], ">= 0.995")
        results.target(f"{half}: choice and yes/no wrong + guess", found["wrong"] + found["guess"], "<= 0.002")
    person = [i for i, row in enumerate(rows) if row.answer.kind == OPEN and row.label is not None]
    if person:
        decided = [i for i in person if read[i] is not None]
        decided_weight = sum(weights[i] for i in decided)
        agree = sum(weights[i] for i in decided if ours[i] == "right")
        share = decided_weight / sum(weights[i] for i in person)
        results.target(f"{half}: open decided as the person", agree / decided_weight if decided else None, ">= 0.97")
        results.target(f"{half}: open decided without a judge, of what a person decides", share, ">= 0.85")
        unsure = [i for i, row in enumerate(rows) if row.answer.kind == OPEN and row.label is None]
        results.details[f"open_{half}"] = {
            "labels": len(person),
            "decided": len(decided),
            "as_the_person": sum(ours[i] == "right" for i in decided),
            "for_a_judge": len(unsure),
            "for_a_judge_but_right": sum(read[i] == 1 for i in unsure),
            "for_a_judge_but_wrong": sum(read[i] == 0 for i in unsure),
        }


def show_disagreements(rows: list[Labelled], read: list[str | int | None]) -> None:
    """Print the answers of the development half that are not read as the person did."""
    for row, value in zip(rows, read, strict=True):
        if row.answer.split == "dev" and outcome(row.label, value) != "right":
            print(f"{row.answer.file} {row.answer.question_id} [{row.stratum}]: person {row.label}, strict {value}")
            print(f"    {row.answer.question[-160:]!r} {list(row.answer.options)} gold {row.answer.gold!r}")
            print(f"    {row.answer.response[:300]!r} ... {row.answer.response[-300:]!r}")


def measure(results: common.Results, arguments: argparse.Namespace) -> None:
    """Read the folder, grade what is labelled, and report."""
    rows, missing = labelled(arguments.folder, arguments.labels, arguments.half)
    if not rows:
        sys.exit(f"{arguments.folder}: none of the labelled files is here; benchmarks/README.md says what to download")
    for file in missing:
        print(f"not here, left out: {file}", file=sys.stderr)
    read = read_strictly(rows)
    results.details["labels"], results.details["missing_files"] = len(rows), missing
    report(results, rows, read)
    if arguments.show:
        show_disagreements(rows, read)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder with the downloaded repositories")
    parser.add_argument(
        "--half", choices=("dev", "test", "both"), default="both", help="the half of the questions to read"
    )
    parser.add_argument("--labels", type=Path, default=LABELS, help="the folder of labels")
    parser.add_argument("--show", action="store_true", help="print the answers of the dev half that are read otherwise")


if __name__ == "__main__":
    common.main("reading", measure, _arguments)
