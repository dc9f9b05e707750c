"""A run is read through `infimed_core.records`: typed, as it stands, and told plainly where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimed_core import InfimedError, RunEvent
from infimed_core.records import Run, is_baseline, open_run
from infimed_core.testing import run

LINES = [
    {"id": "short", "turns": [{"role": "user", "content": ["q"]}, {"role": "assistant", "content": ["a"]}]},
    *(
        {"id": f"s{number}", "turns": [
            {"role": "user", "content": [f"Which lobe holds nodule {number}?"]},
            {"role": "assistant", "content": [f"Nodule {number} lies in the upper lobe of the left lung."]},
        ]}
        for number in range(5)
    ),
    {"id": "silent", "turns": [{"role": "user", "content": ["q"]}, {"role": "assistant", "content": [""]}]},
]  # fmt: skip
BENCHMARK = {"use": "demo-text", "with": {"max_samples": 12}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("read")
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    document = {
        "run": {"name": "small", "seed": 0},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(folder / "samples.jsonl")}}]},
        "quality": {
            "scorers": [{"use": "five-dimension"}],
            "select": {"use": "top-share", "with": {"keep": 0.5, "on_null": "keep"}},
        },
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [BENCHMARK, {**BENCHMARK, "name": "again"}]},
    }
    run(document, folder)
    return open_run(folder / "runs" / "small")


def test_every_sample_comes_with_its_scores_and_what_became_of_it(finished: Run) -> None:
    rows = list(finished.samples())
    assert [row.sample.id for row in rows] == [sample.id for sample in finished.dataset]
    assert len(rows) == 6 and [fault.code for fault in finished.faults()] == ["empty_text"]
    selected = finished.step("select")
    assert selected is not None and sum(row.kept for row in rows) == selected.num_out
    assert all(row.kept != bool(row.rejected) for row in rows)
    assert finished.scorers == ("five-dimension",)
    for row, (identity, score) in zip(rows, finished.scores(), strict=True):
        assert row.sample.id == identity and row.scores == {"five-dimension": score}


def test_answers_results_and_steps_are_found_by_benchmark_and_model(finished: Run) -> None:
    assert finished.models == ("base", "most-common-answer") and finished.benchmarks == ("demo-text", "again")
    assert [is_baseline(model) for model in finished.models] == [False, True] and finished.last_model == "base"
    for benchmark, model in finished.answered():
        rows = list(finished.answers(benchmark, model))
        scored = [row.scores["strict"].value for row in rows if row.scores["strict"].value is not None]
        whole = next(row for row in finished.results(benchmark, model, "strict") if not row.group)
        assert len(rows) == 12 and whole.metrics["accuracy"].num_scored >= len(scored)
        step = finished.step("evaluate", benchmark=benchmark, model=model)
        assert (step is None) == is_baseline(model)
    assert [step.subject["benchmark"] for step in finished.steps("evaluate")] == ["demo-text", "again"]
    assert {row.benchmark for row in finished.comparisons} <= set(finished.benchmarks)
    assert finished.benchmark_refs["again"].use == "demo-text" and finished.cluster_by("again") != "missing"


def test_steps_carry_kind_and_subject_and_their_names_are_for_people(finished: Run) -> None:
    found = {step.name: (step.kind, step.subject) for step in finished.record.steps}
    assert found["score"] == ("score", {"scorer": "five-dimension"})
    assert found["evaluate-base-again"] == ("evaluate", {"model": "base", "benchmark": "again"})
    assert found["baseline-again"] == ("baseline", {"model": "most-common-answer", "benchmark": "again"})
    assert found["compare-again"] == ("compare", {"benchmark": "again"})
    assert finished.steps("train") == [] and finished.artifact(finished.step("train")) is None


def test_events_are_read_to_the_last_whole_line(finished: Run) -> None:
    with (finished.directory / "events.jsonl").open("a") as stream:
        stream.write('{"kind": "log", "step": "x", "payload_step": 3, "loss": 1.0}\n{"kind": "cut')
    events = list(finished.events())
    assert events[0].kind == "run_started" and events[0].payload["name"] == "small"
    assert dict(events[-1].payload) == {"step": 3, "loss": 1.0} and events[-1].step == "x"
    assert list(finished.events(most_bytes=10)) == []


def test_a_line_that_is_no_answer_is_an_error_unless_it_may_be_bad(finished: Run) -> None:
    path = finished.answers_file("again", "base")
    whole = path.read_text()
    path.unlink()  # it is linked to the artifact
    path.write_text(whole + '{"sample": 3}\nnot json\n')
    with pytest.raises(InfimedError, match=r"again--base.jsonl:13: not a graded answer \("):
        list(finished.answers("again", "base"))
    bad: list = []
    assert len(list(finished.answers("again", "base", bad))) == 12 and [line.number for line in bad] == [13, 14]
    path.write_text(whole)


def test_what_a_run_does_not_have_is_one_line(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(InfimedError, match="holds no scores of 'other'; it has those of: five-dimension"):
        finished.scores("other")
    for benchmark, model in (("demo-text", "nobody"), ("nothing", "base")):
        wanted = (
            f"no answers of '{model}' on '{benchmark}'; it has those of: 'base' on 'demo-text', 'most-common-answer'"
        )
        with pytest.raises(InfimedError, match=wanted):
            finished.answers(benchmark, model)
    run({"run": {"name": "empty"}}, tmp_path)
    empty = open_run(tmp_path / "runs" / "empty" / "run.json")
    assert empty.directory == tmp_path / "runs" / "empty" and empty.models == () and list(empty.faults()) == []
    with pytest.raises(InfimedError, match="holds no samples; it is done and may have no 'data:'"):
        _ = empty.dataset
    with pytest.raises(InfimedError, match="holds no scores; it has those of: none"):
        empty.scores()


def test_a_record_of_another_version_is_told_with_the_remedy(finished: Run, tmp_path: Path) -> None:
    for number, told in (
        (1, r"earlier version .*run its file again with `infimed-run`"),
        (3, "later version .*update"),
    ):
        body = json.loads((finished.directory / "run.json").read_text())
        (tmp_path / "run.json").write_text(json.dumps(body | {"format": number}))
        with pytest.raises(InfimedError, match=told):
            open_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b'{"format": 2, "name": "small", "sta', "Invalid JSON: EOF"),
        (b"", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'{"format": "two"}', "format: Input should be 2"),
        (b'{"format": 2, "name": "small"}', "status: Field required"),
    ],
)
def test_a_damaged_record_names_file_cause_and_remedy_and_the_run_says_that_it_writes_it_anew(
    content: bytes, cause: str, tmp_path: Path
) -> None:
    document = {"run": {"name": "small"}}
    run(document, tmp_path)
    file = tmp_path / "runs" / "small" / "run.json"
    file.write_bytes(content)
    with pytest.raises(InfimedError) as caught:
        open_run(file.parent)
    told = str(caught.value)
    assert told.startswith(f"{file}: not a run record") and cause in told and "infimed-run" in told and "\n" not in told
    events: list[RunEvent] = []
    assert run(document, tmp_path, events).status == "done"
    said = [event.payload["text"] for event in events if event.kind == "message"]
    assert len(said) == 1 and said[0].startswith(f"{file}: not a run record") and cause in said[0]
    assert "written anew" in said[0] and open_run(file).status == "done"
