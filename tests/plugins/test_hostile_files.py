"""Files of cases, folders of data, benchmarks and answers from strangers: no code runs, nothing outside is read, one
bad row is one fault."""

from __future__ import annotations

import datetime
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimed_core import DataError, Fault, Request, Sample, Turn
from infimed_core.store.questions import read_questions
from infimed_core.testing import make_image
from infimed_plugins.mdt.benchmark import MdtCases
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.predictions.layouts import Prediction, read_predictions
from infimed_plugins.predictions.matching import match
from infimed_plugins.predictions.model import Predictions
from infimed_plugins.readers.huggingface import HuggingFace

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
CASE: dict[str, Any] = {
    "id": "c", "specialty": "s", "title": "t", "synthetic": True, "clinically_validated": False, "history": "h",
    "questions": [{"id": "q", "type": "diagnosis", "question": "?", "points": [{"text": "x", "wordings": ["x"]}]}],
}  # fmt: skip


def asked_of_cases(folder: Path, *images: dict[str, Any]) -> list[Sample | Fault]:
    """The questions of cases with one image each, and of one without."""
    shown = [{"modality": "CT", "caption": "c", "path": "a.png", **image} for image in images]
    cases = [{**CASE, "id": f"c{number}", "images": [image]} for number, image in enumerate(shown)]
    lines = [json.dumps(case) + "\n" for case in (*cases, CASE)]
    (folder / "cases.jsonl").write_text("".join(lines))
    return list(MdtCases(cases=folder / "cases.jsonl").samples())


def test_cases_import_nothing_and_take_packages_of_installed_distributions_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stranger", "stranger_too"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
        (tmp_path / name / "a.png").write_bytes(make_image())
    (tmp_path / "stranger_too-1.0.dist-info").mkdir()
    (tmp_path / "stranger_too-1.0.dist-info" / "METADATA").write_text("Name: stranger-too\nVersion: 1.0\n")
    (tmp_path / "stranger_too-1.0.dist-info" / "RECORD").write_text("stranger_too/a.png,,\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    modules = set(sys.modules)
    dotted = ["stranger.inner", "turtledemo.clock", "idlelib.run", ".stranger", "stranger/inner", "", "\0"]
    rows = asked_of_cases(
        tmp_path, *({"package": name} for name in (*dotted, "stranger", "stranger_too", "turtledemo", "a" * 5_000)),
        {"package": "stranger_too", "distribution": "stranger-too"},
    )  # fmt: skip
    codes = [row.code for row in rows if isinstance(row, Fault)]
    assert codes == ["bad_package"] * len(dotted) + ["missing_package"] * 3 + ["bad_path", "missing_package"]
    assert isinstance(rows[-1], Sample)
    assert not {name for name in set(sys.modules) - modules if name.split(".")[0] in ("stranger", "turtledemo")}


def test_a_path_that_no_file_system_holds_is_the_fault_of_its_case(tmp_path: Path) -> None:
    rows = asked_of_cases(tmp_path, {"path": "b\0.png"}, {"path": "b" * 3_000}, {"path": "~/b.png"})
    assert [getattr(row, "code", "") for row in rows] == ["bad_path", "bad_path", "missing_file", ""]


# folders of Hugging Face data sets


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, list[str]]]:
    """A server that hands out a table, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"question,answer\nQ,fetched\n")

        do_HEAD = do_GET  # noqa: N815  as the library names it

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def refused(folder: Path, cache: Path) -> str:
    """The code with which a folder is refused, in one line; "" where it is read."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
        try:
            reader = HuggingFace(path=str(folder))
            reader.fingerprint()
            rows = list(reader.read(""))
        except DataError as error:
            assert "\n" not in str(error)
            return error.code
    assert rows and all(isinstance(row, Sample) for row in rows), rows
    return ""


def test_nothing_outside_of_a_folder_of_data_is_read_or_fetched(tmp_path: Path, address: tuple[str, list[str]]) -> None:
    url, asked = address
    outside, cache = tmp_path / "outside", tmp_path / "cache"
    outside.mkdir()
    (outside / "notes.csv").write_text("question,answer\nWho?,someone else\n")

    def folder(name: str, card: dict[str, Any] | None = None, where: str = "README.md") -> Path:
        place = tmp_path / name
        place.mkdir()
        if card is not None:
            text = json.dumps({"configs": [{"config_name": "default", **card}]})
            (place / where).write_text(f"---\n{text}\n---\n" if where == "README.md" else text)
            (place / "good.csv").write_text("question,answer\nQ,A\n")
        return place

    found = {}
    cards = {
        "good": {"data_files": "good.csv"}, "url": {"data_files": f"{url}/x.csv"},
        "split": {"data_files": [{"split": "train", "path": ["good.csv", f"{url}/y.csv"]}]},
        "chain": {"data_files": f"zip://x.csv::{outside}/x.zip"}, "up": {"data_files": "good/../../outside/*.csv"},
        "absolute": {"data_files": str(outside / "notes.csv")}, "home": {"data_files": "~/notes.csv"},
        "folder": {"data_dir": "../outside"},
    }  # fmt: skip
    for name, card in cards.items():
        found[name] = refused(folder(name, card), cache)
    found["yaml"] = refused(folder("yaml", {"data_files": f"{url}/z.csv"}, ".huggingface.yaml"), cache)
    (folder("link") / "train.csv").symlink_to(outside / "notes.csv")
    (folder("links") / "data").symlink_to(outside, target_is_directory=True)
    os.mkfifo(folder("pipe") / "train.csv")
    (folder("inner") / "train.csv").symlink_to("here.csv")
    (tmp_path / "inner" / "here.csv").write_text("question,answer\nQ,A\n")
    for name in ("link", "links", "pipe", "inner"):
        found[name] = refused(tmp_path / name, cache)
    assert found == {
        "good": "", "url": "remote_media", "split": "remote_media", "chain": "remote_media", "up": "outside_root",
        "absolute": "outside_root", "home": "outside_root", "folder": "outside_root", "yaml": "remote_media",
        "link": "outside_root", "links": "bad_file", "pipe": "bad_file", "inner": "",
    }  # fmt: skip
    assert asked == []


def test_saved_data_sets_name_files_of_their_own_alone(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        made = datasets.Dataset.from_list([{"question": "Q", "answer": "A"}])
        made.save_to_disk(str(tmp_path / "other"))
        datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "set"))
    assert refused(tmp_path / "set", tmp_path / "cache") == ""
    state = tmp_path / "set" / "train" / "state.json"
    body = json.loads(state.read_text())
    (name,) = [entry["filename"] for entry in body["_data_files"]]
    for wanted, code in ((f"../../other/{name}", "outside_root"), (str(tmp_path / "other" / name), "outside_root")):
        state.write_text(json.dumps({**body, "_data_files": [{"filename": wanted}]}))
        assert refused(tmp_path / "set", tmp_path / "cache") == code
    state.write_text("[" * 5_000)
    assert refused(tmp_path / "set", tmp_path / "cache") == "bad_file"


def test_archives_whose_members_torch_or_numpy_would_decode_are_refused(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(2))
    for number, (name, content) in enumerate((("a.pth", b"x"), ("b.seg.NPY", array.getvalue()), ("c.pth.gz", b"x"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tarfile.open(folder / "train.tar", "w") as archive:
            for member, bytes_ in ((name[:1] + ".txt", b"a scan"), (name, content)):
                info = tarfile.TarInfo(member)
                info.size = len(bytes_)
                archive.addfile(info, io.BytesIO(bytes_))
        assert refused(folder, tmp_path / "cache") == "bad_file"


# benchmarks


def questions_of(name: str, folder: Path) -> list[Sample | Fault]:
    return list(table()[name].model_validate({"path": str(folder)}).samples())


def changed_json(folder: Path, name: str, file: str, **fields: Any) -> list[Sample | Fault]:
    """The rows of a fixture with other fields in its first row."""
    shutil.copytree(DATA / name, folder, dirs_exist_ok=True)
    path = folder / file
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(x) for x in text.split("\n") if x.strip()]
    rows[0] |= fields
    path.write_text(json.dumps(rows) if text.lstrip()[:1] == "[" else "\n".join(map(json.dumps, rows)))
    return questions_of(name, folder)


@pytest.mark.parametrize("language", ["de", "ZH", "e\nn"])
def test_a_question_in_a_language_that_has_no_prompt_is_one_fault(tmp_path: Path, language: str) -> None:
    first, *others = changed_json(tmp_path, "slake", "test.json", q_lang=language)
    assert isinstance(first, Fault) and first.code == "bad_language" and "test.json" in first.where
    assert others and all(isinstance(row, Sample) for row in others)


def test_a_turn_of_nobody_known_and_tags_that_are_no_list_are_one_fault(tmp_path: Path) -> None:
    file = "2025-05-07-06-14-12_oss_eval.jsonl"
    for fields in ({"prompt": [{"role": "tool", "content": "x"}]}, {"example_tags": {"theme:x": 1}}):
        first, *_ = changed_json(tmp_path, "healthbench", file, **fields)
        assert isinstance(first, Fault) and "\n" not in first.detail


@pytest.mark.parametrize(
    ("name", "field"), [("vqa-rad", "image_id"), ("medframeqa", "organ"), ("medxpertqa-mm", "body_system")]
)
@pytest.mark.parametrize("value", [datetime.time(1, 2), b"\xfe", datetime.datetime(1999, 1, 1)])
def test_a_value_of_parquet_that_json_does_not_have_is_one_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, field: str, value: Any
) -> None:
    from infimed_plugins.medevalkit import sources

    real = sources.read_table

    def changed(path: Path) -> Iterator[tuple[str, Any]]:
        for number, (where, row) in enumerate(real(path)):
            yield where, {**row, field: value} if number == 0 else row

    folder = DATA / ("medxpertqa" if name.startswith("medxpertqa") else name)
    before = questions_of(name, folder)
    monkeypatch.setattr(sources, "read_table", changed)
    first, *others = questions_of(name, folder)
    assert isinstance(first, Fault) and first.code == "bad_row"
    assert others == before[1:]


def test_a_quote_that_nobody_closed_costs_its_own_row(tmp_path: Path) -> None:
    shutil.copytree(DATA / "pmc-vqa", tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("*.csv"):
        header, first, *others = file.read_text().strip().split("\n")
        cells = first.rpartition(",")
        broken = f'{cells[0]},"{cells[2]}'
        file.write_text("\n".join([header, broken, *others, first]) + "\n")
    bad, *good = questions_of("pmc-vqa", tmp_path)
    before = questions_of("pmc-vqa", DATA / "pmc-vqa")
    assert isinstance(bad, Fault) and "quote" in bad.detail and len(good) == len(before)
    assert all(isinstance(row, Sample) for row in good)


def test_an_array_that_is_cut_short_gives_the_questions_before_its_end(tmp_path: Path) -> None:
    shutil.copytree(DATA / "slake", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "test.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole[: whole.rindex('"') - 3], encoding="utf-8")
    *good, last = questions_of("slake", tmp_path)
    before = questions_of("slake", DATA / "slake")[:-1]
    assert [row.turns for row in good] == [row.turns for row in before] != []  # type: ignore[union-attr]
    assert isinstance(last, Fault)


def test_answers_that_are_kept_in_a_file_of_their_own_may_be_damaged(tmp_path: Path) -> None:
    shutil.copytree(DATA / "mmmu", tmp_path, dirs_exist_ok=True)
    (tmp_path / "answer.json").write_text(json.dumps({"x": 5, "y": {"ground_truth": None}, "z": []}))
    assert questions_of("mmmu-medical-test", tmp_path)
    (tmp_path / "answer.json").write_text('{"x": ')
    with pytest.raises(DataError, match=r"answer\.json"):
        questions_of("mmmu-medical-test", tmp_path)


def test_a_table_of_other_content_with_the_same_size_and_time_is_another_benchmark(tmp_path: Path) -> None:
    shutil.copytree(DATA / "pmc-vqa", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "test_2.csv"
    before = table()["pmc-vqa"].model_validate({"path": str(tmp_path)}).fingerprint()
    state, content = file.stat(), file.read_bytes()
    file.write_bytes(content.replace(b"What is drawn", b"What is shown", 1))
    assert file.read_bytes() != content
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    assert table()["pmc-vqa"].model_validate({"path": str(tmp_path)}).fingerprint() != before


@pytest.mark.parametrize("levels", [150, 176, 181, 190, 197, 230])
def test_what_is_nested_too_deeply_to_be_read_again_is_a_fault_at_the_door(tmp_path: Path, levels: int) -> None:
    from infimed_core import Answer, Benchmark, Score
    from infimed_core.evaluate.graded import Graded, parse_graded

    value: Any = "x"
    for _ in range(levels):
        value = {"y": value} if levels % 2 else [value]

    class Deep(Benchmark):
        def samples(self) -> Iterator[Sample]:
            yield Sample(id="deep", turns=(Turn(role="user", content=("?",)),), meta={"x": value})
            yield Sample(id="flat", turns=(Turn(role="user", content=("[" * 300,)),))

        def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
            raise AssertionError

    samples, faults = read_questions(Deep(), tmp_path, None)
    assert [row.id for row in samples] == (["deep", "flat"] if levels < 178 else ["flat"])
    assert [fault.sample_id for fault in faults] == ([] if levels < 178 else ["deep"])
    for sample in samples:
        graded = Graded(sample, Answer(sample_id=sample.id, text=""), {"s": Score(value=0.0)})
        assert parse_graded(graded.as_json()) == graded


# files of answers


def read(path: Path, layout: str = "jsonl") -> tuple[dict[str, str | None], list[str]]:
    faults: list[DataError] = []
    found = read_predictions(path, layout, None, None, faults)
    return {one.id: one.text for one in found}, [str(fault) for fault in faults]


BAD_LINES = {
    "cut": b'{"id": "b", "text": "ri', "number": b"7", "list": b'["b", "right"]', "no id": b'{"answer": "right"}',
    "no text": b'{"id": "b", "score": 1}', "deep": b'{"id": "b", "text": ' + b"[" * 90_000,
    "digits": b'{"id": "b", "text": 1' + b"0" * 6_000 + b"}", "byte": b'{"id": "b", "text": "derri\xe8re"}',
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_LINES)
def test_a_line_that_is_no_answer_is_one_fault_with_its_place(tmp_path: Path, what: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": "a", "text": "left"}\n' + BAD_LINES[what] + b'\n{"id": "c", "text": "both"}\n')
    texts, faults = read(path)
    assert texts == {"a": "left", "c": "both"} and len(faults) == 1 and faults[0].startswith(f"{path}:2: "), faults


def test_rows_of_logs_tables_and_arrays_cost_themselves_alone(tmp_path: Path) -> None:
    bad_resps: list[Any] = [
        {"x": 1}, [[7]], [[["much", "True"]], [["-2", "False"]]], [[[float("nan"), "True"]], [["-2", "False"]]],
        [[[str(number - 90), "False"]] for number in range(40)],
    ]  # fmt: skip
    logs = [{"doc_id": number, "doc": {}, "resps": resps} for number, resps in enumerate([*bad_resps, [["left"]]])]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, logs)))
    texts, faults = read(tmp_path / "log.jsonl", "lm-eval")
    assert texts == {"5": "left"} and len(faults) == len(bad_resps)
    (tmp_path / "list.json").write_text('[{"id": "a", "text": "left"}, 5, {"id": "c", "text": "both"}]')
    (tmp_path / "cut.json").write_text('[{"id": "a", "text": "left"},\n {"id": "c", "text": "both"},\n {"id": "d", "te')
    for name in ("list", "cut"):
        texts, faults = read(tmp_path / f"{name}.json")
        assert texts == {"a": "left", "c": "both"} and len(faults) == 1, (name, faults)
    for ending, sign in (("csv", ","), ("tsv", "\t")):
        rows = ["id,text", 'a,"left, or ""so"""', "b,right,lower", 'c,"both', "d,none", "e,", 'f,"one', 'more"', "g"]
        path = tmp_path / f"t.{ending}"
        path.write_text("\n".join(rows).replace(",", sign))
        texts, faults = read(path)
        first = 'left, or "so"'.replace(",", sign)
        assert texts == {"a": first, "d": "none", "e": "", "f": "one\nmore"}, texts
        assert [fault.split(": ")[0] for fault in faults] == [f"{path}:{line}" for line in (3, 4, 9)], faults


def test_a_byte_of_another_encoding_costs_its_row_in_every_layout(tmp_path: Path) -> None:
    for name, content in {
        "p.csv": b"id,text\na,derri\xe8re\nb,left\n", "p.tsv": b"id\ttext\na\tderri\xe8re\nb\tleft\n",
        "p.json": b'[{"id": "a", "text": "\xe8"}, {"id": "b", "text": "left"}]',
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        texts, faults = read(tmp_path / name)
        assert texts == {"b": "left"} and len(faults) == 1 and "UTF-8" in faults[0], name


def test_a_pipe_is_refused_and_a_file_without_an_answer_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "q.jsonl").write_text("{\n{\n")
    for name, told in (("p.csv", "no plain file"), ("q.jsonl", r"q\.jsonl:1: not JSON")):
        with pytest.raises(DataError, match=told):
            read(tmp_path / name)


def test_the_model_counts_rows_at_fault_and_numbers_are_places_only_where_they_may_be(tmp_path: Path) -> None:
    requests = [Request(sample_id=f"set-{number}", turns=()) for number in range(3)]
    odd = [Prediction(id=text, text="x") for text in ("³", "٣", "7" * 9_000, "x-" + "1" * 9_000, "x-²", "1.0")]
    assert set(match(requests, [*odd, Prediction(id="2", text="y")]).answers) == {"set-2"}
    (tmp_path / "p.jsonl").write_text('{"id": "set-0", "text": "a"}\n{"id": "set-1"\n')
    model = Predictions(path=str(tmp_path / "p.jsonl")).load(None)
    answers = list(model.answer(requests, None))  # type: ignore[arg-type]
    facts = model.asking()
    assert [answer.text for answer in answers] == ["a", None, None] and f"{tmp_path}/p.jsonl:2" in answers[1].error
    assert (facts["predictions"], facts["rows_at_fault"], facts["matched"]) == (1, 1, 1)
