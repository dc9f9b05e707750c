"""Metrics in the shape of MedEvalKit's metrics.json: its own arithmetic, and the plain one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from infimed_core import interval
from infimed_plugins.medevalkit.cards import Card
from infimed_plugins.medevalkit.grades import Grade, Record
from infimed_plugins.medevalkit.grading import golds, lettered

OPEN_SUMS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge1", "rouge2", "rougel", "precision", "recall", "f1", "em")


def summarise(card: Card, records: Sequence[Record], grades: Sequence[Grade], scoring: str) -> dict[str, Any]:
    """The blocks of metrics of one task."""
    block = _kit_block if scoring == "kit" else _strict_block
    if card.grading == "mmmu":
        return _mmmu(card, records, grades, scoring)
    if card.grading == "visual":
        return _visual(grades, scoring)
    if card.grading == "report":
        return _reports(grades, scoring)
    result: dict[str, Any] = {"total metrics": block(grades)}
    if card.grading == "structured":
        for key in ("single_choice", "multiple_choice"):
            kept = [g for record, g in zip(records, grades, strict=True) if record.get("answer_type") == key]
            result[key] = block(kept)
    breakdown = card.kit_breakdown if scoring == "kit" and card.kit_breakdown is not None else card.breakdown
    for name, key in breakdown.items():
        parts: dict[str, list[Grade]] = {}
        for record, grade in zip(records, grades, strict=True):
            parts.setdefault(str(record.get(key)), []).append(grade)
        result[name] = {value: block(members) for value, members in parts.items()}
    return result


def _kit_block(grades: Sequence[Grade]) -> dict[str, Any]:
    right = int(sum(grade.value or 0.0 for grade in grades))
    return {"total": len(grades), "right": right, "acc": right / len(grades) if grades else None}


def _strict_block(grades: Sequence[Grade]) -> dict[str, Any]:
    """``acc`` (with its 95% interval) is over what could be read; ``acc_of_all`` counts the unscored as wrong."""
    values = [grade.value for grade in grades if grade.value is not None]
    right = int(sum(values))
    low, high = interval(values)
    return {
        "total": len(grades),
        "right": right,
        "acc": right / len(values) if values else None,
        "low": low,
        "high": high,
        "acc_of_all": right / len(grades) if grades else None,
        "unscored": len(grades) - len(values),
        "unscored_rate": (len(grades) - len(values)) / len(grades) if grades else None,
    }


def _visual(grades: Sequence[Grade], scoring: str) -> dict[str, Any]:
    opened = [grade for grade in grades if grade.kind == "open"]
    shut = [grade for grade in grades if grade.kind == "closed"]
    block = _kit_block if scoring == "kit" else _strict_block
    total, close = block(grades), block(shut)
    first = block(opened)
    if scoring == "kit":
        num = len(opened)
        sums = {key: sum(grade.parts.get(key) or 0.0 for grade in opened) for key in OPEN_SUMS}
        means = {key: value / num if num else None for key, value in sums.items()}
        # The kit divides acc by the total a second time, in the loop that divides the sums.
        acc = first["right"] / num / num if num else None
        return {
            "total metrics": total,
            "open": {"total": num, "right": first["right"], **means, "acc": acc},
            "close": close,
        }
    measured = [grade for grade in opened if grade.parts]  # those that wait for a judge are measured too
    means = {
        key: sum(grade.parts.get(key) or 0.0 for grade in measured) / len(measured) if measured else None
        for key in OPEN_SUMS
    }
    return {"total metrics": total, "open": first | means, "close": close}


def _reports(grades: Sequence[Grade], scoring: str) -> dict[str, Any]:
    """Means of the overlap measures; the kit's side script divides by all reports, ``strict`` by those with a score."""
    scored = [grade for grade in grades if grade.value is not None]
    parts: dict[str, list[float]] = {}
    for grade in scored:
        for key, value in grade.parts.items():
            if value is not None:
                parts.setdefault(key, []).append(value)
    if scoring == "kit":
        return {key: sum(values) / len(grades) for key, values in parts.items()}
    blocks: dict[str, Any] = {"total": len(grades), "unscored": len(grades) - len(scored)}
    blocks["unscored_rate"] = blocks["unscored"] / len(grades) if grades else None
    for section in ("", "findings_", "impression_"):
        own = {key: values for key, values in parts.items() if key.startswith(section or ("bleu", "rouge"))}
        means = {key.removeprefix(section): sum(values) / len(values) for key, values in own.items()}
        blocks[section.removesuffix("_") or "report"] = means
    return blocks


def _mmmu(card: Card, records: Sequence[Record], grades: Sequence[Grade], scoring: str) -> dict[str, Any]:
    if scoring == "kit":
        grades = draw_letters(records, grades)
    block = _kit_block if scoring == "kit" else _strict_block
    parts: dict[str, list[Grade]] = {}
    for record, grade in zip(records, grades, strict=True):
        parts.setdefault(subject_of(record), []).append(grade)
    result: dict[str, Any] = {"total": block(grades)}
    for subject, members in parts.items():
        values = block(members)
        if scoring == "kit":
            values = {
                "acc": values["acc"],
                "right": values["right"],
                "total": len(members),
                "num_example": len(members),
            }
        result[subject] = values
    return result


def draw_letters(records: Sequence[Record], grades: Sequence[Grade], seed: int = 42) -> list[Grade]:
    """The kit's random credit for what its MMMU parser cannot read: drawn in the order of the file, seed 42.

    The kit's own draw also depends on whatever used the generator before, so it is equal in law, not letter by letter.
    """
    generator = random.Random(seed)
    drawn = []
    for record, grade in zip(records, grades, strict=True):
        if grade.value is None and grade.reason == "random_letter":
            letter = generator.choice(sorted(lettered(record)) or ["A"])
            grade = Grade(float(letter in golds(record["answer"])), "random_letter", grade.kind, letter)
        drawn.append(grade)
    return drawn


def subject_of(record: Record) -> str:
    """MMMU's subject: a field, or the middle of an id such as ``validation_Clinical_Medicine_12``."""
    if record.get("subject"):
        return str(record["subject"])
    parts = str(record.get("id", "")).split("_")
    return "_".join(parts[1:-1]) if len(parts) > 2 else "unlabelled"
