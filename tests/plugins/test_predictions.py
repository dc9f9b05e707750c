"""Answers that other tools wrote are placed by what they answer, graded and compared as if they were asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, InfimedError, Media, MediaLoader, Request, Turn
from infimed_core.testing import check_component, make_image, run
from infimed_plugins.predictions.commands import (
    _benchmarks,
    _file,
    _labelled,
    _model,
    _must_show_images,
    _own_questions,
)
from infimed_plugins.predictions.layouts import guessed_layout, read_predictions
from infimed_plugins.predictions.matching import match
from infimed_plugins.predictions.model import Predictions

QUESTIONS = [
    ("q-7", "Which plane is shown on this scan?", "B", ("axial", "sagittal", "coronal")),
    ("q-8", "Is there a pleural effusion on the left?", "yes", ()),
    ("q-9", "Is the heart enlarged on this film?", "no", ()),
]


def request(identity: str, text: str) -> Request:
    return Request(sample_id=identity, turns=(Turn(role="user", content=(text,)),))


REQUESTS = [request(identity, f"{text}\nA. axial\nAnswer with the letter.") for identity, text, _, _ in QUESTIONS]


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(path: Path, layout: str = "auto", **fields: str) -> dict[str, str | None]:
    loaded = Predictions(path=str(path), layout=layout, **fields).load(None)  # type: ignore[arg-type]
    return {answer.sample_id: answer.text for answer in loaded.answer(REQUESTS, MediaLoader({}))}


def logged(number: int, said: Any, question: str = "", **more: Any) -> dict[str, Any]:
    doc = {"question": question} if question else {}
    return {"doc_id": number, "doc": doc, "target": "?", "resps": said, "filtered_resps": ["x"], **more}


ALL = {"q-7": "B", "q-8": "Yes.", "q-9": "No."}


def test_a_table_of_ids_and_texts(tmp_path: Path) -> None:
    rows = [{"id": key, "text": value} for key, value in ALL.items()]
    assert texts(lines(tmp_path / "a.jsonl", *rows)) == ALL
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.json").write_text(json.dumps(ALL))
    (tmp_path / "d.csv").write_text("id,prediction\n" + "".join(f"{key},{value}\n" for key, value in ALL.items()))
    assert texts(tmp_path / "b.json") == texts(tmp_path / "c.json") == texts(tmp_path / "d.csv") == ALL
    own = lines(tmp_path / "e.jsonl", *({"case": key, "said": value} for key, value in ALL.items()))
    assert texts(own, id_field="case", text_field="said") == ALL
    with pytest.raises(DataError, match=r"e\.jsonl:1: no field for an id .*the row has: case, said"):
        texts(own)


def test_answer_files_of_llava(tmp_path: Path) -> None:
    rows = [{"question_id": key, "prompt": "p", "text": value, "model_id": "m"} for key, value in ALL.items()]
    path = lines(tmp_path / "answers.jsonl", *rows)
    assert guessed_layout(path) == "llava" and texts(path) == ALL


def test_logs_of_lmms_eval_and_lm_eval(tmp_path: Path) -> None:
    said = [logged(n, [[value]], QUESTIONS[n][1]) for n, value in enumerate(ALL.values())]
    path = lines(tmp_path / "samples.jsonl", *said, *said)  # once a filter
    assert guessed_layout(path) == "lmms-eval" and texts(path) == ALL, "by what was asked, not by doc_id"
    (tmp_path / "old.json").write_text(json.dumps({"args": {}, "logs": said}))
    assert texts(tmp_path / "old.json", "lmms-eval") == ALL
    pairs = [[["-7.0", "False"]], [["-1.5", "True"]], [["-9.1", "False"]]]
    choice = lines(tmp_path / "choice.jsonl", logged(0, pairs, QUESTIONS[0][1], arguments={}))
    assert guessed_layout(choice) == "lm-eval" and texts(choice)["q-7"] == "B", "the likeliest choice"


def test_tables_of_vlmevalkit(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["index", "question", "A", "B", "answer", "prediction"])
    for number, value in zip((7, 8, 9), ALL.values(), strict=True):
        book.active.append([number, QUESTIONS[number - 7][1], "x", "y", "B", value])
    book.save(tmp_path / "model_set.xlsx")
    assert guessed_layout(tmp_path / "model_set.xlsx") == "vlmevalkit" and texts(tmp_path / "model_set.xlsx") == ALL
    table = "index\tprediction\n" + "".join(f"{n}\t{value}\n" for n, value in zip((7, 8, 9), ALL.values(), strict=True))
    (tmp_path / "model_set.tsv").write_text(table)
    assert texts(tmp_path / "model_set.tsv") == ALL, "by its number where nothing else is told"


def test_a_number_under_which_something_else_was_asked_is_no_match(tmp_path: Path) -> None:
    rows = [
        {"index": 7, "question": QUESTIONS[0][1], "prediction": "B"},
        {"index": 8, "question": "Quite another question of another set?", "prediction": "yes"},
    ]
    path = lines(tmp_path / "p.jsonl", *rows)
    found = match(REQUESTS, read_predictions(path, "vlmevalkit", None, None))
    assert list(found.answers) == ["q-7"] and len(found.left_over) == 1
    answers = list(Predictions(path=str(path)).load(None).answer(REQUESTS, MediaLoader({})))
    assert answers[1].error is not None and answers[1].error.startswith("no_prediction: ")


def test_one_question_about_many_images_is_never_placed_by_its_text(tmp_path: Path) -> None:
    same = [request(f"s-{n}", "Is there a pleural effusion?") for n in range(3)]
    rows = [{"id": f"other{n}", "question": "Is there a pleural effusion?", "text": str(n)} for n in range(3)]
    found = match(same, read_predictions(lines(tmp_path / "p.jsonl", *rows), "jsonl", None, None))
    assert not found.answers and len(found.left_over) == 3
    alone = [*same[:1], request("s-9", "Is there a pleural effusion? Left side only.")]
    found = match(alone, read_predictions(lines(tmp_path / "p.jsonl", rows[0]), "jsonl", None, None))
    assert list(found.answers) == ["s-0"], "the whole question before a part of another"


@pytest.mark.parametrize("content", ["{", "[1]", '{"id": 1}\nno json\n', '{"doc_id": 0, "resps": [3.5]}'])
def test_a_file_of_another_shape_is_told_with_its_place(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"p\.jsonl"):
        texts(tmp_path / "p.jsonl", "lm-eval" if "resps" in content else "jsonl")


def test_the_component_follows_its_file(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"id": "a", "text": "b"})
    component = check_component(Predictions(path=str(path)))
    before = component.identity()
    lines(path, {"id": "a", "text": "c"})
    assert component.identity() != before
    assert "no such file" in Predictions(path=str(tmp_path / "none")).problems({})["path"]


def test_predictions_are_graded_compared_and_reported_as_if_asked(tmp_path: Path) -> None:
    rows = [
        {
            "id": identity,
            "turns": [{"role": "user", "content": [text]}, {"role": "assistant", "content": [answer]}],
            "options": list(options),
        }
        for identity, text, answer, options in QUESTIONS
    ]
    asked = lines(tmp_path / "questions.jsonl", *rows)
    good = lines(tmp_path / "good.jsonl", *({"id": key, "text": value} for key, value in ALL.items()))
    poor = lines(tmp_path / "poor.jsonl", {"id": "q-7", "text": "C"}, {"id": "q-8", "text": "yes"})
    document = {
        "run": {"name": "graded"},
        "models": _labelled([_file(str(good), {}), _file(f"weak={poor}", {})]),
        "evaluation": {"models": ["good", "weak"], "benchmarks": _benchmarks(None, _own_questions(str(asked), None))},
    }
    record = run(document, tmp_path)
    values = {row.model: row.metrics["accuracy"] for row in record.results if not row.group}
    assert values["good"].value == 1.0 and values["weak"].value == 0.5, "of the two that it has an answer to"
    assert values["weak"].num_counted == 2
    pair = next(one for one in record.comparisons if (one.model, one.against) == ("weak", "good"))
    assert (pair.difference, pair.num_pairs, pair.num_unpaired) == (-0.5, 2, 1)
    assert record.status == "done" and "weak on questions: 1 of 3 questions have no answer" in (record.error or "")
    step = next(one for one in record.steps if one.subject.get("model") == "weak" and one.kind == "evaluate")
    assert step.details["asking"]["matched"] == 2  # type: ignore[index, call-overload]


def test_models_on_the_command_line() -> None:
    assert _model("openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B") == (
        "Qwen3-VL-8B",
        {"use": "openai-compatible", "with": {"base_url": "http://127.0.0.1:8000/v1", "model": "Qwen/Qwen3-VL-8B"}},
    )
    assert _model("mine=checkpoints/final")[0] == "mine"
    assert _model("checkpoints/gpt-4.1/") == (
        "gpt-4-1",
        {"use": "transformers", "with": {"checkpoint": "checkpoints/gpt-4.1/"}},
    )
    assert _model("base")[0] == "own-base"
    assert list(_labelled([("a", {}), ("a", {}), ("a-2", {})])) == ["a", "a-2", "a-2-2"]
    uses = _benchmarks(["medqa-usmle, pubmedqa=/data/pub", "slake"], None)
    assert uses == [{"use": "medqa-usmle"}, {"use": "pubmedqa", "with": {"path": "/data/pub"}}, {"use": "slake"}]


def test_media_need_not_be_there_to_grade(tmp_path: Path) -> None:
    asked = REQUESTS[0].model_copy(update={"media": (Media(uri="/nowhere.png"),)})
    path = lines(tmp_path / "p.jsonl", {"id": "q-7", "text": "B"})
    assert [answer.text for answer in Predictions(path=str(path)).load(None).answer([asked], MediaLoader({}))] == ["B"]


def test_questions_of_a_table_know_their_reader_images_and_patients(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("image,question,answer,patient\nA1,Which?,one,P1\nA2,Which?,two,P1\n")
    own = _own_questions(str(table), None, "patient", str(tmp_path / "films"))
    columns = {"tags": {"patient": "patient"}}
    root = {"image_root": str(tmp_path / "films"), "search_below": True}
    reader = {"use": "csv", "with": {"path": str(table), **root, "columns": columns}}
    assert own == {"use": "questions", "name": "mine", "with": {"cluster": "patient", "reader": reader}}
    lost = _own_questions(str(table), None)
    with pytest.raises(InfimedError, match=r"NO IMAGE: none of the 2 images.*--images FOLDER.*infimed init --data"):
        _must_show_images(lost)
    (tmp_path / "films" / "ct").mkdir(parents=True)
    for name in ("A1", "A2"):
        (tmp_path / "films" / "ct" / f"{name}.png").write_bytes(make_image())
    _must_show_images(own)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.jsonl", "jsonl"),
        ("a.JSON", "llava"),
        ("a.tsv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.tsv.gz", "csv"),
        ("a.json.gz", "llava"),
        ("a.parquet", "parquet"),
    ],
)
def test_a_file_of_questions_is_read_by_its_ending(name: str, reader: str) -> None:
    assert _own_questions(name, None)["with"]["reader"]["use"] == reader
    assert _own_questions(name, "medevalkit")["with"]["reader"]["use"] == "medevalkit"
    assert "columns" not in _own_questions("a.jsonl", None, "patient")["with"]["reader"]["with"]
