"""Published answers of models, read from the folders of the repositories that publish them, as one kind of row.

``benchmarks/README.md`` says what to download. Nothing here decides what an answer says: a row carries the question,
its options and gold, the answer as published, and what the publishers' own tool took from it.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
import string
import sys
import zipfile
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHOICE, POLAR, OPEN = "choice", "yes/no", "open"
LETTERS = string.ascii_uppercase
UNKNOWN = "?"  # the publishers give no verdict of their own
_RAD_PROMPT = " Please choose from the following"
_MMLU_PRO_SUBJECTS = ("health", "biology")
_MMMU_SUBJECTS = (
    "Basic_Medical_Science",
    "Clinical_Medicine",
    "Diagnostics_and_Laboratory_Medicine",
    "Pharmacy",
    "Public_Health",
    "Biology",
)


@dataclass(frozen=True)
class Published:
    """One published answer; ``theirs`` is the letter that their tool read, or its verdict, "right" or "wrong"."""

    set: str
    file: str
    question_id: str
    kind: str
    question: str
    gold: str
    response: str
    theirs: str | None
    options: tuple[str, ...] = field(default=())

    @property
    def split(self) -> str:
        """``dev`` or ``test``, the same for every answer to a question, whoever published it."""
        asked = self.question.split(_RAD_PROMPT)[0]
        key = re.sub(r"\W+", " ", asked.lower()).strip()
        return "test" if hashlib.sha256(key.encode()).digest()[0] % 2 else "dev"


Wanted = Container[str] | None


def read_all(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """Every answer of every set that lies in ``folder``; ``wanted`` names the files to read, without it all are."""
    for read in SETS.values():
        yield from read(folder, wanted)


def _files(folder: Path, pattern: str, wanted: Wanted) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob(pattern)):
        name = path.relative_to(folder).as_posix()
        if wanted is None or name in wanted:
            yield path, name


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def mmlu_pro(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """MMLU-Pro: chains of thought over up to ten options; its own regular expressions as ``pred``."""
    for path, name in _files(folder, "MMLU-Pro/eval_results/*.zip", wanted):
        with zipfile.ZipFile(path) as archive:
            member = next(n for n in archive.namelist() if n.endswith(".json") and not n.startswith("__"))
            rows = json.loads(archive.read(member))
        for row in rows:
            if not isinstance(row, dict) or row["category"] not in _MMLU_PRO_SUBJECTS:
                continue
            options = row["options"]
            yield Published(
                "mmlu-pro", name, str(row["question_id"]), CHOICE, row["question"], row["answer"],
                row.get("model_outputs", row.get("generated_text")) or "", row["pred"] or None,
                tuple(options if isinstance(options, list) else ast.literal_eval(options)),
            )  # fmt: skip


def mmmu_pro(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """MMMU-Pro: one vision-language model, asked directly or for its thoughts, options as text or in the picture."""
    for path, name in _files(folder, "MMMU/mmmu-pro/output/*.jsonl", wanted):
        for row in _json_lines(path):
            if row["subject"] not in _MMMU_SUBJECTS:
                continue
            theirs = str(row.get("pred_indexs"))
            yield Published(
                "mmmu-pro", name, row["id"], CHOICE, row.get("question") or row["id"], row["answer"],
                row["response"] or "", theirs if theirs in LETTERS else None, tuple(ast.literal_eval(row["options"])),
            )  # fmt: skip


def afrimed(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """AfriMed-QA and MedQA asked for a letter; models of many sizes, and base models that run on."""
    csv.field_size_limit(sys.maxsize)
    for path, name in _files(folder, "AfriMed-QA/results/*/*mcq*.csv", wanted):
        with path.open(encoding="utf-8", newline="") as lines:
            for at, row in enumerate(csv.DictReader(lines)):
                options = _afrimed_options(row)
                gold = (row.get("answer") or "").strip()
                if len(options) < 2 or "outputs" not in row or gold not in LETTERS[: len(options)] or not gold:
                    continue
                theirs = (row.get("preds") or "").strip()
                yield Published(
                    "afrimed", name, f"{at}", CHOICE, row["question"], gold, row["outputs"] or "",
                    theirs if theirs in LETTERS[: len(options)] else None, options,
                )  # fmt: skip


def _afrimed_options(row: dict[str, Any]) -> tuple[str, ...]:
    found = []
    for letter in LETTERS:
        text = (row.get(letter) or "").strip()
        if text in ("", "nan", "N/A"):
            break
        found.append(text)
    return tuple(found)


def gaokao(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """GAOKAO-Bench biology: Chinese questions with the options inside, answered with an analysis."""
    for path, name in _files(folder, "GAOKAO-Bench/Results/*/*Biology_MCQs.json", wanted):
        for row in _json(path)["example"]:
            stem, *options = re.split(r"(?:(?<=\s)|(?<=^))[A-D][．.、]", row["question"])
            if len(row["standard_answer"]) != 1 or len(options) != 4:
                continue
            theirs = row["model_answer"][0] if row["model_answer"] else ""
            yield Published(
                "gaokao", name, str(row["index"]), CHOICE, stem.strip(), row["standard_answer"][0], row["model_output"],
                theirs if theirs and theirs in LETTERS else None, tuple(option.strip() for option in options),
            )  # fmt: skip


def omnimed(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """OmniMedVQA's CT questions: two medical vision-language models that answer a choice in sentences."""
    for path, name in _files(folder, "LLaVA-Med-omnimedvqa/eval_results/**/*.json", wanted):
        for row in _omnimed_rows(_json(path)):
            question, *options = re.split(r"\n[A-D]\) ", row["prompt"].split("\n\nYou may only")[0])
            texts = tuple(option.strip() for option in options)
            if row["gt_answer"] not in texts or not row.get("question_id"):
                continue
            yield Published(
                "omnimed", name, row["question_id"], CHOICE, question.strip(), LETTERS[texts.index(row["gt_answer"])],
                row["model_response"] or "", "right" if row["correct"] else "wrong", texts,
            )  # fmt: skip


def _omnimed_rows(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict) and "model_response" in body:
        yield body
    elif isinstance(body, dict | list):
        for part in body.values() if isinstance(body, dict) else body:
            yield from _omnimed_rows(part)


def fm_medvqa(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """VQA-RAD, SLAKE and PathVQA in sentences; golds and an F1 over words from the files beside the answers."""
    base = "FM_MedVQA/OUTPUTS_jsonl/"
    for model, stem, scored in (
        ("llavamed", "answer_pred", "IN"),
        ("tinyllava", "answer_pred", "IN"),
        ("tinyllava", "finetune_pred", "FT"),
    ):
        for data in ("vqa_rad", "slake", "pathvqa"):
            name = f"{base}{model}_test_{data}_{stem}.jsonl"
            path = folder / name
            golds = folder / base / "eval_qualitative" / f"eval_{model}_{data}_{scored}.json"
            if not (path.is_file() and golds.is_file()) or (wanted is not None and name not in wanted):
                continue
            for row, gold in zip(_json(path), _json(golds), strict=True):
                yield Published(
                    "fm-medvqa", name, str(row["question_id"]), _vqa_kind(gold["original_gt"]),
                    row["question"], gold["original_gt"], row["answer_pred"] or "",
                    "right" if gold["f1_score"][0] >= 0.5 else "wrong",
                )  # fmt: skip


def _vqa_kind(gold: str) -> str:
    return POLAR if gold.strip().lower() in ("yes", "no") else OPEN


def llava_med(folder: Path, wanted: Wanted = None) -> Iterator[Published]:
    """VQA-RAD by three stages of LLaVA-Med; golds by question text from the set above, where a text has one gold."""
    golds: dict[str, set[str]] = {}
    for row in fm_medvqa(folder):
        if "_vqa_rad_" in row.file:
            golds.setdefault(row.question.strip().lower(), set()).add(row.gold)
    for path, name in _files(folder, "TinyLLaVA-Med-F/tinyllava/eval/eval_metrics/answer-file*.jsonl", wanted):
        for answer in _json_lines(path):
            question = answer["prompt"].split(_RAD_PROMPT)[0].strip()
            known = golds.get(question.lower(), set())
            if len(known) == 1:
                gold = next(iter(known))
                yield Published(
                    "llava-med", name, str(answer["question_id"]), _vqa_kind(gold), answer["prompt"].strip(), gold,
                    answer["text"] or "", UNKNOWN,
                )  # fmt: skip


SETS = {
    "mmlu-pro": mmlu_pro,
    "mmmu-pro": mmmu_pro,
    "afrimed": afrimed,
    "gaokao": gaokao,
    "omnimed": omnimed,
    "fm-medvqa": fm_medvqa,
    "llava-med": llava_med,
}
