"""Names, texts and half characters that data and servers bring end no run, steer no terminal and share no file."""

import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Answer, RunEvent, Sample, Score, Turn
from infimed_core.api.reporting import StepRecord
from infimed_core.cli import _guard
from infimed_core.errors import ConfigError, InfimedError
from infimed_core.evaluate.graded import Graded, answers_path, parse_graded
from infimed_core.store.questions import read_questions
from infimed_core.store.record import RunDirectory, RunRecord
from infimed_core.testing import run
from infimed_core.texts import printable, whole, without_passwords
from infimed_plugins.reporting.console import Console

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,6}\Z")
HALF = "cut \ud83d"
STEERING = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\x7f", "\x00", "\u202e", "\u2066", "\x90q\x9c"]


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=6, unique=True))
def test_no_two_pairs_of_benchmark_and_model_share_a_file(pairs: list[tuple[str, str]]) -> None:
    assert len({answers_path(Path(), *pair) for pair in pairs}) == len(pairs)


def test_every_pair_of_names_made_of_few_signs_has_its_own_file() -> None:
    names = ["x" + "".join(rest) for size in range(5) for rest in itertools.product("-x", repeat=size)]
    paths = {answers_path(Path(), one, other) for one in names for other in names}
    assert len(paths) == len(names) ** 2
    assert answers_path(Path("r"), "vqa-rad", "base") == Path("r/answers/vqa-rad--base.jsonl")


def test_two_steps_of_one_name_and_other_subjects_are_both_recorded(tmp_path: Path) -> None:
    record = RunRecord(name="r", status="running", started="now", config={})
    directory = RunDirectory(tmp_path, record)
    for model, benchmark in (("a", "b-c"), ("a-b", "c"), ("a", "b-c")):
        subject = {"model": model, "benchmark": benchmark}
        directory.put_step(StepRecord(name="evaluate-a-b-c", kind="evaluate", subject=subject, status="done"))
    assert [step.subject["model"] for step in directory.record.steps] == ["a-b", "a"]


@pytest.mark.parametrize("steering", STEERING)
def test_nothing_shown_in_a_terminal_steers_it(steering: str, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    console = Console(stream)
    told = f"before{steering}after"
    console(RunEvent(kind="message", step="", directory="", payload={"text": told}))
    console(RunEvent(kind="step_started", step=told, directory="", payload={}))

    def fail() -> None:
        raise InfimedError(told)

    with pytest.raises(SystemExit):
        _guard(fail)
    said = stream.getvalue() + capsys.readouterr().err
    assert said.count("before\ufffd") == 3 and not set(said) & set("\x1b\x07\x9b\r\x08\x7f\x00\u202e\u2066\x90\x9c")


@given(st.text(alphabet=st.characters(codec=None)))
def test_what_is_printable_or_whole_can_be_written_and_plain_text_is_kept(text: str) -> None:
    printable(text).encode()
    whole(text).encode()
    if text.isprintable():
        assert printable(text) == text and whole(text) == text


def test_half_a_character_in_an_answer_a_note_or_a_record_is_written_as_a_mark(tmp_path: Path) -> None:
    sample = Sample(id="q", turns=(Turn(role="user", content=("?",)),))
    graded = Graded(sample, Answer(sample_id="q", text=HALF), {"exact": Score(value=0.0, note=HALF)})
    assert parse_graded(graded.as_json().encode()).answer.text == "cut \ufffd"
    directory = RunDirectory(tmp_path, RunRecord(name="r", status="running", started="now", config={"file": "a\udcff"}))
    directory.put_step(StepRecord(name="read", kind="read", status="done", details={"file": "a\udcff"}))
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["steps"][0]["details"] == {"file": "a\ufffd"}


@pytest.mark.parametrize("place", ["id", "text", "tag", "reference", "meta"])
def test_a_question_with_half_a_character_is_a_fault_and_the_others_are_asked(tmp_path: Path, place: str) -> None:
    body = {"id": "b", "turns": (Turn(role="user", content=("?",)),)}
    body |= {
        "id": {"id": HALF}, "text": {"turns": (Turn(role="user", content=(HALF,)),)}, "tag": {"tags": {"t": HALF}},
        "reference": {"references": (HALF,)}, "meta": {"meta": {HALF: HALF}},
    }[place]  # fmt: skip

    class Questions:
        def samples(self):
            yield Sample(id="a", turns=(Turn(role="user", content=("?",)),))
            yield Sample(**body)

    found, faults = read_questions(Questions(), tmp_path, None)
    assert [row.id for row in found] == ["a"] and [fault.code for fault in faults] == ["bad_text"]


def test_a_run_whose_data_have_half_characters_and_odd_file_names_finishes_and_resumes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"id": f"r{n}", "question": "Which plane?", "answer": "axial"} for n in range(4)]
    rows[1]["answer"], rows[2]["id"] = HALF, HALF
    (folder / "rows\u2028\u202e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        source = {"use": "llava", "with": {"path": str(next(folder.iterdir()))}}
        record = run({"run": {"name": "odd"}, "data": {"sources": [source]}}, tmp_path)
        assert record.status == "done"
        (step,) = (step for step in record.steps if step.kind == "read")
        assert step.num_in == 4 and step.num_out == 4 - sum(step.dropped.values())


@pytest.mark.parametrize(
    "address",
    ["http://user:hunter2@host/v1", "https://hunter2@host", "http://a:b@hunter2@h/", "http://h/v1?key=hunter2"],
)
def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path, address: str) -> None:
    model = {"use": "openai-compatible", "with": {"base_url": address}}
    document = {"run": {"name": "r"}, "model": model, "evaluation": {"benchmarks": [{"use": "demo-vqa"}]}}
    with pytest.raises(ConfigError, match="must hold no user, password or query") as error:
        run(document, tmp_path)
    assert "hunter2" not in str(error.value)
    assert without_passwords("see http://host:80/v1 and a@b") == "see http://host:80/v1 and a@b"


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown(tmp_path: Path) -> None:
    model = {"use": "openai-compatible", "with": {"base_url": "http://h", "api_key_environment": "sk-hunter2"}}
    document = {"run": {"name": "r"}, "model": model, "evaluation": {"benchmarks": [{"use": "demo-vqa"}]}}
    with pytest.raises(ConfigError, match="api_key_environment") as error:
        run(document, tmp_path)
    assert "hunter2" not in str(error.value)
