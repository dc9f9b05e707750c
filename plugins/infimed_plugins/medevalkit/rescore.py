"""Grading saved answers again without a model: MedEvalKit's results.json, or our own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infimed_core import DataError, InfimedError, read_named
from infimed_core.records import Graded, open_run, parse_graded, read_answers
from infimed_plugins.medevalkit.cards import Card, find_card
from infimed_plugins.medevalkit.grades import Grade, Record, span_of
from infimed_plugins.medevalkit.grading import grade_record
from infimed_plugins.medevalkit.reports import with_reference
from infimed_plugins.medevalkit.summary import draw_letters, summarise

SCORINGS = {"both": ("kit", "strict"), "kit": ("kit",), "strict": ("strict",)}


def rescore(
    path: str | Path, task: str, scoring: str = "both", samples: bool = False, explain: bool = False
) -> dict[str, Any]:
    """Grade the answers in ``path`` (a file, or a folder that holds results.json) under ``kit``, ``strict`` or both.

    Returns ``{"task", "kit": {"metrics": ...}, "strict": {"metrics": ...}}``; with ``samples`` each scoring also has
    ``samples``: value and reason in the file's order; with ``explain`` there is ``disagreements``.
    Where the kit itself would have raised, ``kit`` has ``crashes``, the number of such samples, counted as wrong.

    Raises:
        DataError: the file cannot be read, a row cannot be graded, or task or scoring is unknown.
    """
    if scoring not in SCORINGS:
        raise DataError("unknown_scoring", f"no scoring '{scoring}'; choose kit, strict or both")
    if task == "questions":
        return rescore_questions(Path(path), samples)
    card = find_card(task)
    if card.grading == "rubric":
        raise DataError(
            "no_rule",
            f"{card.kit_task} is graded by a judge: name one under 'judges:' of a run; see docs/answers.md",
        )
    _check_origin(Path(path), card)
    records = read_records(Path(path), card)
    if card.grading == "report":
        records = [with_reference(record) for record in records]
    result: dict[str, Any] = {"task": card.kit_task}
    graded: dict[str, list[Grade]] = {}
    for name in ("kit", "strict") if explain else SCORINGS[scoring]:
        graded[name] = [_grade(card, record, name, index, path) for index, record in enumerate(records)]
    for name in SCORINGS[scoring]:
        grades = graded[name]
        result[name] = {"metrics": summarise(card, records, grades, name)}
        crashes = sum(grade.reason.startswith("kit_crash") for grade in grades)
        if crashes:
            result[name]["crashes"] = crashes
        if samples:
            shown = draw_letters(records, grades) if name == "kit" else grades
            result[name]["samples"] = [{"value": grade.value, "reason": grade.reason or None} for grade in shown]
    if explain:
        result["disagreements"] = disagreements(records, graded["kit"], graded["strict"])
    return result


def rescore_questions(path: Path, samples: bool) -> dict[str, Any]:
    """Answers to questions of one's own, from the answers file of a run, graded again by the strict rules of today.

    ``changed`` lists the ids whose grade is another than the file has.
    """
    from infimed_plugins.medevalkit.questions import Questions

    benchmark = Questions.model_construct(**_recorded_settings(path))
    values: list[float | None] = []
    rows, changed = [], []
    for row in read_answers(path):
        if "form" not in row.sample.tags or not isinstance(row.sample.meta.get("record"), dict):
            raise DataError("not_results", f"{path}: '{row.sample.id}' is no question of the benchmark 'questions'")
        if row.answer.error is not None:
            continue
        score = benchmark.grade(row.sample, row.answer, "strict")
        values.append(score.value)
        rows.append({"value": score.value, "reason": ", ".join(score.reasons) or None})
        if score.value != row.scores["strict"].value:
            changed.append(row.sample.id)
    if not values:
        raise DataError("no_samples", f"{path}: holds no answer")
    read = [value for value in values if value is not None]
    metrics = {
        "accuracy": sum(read) / len(values),
        "coverage": len(read) / len(values),
        "accuracy_where_read": sum(read) / len(read) if read else None,
        "answers": len(values),
        "graded otherwise": len(changed),
    }
    strict: dict[str, Any] = {"metrics": metrics} | ({"samples": rows} if samples else {})
    return {"task": "questions", "strict": strict, "changed": changed}


def _recorded_settings(path: Path) -> dict[str, Any]:
    """What the run says of the closed answers of the set, where the file lies in a run."""
    try:
        run = open_run(path.parent.parent)
    except InfimedError:
        return {"choices": ()}
    named = [benchmark for benchmark, model in run.answered() if run.answers_file(benchmark, model) == path]
    settings = [run.benchmark_refs[name].settings for name in named]
    return {"choices": tuple(settings[0].get("choices", ())) if settings else ()}


def _check_origin(path: Path, card: Card) -> None:
    """Answers of a run must be answers to the task.

    Raises:
        DataError: the run's record says that they answer another benchmark.
    """
    if path.parent.name != "answers":
        return
    try:
        run = open_run(path.parent.parent)
    except InfimedError:
        return  # no run: answers that were copied from one, say
    named = [benchmark for benchmark, model in run.answered() if run.answers_file(benchmark, model) == path]
    for ref in (run.benchmark_refs[name] for name in named):
        try:
            own = find_card(ref.use.removeprefix("medevalkit/"))
        except DataError:
            own = None
        if own != card:
            raise DataError("other_benchmark", f"{path}: holds answers to '{ref.use}', not to {card.kit_task}")


def _grade(card: Card, record: Record, scoring: str, index: int, path: str | Path) -> Grade:
    try:
        return grade_record(card, record, scoring)
    except DataError as error:
        raise DataError(error.code, f"{path}: sample {index}: {error}") from error


def disagreements(records: list[Record], kit: list[Grade], strict: list[Grade]) -> list[dict[str, Any]]:
    """The samples on which the two scorings differ, with what strict read and why."""
    return [
        {
            "index": index,
            "response": record["response"],
            "answer": record["answer"],
            "kit": a.value,
            "strict": b.value,
            "read": b.read or None,
            "statement": b.statement or None,
            "span": span_of(b.statement or b.read, record["response"]) if b.read and record["response"] else None,
            "reason": b.reason or a.reason or None,
        }
        for index, (record, a, b) in enumerate(zip(records, kit, strict, strict=True))
        if a.value != b.value
    ]


def read_records(path: Path, card: Card) -> list[Record]:
    """The records of a results.json, of our answers.jsonl, or of a folder with either.

    Raises:
        DataError: nothing there, or not in either format.
    """
    if path.is_dir():
        return _read_folder(path, card)
    try:
        text = read_named(path, 2**30).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("unreadable", f"{path}: cannot be read ({error}); name a results.json or its folder") from error
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _read_lines(path, text)
    if isinstance(body, dict) and "sample" in body:
        return _read_lines(path, text)
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise DataError("not_results", f"{path}: not a list of samples; MedEvalKit writes one to <task>/results.json")
    if not body:
        raise DataError("no_samples", f"{path}: holds no sample")
    return body


def _read_folder(path: Path, card: Card) -> list[Record]:
    if card.grading == "mmmu" and (parts := sorted(path.glob("*/output_sample.json"))):
        return [{"subject": part.parent.name, **record} for part in parts for record in read_records(part, card)]
    for name in ("results.json", "answers.jsonl"):
        if (path / name).exists():
            return read_records(path / name, card)
    remedy = "neither results.json nor answers.jsonl in this folder; name the task's folder"
    raise DataError("no_results", f"{path}: {remedy}")


def _read_lines(path: Path, text: str) -> list[Record]:
    """Our own answers: one JSON object a line, with the sample and the answer."""
    records: list[Record] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                answer = parse_graded(line)
            except ValueError as error:
                remedy = "neither MedEvalKit's results.json nor the answers of a run of this benchmark"
                raise DataError("not_results", f"{path}:{number}: {remedy} ({type(error).__name__})") from error
            records.append(_record_of(answer, f"{path}:{number}"))
    if not records:
        raise DataError("no_samples", f"{path}: holds no sample")
    return records


def _record_of(answer: Graded, where: str) -> Record:
    record = answer.sample.meta.get("record")
    if not isinstance(record, dict):
        remedy = "the answers of another benchmark; only those of MedEvalKit's tasks can be graded again"
        raise DataError("not_results", f"{where}: {remedy}")
    ended = {"finish_reason": answer.answer.finish_reason} if answer.answer.finish_reason else {}
    return {**record, **ended, "response": answer.answer.text}
