"""What is fuzzed: functions of bytes that raise where InfimedError or a counted fault should have been.

The bytes are edits of a valid document, so that most of what comes out is nearly valid. Hypothesis drives them in
``test_fuzz.py``, atheris in ``by_hand.py`` for as long as you like.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from infimed_core import Answer, Fault, InfimedError, Reader, Request, Sample, load_plugins, load_run_file
from infimed_core.evaluate.graded import Graded, parse_graded
from infimed_core.records import open_run
from infimed_core.store.questions import read_questions
from infimed_core.testing import make_image, make_sample
from infimed_plugins.endpoint.messages import read_reply
from infimed_plugins.http.transport import CallError
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.open_answers import grade_open
from infimed_plugins.medevalkit.answers.polar import grade_polar
from infimed_plugins.operations.status import status_of
from infimed_plugins.predictions.layouts import guessed_layout, read_predictions
from infimed_plugins.predictions.matching import match
from infimed_plugins.quality.identity import identities, redact
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset

ROOT = Path(__file__).parents[2]
PIECES = [
    b"", b"\x00", b"\n", b"\r\n", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1",
    b"1e999", b"NaN", b"99999999999999999999999", b"\\ud83d", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc2\x85", b"%s%n",
    b"../../etc/passwd", b"/dev/zero", b"id", b"&a *a", b"!!python/object:os.system", b"<image>", b"conversations",
    b"=1+1", b"\x1b[2J", b"[" * 500, b"A" * 3000, b"2020-02-30",
]  # fmt: skip
"""What edits put into a document."""


def edited(document: bytes, edits: bytes) -> bytes:
    """The document with up to eight edits, each of four bytes: where (two), what to do, and with which piece."""
    for at in range(0, min(len(edits), 32) - 3, 4):
        place = int.from_bytes(edits[at : at + 2], "big") * (len(document) + 1) >> 16
        what, piece = edits[at + 2], PIECES[edits[at + 3] % len(PIECES)]
        length = 1 + what // 4
        if what % 4 == 0:
            document = document[:place] + piece + document[place:]
        elif what % 4 == 1:
            document = document[:place] + document[place + length :]
        elif what % 4 == 2:
            document = document[:place] + piece + document[place + length :]
        else:
            document = document[:place] + document[place : place + length] * 2 + document[place + length :]
    return document


@functools.cache
def _rows() -> list[dict]:
    samples = [
        make_sample(f"s{n}", f"Which plane {n}?", images=[make_image(8, 8, n)] if n % 2 else []) for n in range(4)
    ]
    return [sample.model_dump(mode="json") for sample in samples]


@functools.cache
def _documents() -> dict[str, tuple[Callable[[Path], Reader], str, bytes]]:
    """Of each reader: how it is made of a path, the ending of its files, and a valid file."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"id": n, "question": f"Which {n}?", "answer": "axial", "date": "2020-01-01"} for n in range(4)]
    table, tar = io.BytesIO(), io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), table)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for number in range(2):
            for name, content in ((f"{number}.png", make_image(8, 8)), (f"{number}.txt", b"a scan")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    llava = [
        {"id": n, "conversations": [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "axial"}]}
        for n in range(4)
    ]
    csv = "id,question,answer\n" + "".join(f'{n},"Which, {n}?",axial\n' for n in range(4))
    columns = {"question": "question", "answer": "answer"}
    return {
        "jsonl": (
            lambda path: Jsonl(path=str(path)),
            ".jsonl",
            b"".join(json.dumps(row).encode() + b"\n" for row in _rows()),
        ),
        "llava": (lambda path: Llava(path=str(path)), ".json", json.dumps(llava).encode()),
        "csv": (lambda path: Csv.model_validate({"path": str(path), "columns": columns}), ".csv", csv.encode()),
        "parquet": (
            lambda path: Parquet.model_validate({"path": str(path), "columns": columns}),
            ".parquet",
            table.getvalue(),
        ),
        "webdataset": (lambda path: WebDataset(path=str(path)), ".tar", tar.getvalue()),
    }


def _check_reader(name: str, edits: bytes) -> None:
    make, ending, document = _documents()[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}"
        path.write_bytes(edited(document, edits))
        with suppress(InfimedError):  # a file that is none of its kind is the whole run's one line
            reader = make(path)
            rows = [row for shard in reader.shards() for row in reader.read(shard)]
            assert all(isinstance(row, Sample | Fault) for row in rows), rows
            for row in rows:
                if isinstance(row, Sample):
                    outside = [item.uri for item in row.media if item.uri and not Path(item.uri).is_relative_to(folder)]
                    assert not [uri for uri in outside if Path(uri).exists()] or name == "jsonl", outside
                else:
                    assert row.code and row.detail
            again = [row for shard in reader.shards() for row in reader.read(shard)]
            assert len(again) == len(rows)


def predictions(edits: bytes) -> None:
    """Every row of a file of answers is an answer or a fault with its place."""
    rows = [{"id": f"q-{n}", "text": "axial", "question": f"Which {n}?", "finish_reason": "stop"} for n in range(4)]
    logs = [{"doc_id": n, "doc": {}, "resps": [[["-1.5", "True"]], [["-2", "False"]]]} for n in range(4)]
    table = "id,text\n" + "".join(f'q-{n},"left, {n}"\n' for n in range(4))
    documents = {
        "p.jsonl": "\n".join(map(json.dumps, rows)), "p.json": json.dumps(rows), "p.csv": table,
        "p.tsv": table.replace(",", "\t"), "logs.jsonl": "\n".join(map(json.dumps, logs)),
    }  # fmt: skip
    requests = [Request(sample_id=f"q-{number}", turns=()) for number in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        name = list(documents)[(edits or b"\0")[-1] % len(documents)]
        path = Path(folder) / name
        path.write_bytes(edited(documents[name].encode(), edits))
        with suppress(InfimedError):
            faults: list = []
            layout = "lm-eval" if name.startswith("logs") else guessed_layout(path)
            found = read_predictions(path, layout, None, None, faults)
            assert all(str(fault).startswith(str(path)) for fault in faults)
            matched = match(requests, found)
            assert len(set(map(id, matched.answers.values()))) + len(matched.left_over) == len(found)


KIT = {"slake": "slake", "pmc-vqa": "pmc-vqa", "healthbench": "healthbench", "cmb": "cmb", "mmmu-medical-test": "mmmu"}


def benchmark_rows(edits: bytes) -> None:
    """Every row of a benchmark's table is a question or a fault, and what is asked can be written and read again."""
    name = list(KIT)[(edits or b"\0")[-1] % len(KIT)]
    with tempfile.TemporaryDirectory() as folder:
        copied = shutil.copytree(ROOT / "tests/fixtures/medevalkit/data" / KIT[name], Path(folder) / "data")
        for path in (path for path in copied.rglob("*") if path.suffix in (".json", ".jsonl", ".csv")):
            path.write_bytes(edited(path.read_bytes(), edits))
        with suppress(InfimedError):
            benchmark = _registry().find("benchmark", name).model_validate({"path": str(copied)})
            benchmark.fingerprint()
            samples, faults = read_questions(benchmark, Path(folder) / "media", None)
            assert all(fault.code and fault.detail for fault in faults)
            for sample in samples:
                graded = Graded(sample, Answer(sample_id=sample.id, text="A"), {})
                assert parse_graded(graded.as_json()).sample.id == sample.id


def hugging_face(edits: bytes) -> None:
    """A folder of data and its card give rows, or one line; what lies beside the folder is in none of them."""
    import datasets

    datasets.disable_progress_bars()
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "good.csv"}]}]}
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        (Path(folder) / "set").mkdir()
        for place in ("beside.csv", "set/good.csv"):
            (Path(folder) / place).write_text(f"question,answer\nQ,{place}\n")
        places = ["good.csv", "../beside.csv", "file://./good.csv"]
        text = json.dumps(card).replace("good.csv", places[(edits or b"\0")[-1] % 3])
        (Path(folder) / "set/README.md").write_bytes(b"---\n" + edited(text.encode(), edits) + b"\n---\n")
        with suppress(InfimedError), contextlib.redirect_stderr(io.StringIO()):
            reader = HuggingFace(path=f"{folder}/set")
            rows = [row for shard in reader.shards() for row in reader.read(shard)]
            assert not [row for row in rows if "beside.csv" in row.model_dump_json()]


def run_file(edits: bytes) -> None:
    """A run file is a plan, or mistakes with their lines."""
    text = edited((ROOT / "examples" / "full.yaml").read_bytes(), edits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(text)
        try:
            load_run_file(path, _registry())
        except InfimedError as error:
            assert str(path) in str(error)


@functools.cache
def _registry():
    return load_plugins()


RECORD = {
    "format": 2, "name": "r", "status": "done", "started": "2026-01-01T00:00:00+00:00",
    "config": {"run": {"name": "r"}},
    "steps": [{"name": "read", "kind": "read", "status": "done", "artifact": "artifacts/read-1", "num_in": 3}],
    "results": [
        {"benchmark": "b", "version": "1", "model": "base", "scoring": "strict", "metrics": {"f1": {"value": 0.5}}},
    ],
}  # fmt: skip


def run_record(edits: bytes) -> None:
    """A run.json is a run, or one line that names it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.json").write_bytes(edited(json.dumps(RECORD).encode(), edits))
        try:
            run = open_run(folder)
        except InfimedError as error:
            assert "run.json" in str(error) and "\n" not in str(error)
        else:
            with suppress(InfimedError):
                list(run.samples())
            assert run.answered() is not None
        assert status_of(Path(folder)).state


REPLY = {
    "choices": [{"message": {"content": "The answer is A.", "reasoning_content": "hm"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5},
}


def reply(edits: bytes) -> None:
    """A server's reply is an answer that files can hold, or an error of the call."""
    try:
        body = json.loads(edited(json.dumps(REPLY).encode(), edits))
    except (ValueError, RecursionError):
        return
    with suppress(CallError):
        answer = read_reply(body, Request(sample_id="s", turns=()))
        assert answer.sample_id == "s" and (answer.text is None) <= (answer.error is not None)


ANSWERS = (
    b"<think>Could it be A?</think> **Answer:** \\boxed{B}. The correct option is (B) Left upper lobe, not A. ___ "
)
REPORT = (
    "Name: João da Silva, born 03/04/1961 (62 yo), MRN 123-4567, Hospital São José, Tel. +34 600 123 456. "
    "Dr. A. B. Smith FRCS."
)


def grading(edits: bytes) -> None:
    """Any answer is letters of options or a reason, and a grade or a reason."""
    text = edited(ANSWERS, edits).decode("utf-8", "surrogateescape")
    choice = read_choice(text, ["Right upper lobe", "Left upper lobe", "___"])
    assert bool(choice.letters) != bool(choice.reason) and set(choice.letters) <= set("ABC")
    for function in (grade_polar, grade_closed, grade_open):
        verdict = function("yes", text)
        assert (verdict.right is None) == bool(verdict.reason)


def identity(edits: bytes) -> None:
    """A text that was cleaned is found to be clean of what was found in it, and keeps its other letters."""
    text = edited(REPORT.encode(), edits).decode("utf-8", "replace")
    found = identities(text)
    cleaned = redact(text)
    assert (cleaned.text != text) == bool(found), (text, found)


READERS = ("jsonl", "llava", "csv", "parquet", "webdataset")
TARGETS: dict[str, Callable[[bytes], None]] = {
    **{f"reader-{name}": functools.partial(_check_reader, name) for name in READERS},
    "predictions": predictions, "benchmark-rows": benchmark_rows, "reader-huggingface": hugging_face,
    "run-file": run_file, "run-record": run_record, "reply": reply, "grading": grading, "identity": identity,
}  # fmt: skip


def hostile_texts() -> Iterator[str]:
    """Units that are repeated to look for rules that take more than linear time."""
    yield from (
        "The ",
        " ",
        "A",
        "A.",
        "a",
        "FRCS ",
        "<answer>",
        "</think>",
        "<think>",
        "___",
        "\\boxed{",
        "1",
        "-",
        "1/",
        "no ",
        "not A. ",
    )
    yield from (
        "(",
        ")",
        "**",
        "\n",
        "\t",
        "Dr. ",
        "Mr. A",
        "@a.",
        "a@",
        "+1 ",
        "12-",
        "A B ",
        "Yes or ",
        "A, ",
        "Answer: ",
        "選",
        "João ",
        "The answer is (",
        "A) (",
        "answer: ",
        "B or ",
    )
