"""Files that stand beside the questions: PubMedQA as its authors' repository holds it, answers that were kept back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError, read_named

QUESTIONS, TEST = "ori_pqal.json", "test_ground_truth.json"
DECISIONS = {"A": "yes", "B": "no", "C": "maybe"}


def pubmedqa_files(root: Path) -> list[Path]:
    """The questions and, where it is there, the list of the test set; none where the folder is laid out otherwise."""
    for folder in (root, root / "data"):
        if (folder / QUESTIONS).is_file():
            return [path for path in (folder / QUESTIONS, folder / TEST) if path.is_file()]
    return []


def pubmedqa_rows(files: list[Path]) -> Iterator[tuple[str, Any]]:
    """(place, row as the hub has it) of every question of the test set, in its order; of all where there is no list.

    Raises:
        DataError: a file is no JSON object.
    """
    questions = _object(files[0])
    wanted = _object(files[1]) if len(files) > 1 else dict.fromkeys(questions)
    for key, gold in wanted.items():
        where = f"{files[0]}[{key}]"
        row = questions.get(key)
        if not isinstance(row, dict):
            yield where, DataError("missing_row", f"{files[-1].name} names '{key}', which {QUESTIONS} does not have")
            continue
        decision = str(row.get("final_decision") or gold).strip().lower()
        letter = next((letter for letter, text in DECISIONS.items() if text == decision), None)
        if letter is None or (gold is not None and decision != str(gold).strip().lower()):
            yield where, DataError("bad_answer", f"the decision is '{decision}', and the test set says '{gold}'")
            continue
        data = {"Question": row.get("QUESTION"), "Context": row.get("CONTEXTS") or [], "Options": DECISIONS}
        yield where, {"__id__": key, "data": {**data, "Correct Option": letter}}


def kept_back_files(layout: str, root: Path) -> list[Path]:
    """The files of answers that MMMU and CMB keep beside their questions, those that are there."""
    if layout == "mmmu":
        return [path for path in (root / "answer.json",) if path.is_file()]
    return sorted(root.glob("CMB-Exam/CMB-test/*answer*.json")) if layout == "key-value" else []


def kept_back_answers(layout: str, root: Path) -> dict[str, dict[str, Any]]:
    """id -> the fields of a row that were kept back. An entry that holds none leaves its question without an answer.

    Raises:
        DataError: a file is no JSON of its kind.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in kept_back_files(layout, root):
        if layout == "mmmu":  # id -> {question_type, ground_truth}
            for key, entry in _object(path).items():
                if isinstance(entry, dict) and "ground_truth" in entry:
                    told = {"answer": entry["ground_truth"], "question_type": entry.get("question_type")}
                    found[key] = {name: value for name, value in told.items() if value is not None}
            continue
        entries = _parsed(path)  # a list of {id, answer}
        if not isinstance(entries, list):
            raise DataError("unreadable", f"{path}: must be a list of ids with their answers; download it again")
        for entry in entries:
            if isinstance(entry, dict) and "id" in entry and "answer" in entry:
                found[str(entry["id"])] = {"answer": entry["answer"]}
    return found


def _parsed(path: Path) -> Any:
    try:
        return json.loads(read_named(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("unreadable", f"{path}: {error}; download the file again") from error


def _object(path: Path) -> dict[str, Any]:
    body = _parsed(path)
    if not isinstance(body, dict):
        raise DataError("unreadable", f"{path}: must be an object from ids to what belongs to them")
    return body
