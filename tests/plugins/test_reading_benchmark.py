"""``benchmarks/reading.py`` finds published answers in their repositories and counts against a person's labels."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import forked
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OPTIONS = ["Aspirin", "Warfarin", "Heparin"]
MMLU = "MMLU-Pro/eval_results/model_outputs_tiny_5shots.zip"
VQA = "FM_MedVQA/OUTPUTS_jsonl/llavamed_test_vqa_rad_answer_pred.jsonl"


def write(path: Path, body: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body), encoding="utf-8")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two of the repositories, with answers that any reader agrees on."""
    answers = ["The answer is (B).", "The answer is (C).", "no no no no no no"]
    rows = [
        {
            "question_id": at, "question": f"question {at}", "options": OPTIONS, "answer": "B", "category": "health",
            "pred": pred, "model_outputs": text,
        }
        for at, (text, pred) in enumerate(zip(answers, ["B", "B", "A"], strict=True))
    ]  # fmt: skip
    archive = tmp_path / MMLU
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("__MACOSX/ignored.json", "")
        zipped.writestr("model_outputs_tiny.json", json.dumps([*rows, rows[0] | {"category": "law"}]))
    said = [("is this a ct?", "yes", "Yes"), ("which organ?", "liver", "liver")]
    write(tmp_path / VQA, [{"question_id": i, "question": q, "answer_pred": a} for i, (q, _, a) in enumerate(said)])
    golds = [{"original_gt": gold, "f1_score": [1.0]} for _, gold, _ in said]
    write(tmp_path / "FM_MedVQA/OUTPUTS_jsonl/eval_qualitative/eval_llavamed_vqa_rad_IN.json", golds)
    return tmp_path


def labels(folder: Path, values: dict[tuple[str, str], tuple[str, Any]]) -> Path:
    """A folder of labels for ``(file, question id)``, each in the half that the script itself gives its question."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import reading_sets
    finally:
        sys.path.remove(str(BENCHMARKS))
    halves = {(a.file, a.question_id): a.split for a in reading_sets.read_all(folder)}
    target = folder / "labels"
    target.mkdir()
    with (target / "tiny.jsonl").open("w", encoding="utf-8") as out:
        for (file, question_id), (kind, label) in values.items():
            row = {"file": file, "question_id": question_id, "kind": kind, "label": label, "stratum": "plain"}
            row |= {"weight": 2.0, "split": halves.get((file, question_id), "dev")}
            out.write(json.dumps(row) + "\n")
    return target


def run(folder: Path, label_folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.finish([BENCHMARKS / "reading.py", folder, "--labels", label_folder, *more])


def test_each_outcome_is_counted_beside_the_publishers_own(published: Path) -> None:
    folder = labels(
        published,
        {
            (MMLU, "0"): ("choice", "B"),
            (MMLU, "1"): ("choice", "C"),
            (MMLU, "2"): ("choice", None),
            (VQA, "0"): ("yes/no", "yes"),
            (VQA, "1"): ("open", 1),
            ("MMLU-Pro/eval_results/not_downloaded.zip", "7"): ("choice", "A"),
        },
    )
    out = published / "out.json"
    done = run(published, folder, "--json", str(out), "--show")
    assert done.returncode == 0, done.stderr
    assert "not_downloaded.zip" in done.stderr
    body = json.loads(out.read_text(encoding="utf-8"))
    assert body["subject"] == "reading" and body["details"]["labels"] == 5
    counted = dict.fromkeys(("right", "wrong", "guess", "unread"), 0)
    theirs = 0.0
    for group in body["details"]["sets"]:
        for name, count in group["counts"].items():
            counted[name] += count
        theirs += (group["publishers"] or {}).get("right", 0.0) * group["labels"]
    assert counted == {"right": 5, "wrong": 0, "guess": 0, "unread": 0}
    assert theirs == pytest.approx(3.0), "B for B, B for C and A for none; yes and liver as the person"
    assert all(target["holds"] for target in body["targets"])


def test_a_label_of_another_answer_is_a_miss_not_a_hit(published: Path) -> None:
    folder = labels(published, {(MMLU, "0"): ("choice", "A"), (MMLU, "1"): ("choice", None)})
    out = published / "out.json"
    assert run(published, folder, "--json", str(out)).returncode == 0
    groups = json.loads(out.read_text(encoding="utf-8"))["details"]["sets"]
    assert sum(group["counts"]["wrong"] for group in groups) == 1
    assert sum(group["counts"]["guess"] for group in groups) == 1


def test_an_empty_folder_is_told_what_to_download(tmp_path: Path) -> None:
    empty = tmp_path / "labels"
    empty.mkdir()
    done = run(tmp_path, empty)
    assert done.returncode != 0 and "benchmarks/README.md" in done.stderr


def test_every_committed_label_is_of_its_kind() -> None:
    rows = [json.loads(x) for p in (BENCHMARKS / "reading_labels").glob("*.jsonl") for x in p.read_text().splitlines()]
    allowed = {"choice": {*"ABCDEFGHIJ", None}, "yes/no": {"yes", "no", None}, "open": {0, 1, None}}
    assert len(rows) >= 1000 and sum(row["kind"] != "choice" for row in rows) >= 400
    assert all(row["label"] in allowed[row["kind"]] and row["weight"] >= 1 for row in rows)
    assert all(set(row) == {"file", "question_id", "kind", "label", "stratum", "weight", "split"} for row in rows)
    halves = [row["split"] for row in rows]
    assert 0.4 < halves.count("dev") / len(halves) < 0.6
