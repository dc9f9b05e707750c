"""Several models in one run: under their own names, compared with each other; one that fails costs its own results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import forked
import pytest

from infimed_core import Answer, ConfigError, DataError, LoadedModel, MediaLoader, Request
from infimed_core.api.reporting import RunEvent
from infimed_core.testing import run
from infimed_plugins.vlm.baselines import Constant

DATA = Path(__file__).parents[2] / "fixtures" / "medevalkit" / "data"
MODELS = {name: {"use": "constant", "with": {"text": text}} for name, text in (("a", "A"), ("b", "B"), ("c", "C"))}


def document(*models: str, name: str = "several", **evaluation: Any) -> dict[str, Any]:
    benchmarks = [{"use": one, "with": {"path": str(DATA / one)}} for one in ("vqa-rad", "pubmedqa")]
    evaluation = {"benchmarks": benchmarks, "models": list(models), **evaluation}
    return {"run": {"name": name}, "models": MODELS, "evaluation": evaluation}


class Failing(LoadedModel):
    """Every answer is the error that it is given."""

    def __init__(self, error: str, answered: int = 0) -> None:
        self.error, self.answered = error, answered

    @property
    def identity(self) -> str:
        return f"failing {self.error}"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for number, request in enumerate(requests):
            if number < self.answered:
                yield Answer(sample_id=request.sample_id, text="A")
            else:
                yield Answer(sample_id=request.sample_id, error=self.error)


def break_b(monkeypatch: pytest.MonkeyPatch, broken: LoadedModel | Exception) -> None:
    whole = Constant.load

    def load(self: Constant, checkpoint: Path | None) -> LoadedModel:
        if self.text != "B":
            return whole(self, checkpoint)
        if isinstance(broken, Exception):
            raise broken
        return broken

    monkeypatch.setattr(Constant, "load", load)


def test_models_are_graded_under_their_own_names_and_compared_with_each_other(tmp_path: Path) -> None:
    record = run(document("a", "b", "c"), tmp_path)
    assert record.status == "done" and record.error is None
    assert {row.model for row in record.results} == {"a", "b", "c", "most-common-answer"}
    pairs = [(one.model, one.against) for one in record.comparisons if one.benchmark == "vqa-rad"]
    assert pairs == [
        ("a", "most-common-answer"), ("b", "a"), ("b", "most-common-answer"), ("c", "a"), ("c", "b"),
        ("c", "most-common-answer"),
    ]  # fmt: skip
    models = [one.p_adjusted for one in record.comparisons if one.against != "most-common-answer"]
    assert len(models) == 6 and all(p is not None for p in models)
    plain = run(document("a", name="plain", breakdowns=False), tmp_path)
    assert plain.results and not any(row.group for row in plain.results)


def test_a_model_that_cannot_be_asked_costs_its_own_results_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_b(monkeypatch, DataError("gone", "nothing listens there"))
    events: list[RunEvent] = []
    record = run(document("a", "b", "c"), tmp_path, events)
    assert record.status == "done" and record.error == "b: not asked: nothing listens there"
    assert {row.model for row in record.results} == {"a", "c", "most-common-answer"}
    told = [event.payload["text"] for event in events if event.kind == "message"]
    assert sum("b: not asked, the other models are" in text for text in told) == 1, "once, not for every benchmark"
    with pytest.raises(DataError, match="nothing listens there"):
        run(document("b", name="alone"), tmp_path)


def test_a_run_without_any_answer_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_b(monkeypatch, Failing("timeout: too slow"))
    record = run(document("b"), tmp_path)
    assert record.status == "failed"
    assert "b on vqa-rad: 3 of 3 questions have no answer (mostly: timeout: too slow)" in (record.error or "")
    among = run(document("a", "b", name="among"), tmp_path)
    assert among.status == "done" and among.error == record.error


def test_one_unanswered_question_in_ten_is_too_many_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_b(monkeypatch, Failing("busy: later", answered=1))
    record = run(document("b"), tmp_path)
    assert record.status == "done" and "b on vqa-rad: 2 of 3 questions have no answer" in (record.error or "")


def test_the_command_says_on_its_last_line_what_is_missing(tmp_path: Path) -> None:
    answers = tmp_path / "none.jsonl"
    answers.write_text('{"id": "other", "text": "A"}\n')
    main = "import sys; from infimed_core.cli import main; main()"
    options = ["--benchmarks", f"vqa-rad={DATA / 'vqa-rad'}", "--directory", str(tmp_path / "runs")]
    done = forked.finish(["-c", main, "grade", answers, *options])
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "none on vqa-rad: 3 of 3 questions have no answer (mostly: no_prediction: " in last
    assert json.loads((tmp_path / "runs/grade/run.json").read_text())["status"] == "failed"


def test_names_of_models_are_checked_before_any_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'d' is no model of this run; .*a, b, c"):
        run(document("a", "d"), tmp_path)
    nobody = document("a")
    del nobody["evaluation"]["models"]
    with pytest.raises(ConfigError, match="grades no model: add the section 'model:', or name entries of 'models:'"):
        run(nobody, tmp_path)
    twice = document("base")
    with pytest.raises(ConfigError, match="is an entry of 'models:' and a model that this run makes"):
        run({**twice, "model": MODELS["a"], "models": {"base": MODELS["b"]}}, tmp_path)


def test_answers_are_taken_from_other_runs_of_the_same_model(tmp_path: Path) -> None:
    run(document("a", name="first"), tmp_path)
    events: list[RunEvent] = []
    again = run(document("a", "b", name="second"), tmp_path, events)
    asked = {step.subject["model"]: step.details for step in again.steps if step.kind == "evaluate"}
    assert (asked["a"]["asked"], asked["a"]["of_other_runs"]) == (0, 1) and asked["b"]["asked"] == 1
    assert any("are those of other runs here" in str(event.payload.get("text")) for event in events)
    anew = run(document("a", name="third", reuse_answers=False), tmp_path)
    assert [step.details["asked"] for step in anew.steps if step.kind == "evaluate"] == [3, 1]


def test_results_that_other_settings_replace_are_told_before_they_are(tmp_path: Path) -> None:
    run(document("a"), tmp_path)
    for changes, told in (({}, []), ({"limit": 1}, ["evaluation.limit"])):
        events: list[RunEvent] = []
        run(document("a", **changes), tmp_path, events)
        said = [str(one.payload["text"]) for one in events if one.kind == "message"]
        lines = [text for text in said if "are replaced where these settings change them" in text]
        assert len(lines) == len(told) and all(place in lines[0] for place in told)
        assert all("a on vqa-rad" in line and "--set run.name=NAME" in line for line in lines)


def test_settings_of_generation_keep_the_benchmarks_other_ones(tmp_path: Path) -> None:
    wanted = document("a")
    wanted["evaluation"]["benchmarks"][0]["generation"] = {"temperature": 0.7}
    record = run({**wanted, "run": {"name": "warm", "seed": 5}}, tmp_path)
    generation = [step.details["protocol"]["generation"] for step in record.steps if step.kind == "evaluate"]  # type: ignore[index, call-overload]
    assert [(one["temperature"], one["max_new_tokens"], one["seed"]) for one in generation] == [
        (0.7, 1024, 5),
        (0.0, 1024, 0),
    ], "sampling follows the run's seed, and what is not set stays"
    assert record.config["evaluation"]["benchmarks"][0]["generation"] == {"temperature": 0.7}  # type: ignore[index, call-overload]
