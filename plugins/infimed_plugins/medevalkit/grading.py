"""Grading one record (a row as MedEvalKit writes it to results.json) under either scoring."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from infimed_core import DataError, Sample
from infimed_plugins.medevalkit import kit_grading, mmmu, reports
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.named_options import LETTERS, prepare_options
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, Verdict, grade_open
from infimed_plugins.medevalkit.cards import Card
from infimed_plugins.medevalkit.grades import Grade, Record
from infimed_plugins.medevalkit.kit_text import KitError
from infimed_plugins.medevalkit.measures import open_measures

REQUIRED = {
    "choice": ("choices", "answer", "response"),
    "structured": ("answer", "response"),
    "visual": ("answer", "response"),
    "mmmu": ("answer", "response", "question_type"),
    "report": ("answer", "response"),
}


def grade_record(card: Card, record: Record, scoring: str) -> Grade:
    """Grade ``record["response"]`` against ``record["answer"]``.

    Under ``kit`` the value is ``None`` only where the kit itself raises and loses the run: reason ``kit_crash``.

    Raises:
        DataError: the record lacks a field, or the scoring has no such name.
    """
    if scoring not in ("strict", "kit"):
        raise DataError("unknown_scoring", f"no scoring '{scoring}'; there are strict and kit")
    missing = [name for name in REQUIRED.get(card.grading, ()) if name not in record]
    if missing:
        raise DataError("missing_field", f"field '{missing[0]}' is missing; {card.kit_task} needs it")
    response = record["response"]
    if response is not None and not isinstance(response, str):
        raise DataError("bad_field", f"'response' must be text or null, not {type(response).__name__}")
    kind = kind_of(card, record)
    if scoring == "kit":
        try:
            return _kit(card, record, response, kind)
        except KitError as error:
            return Grade(None, f"kit_crash: {error}", kind)
    return _strict(card, record, response, kind)


def kind_of(card: Card, record: Record) -> str:
    """Whether a record is a choice, an open or a closed question."""
    if card.grading in ("report", "rubric"):
        return card.grading
    if card.grading == "mmmu":
        return "choice" if record.get("question_type", "multiple-choice") == "multiple-choice" else "open"
    if card.grading == "visual":
        if "answer_type" in record and not card.fold:
            return "open" if str(record["answer_type"]).upper() == "OPEN" else "closed"
        return "closed" if str(record["answer"]).lower() in ("yes", "no") else "open"
    return "closed" if card.grading == "structured" and not record.get("choices") else "choice"


def _kit(card: Card, record: Record, response: str | None, kind: str) -> Grade:
    if card.grading in ("report", "rubric"):
        return reports.grade(record, response, scoring="kit") if kind == "report" else Grade(None, "needs_judge", kind)
    gold = record["answer"]
    if card.grading == "mmmu":
        return _kit_mmmu(card, record, response, kind)
    if card.grading == "visual":
        text = kit_grading.prepare_visual(response, card.fold)
        gold = str(gold).lower().strip() if card.fold else str(gold)
        if kind == "open":
            parts = kit_grading.open_answer(gold, text)
            return Grade(parts["em"], kind=kind, parts=dict(parts))
        polar = card.fold or gold in ("yes", "no")
        right = kit_grading.judgement(gold, text) if polar else kit_grading.closed(gold, text)
        return Grade(float(right), kind=kind)
    # The kit takes every single-choice question of Rad-ReStruct for a yes or no.
    if kind == "closed" or (card.grading == "structured" and record.get("answer_type") == "single_choice"):
        return Grade(float(kit_grading.judgement(_first(gold), response)), kind=kind)
    grader = kit_grading.extracted_choice if card.extract else kit_grading.choice
    return Grade(float(grader(record["choices"], _first(gold), response)), kind=kind)


def _kit_mmmu(card: Card, record: Record, response: str | None, kind: str) -> Grade:
    if kind == "choice":
        letter = mmmu.parse_choice(response, lettered(record))
        if letter is None:
            return Grade(None, "random_letter", kind)
        return Grade(float(letter in golds(record["answer"])), kind=kind, read=letter)
    if card.kit_task.endswith("-val"):
        return Grade(0.0, kind=kind)  # the kit walks through the response character by character here
    return Grade(float(mmmu.open_right(record["answer"], mmmu.parse_open(response or ""))), kind=kind)


def _strict(card: Card, record: Record, response: str | None, kind: str) -> Grade:
    if card.grading in ("report", "rubric"):
        return (
            reports.grade(record, response, scoring="strict") if kind == "report" else Grade(None, "needs_judge", kind)
        )
    if kind == "choice":
        return _strict_choice(card, record, response)
    question, ended = str(record.get("question") or ""), record.get("finish_reason")
    accepted = golds(record["answer"])
    if kind == "closed":
        verdict = best([grade_closed(gold, response, question, ended=ended) for gold in accepted[:1]])
    else:
        verdict = best([grade_open(gold, response, question, ended) for gold in accepted])
    value = None if verdict.right is None else float(verdict.right)
    parts: dict[str, float | None] = {}
    if kind == "open" and card.grading == "visual" and verdict.reason in ("", NEEDS_JUDGE):
        parts = dict(open_measures(accepted[0], response, ended))
    return Grade(value, verdict.reason, kind, verdict.read, parts, verdict.statement)


def best(verdicts: list[Verdict]) -> Verdict:
    """Of the verdicts against several accepted answers the right one, else an undecided one, else the first."""
    for wanted in (True, None):
        for verdict in verdicts:
            if verdict.right is wanted:
                return verdict
    return verdicts[0]


def _strict_choice(card: Card, record: Record, response: str | None) -> Grade:
    options = option_texts(record)
    if not options:
        raise DataError("no_options", "the question has no options")
    question = str(record.get("question") or "")
    choice = read_choice(response, options, card.multiple, record.get("finish_reason"), question)
    if not choice.letters:
        return Grade(None, choice.reason, statement=choice.statement)
    wanted = gold_letters(tuple(golds(record["answer"])), options, card.multiple)
    if not wanted:
        return Grade(None, "gold_not_among_options", read=choice.letters)
    return Grade(float(choice.letters == wanted), read=choice.letters, statement=choice.statement)


def golds(answer: Any) -> list[str]:
    """The accepted answers as a list."""
    return [str(part) for part in answer] if isinstance(answer, (list, tuple)) else [str(answer)]


def wording_of(sample: Sample) -> str:
    """The question of a sample's record, without options and instructions."""
    record = sample.meta.get("record")
    return str(record.get("question") or "") if isinstance(record, Mapping) else ""


def _first(answer: Any) -> str:
    return golds(answer)[0]


@lru_cache(maxsize=16384)
def gold_letters(answers: tuple[str, ...], options: tuple[str, ...], multiple: bool) -> str:
    """The right letters in order: given as letters ("B", "BD", "B,D") or as option texts; "" if among neither."""
    known = LETTERS[: len(options)]
    texts = prepare_options(options).keys
    found = set()
    for answer in answers:
        letters = "".join(char for char in answer if char.isalnum()).upper()
        if letters and set(letters) <= set(known) and (len(letters) == 1 or multiple):
            found |= set(letters)
        elif key(answer) in texts:
            found.add(known[texts.index(key(answer))])
    return "".join(sorted(found))


def option_texts(record: Record) -> tuple[str, ...]:
    """The option texts of a record in their order, at most as many as there are letters."""
    choices = record.get("choices")
    if isinstance(choices, list) and "index2ans" not in record:
        return tuple(map(str, choices[: len(LETTERS)]))
    return tuple(lettered(record).values())


def lettered(record: Record) -> dict[str, str]:
    """Letters and option texts of a record, in whichever shape it keeps them."""
    if isinstance(record.get("index2ans"), Mapping):
        return {str(letter): str(text) for letter, text in record["index2ans"].items()}
    choices = record.get("choices", record.get("options", []))
    if isinstance(choices, Mapping):
        return {str(letter): str(text) for letter, text in choices.items()}
    if isinstance(choices, str):
        choices = choices.split("\n")
    return dict(zip(LETTERS, (str(option) for option in choices), strict=False))
