"""A judge grades open answers and rubrics over HTTP; what it does not decide is unscored; nothing is asked twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, MediaLoader, Sample
from infimed_core.api.reporting import RunRecord
from infimed_core.records import open_run
from infimed_core.testing import run
from infimed_plugins.medevalkit import judging, rubric, verifier
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.reporting.page.answers import read_tables
from infimed_plugins.reporting.page.thumbnails import Thumbnails

sys.path.insert(0, str(Path(__file__).parent))
from judge_server import judge_server

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"


def fair(body: dict[str, Any]) -> tuple[int, str]:
    """Right where the reference's words are in the answer; a rubric item is met where it asks for a duration."""
    prompt = body["messages"][0]["content"]
    if "<statement>" in prompt:
        return 200, json.dumps(
            {"explanation": "as stated", "criteria_met": "how long" in prompt.split("<statement>")[1]}
        )
    reference = prompt.split("Reference answer: ")[1].split("\n")[0].lower()
    given = prompt.split("Answer to check: ")[1].split("\n")[0].lower()
    return 200, json.dumps({"reason": "compared", "correct": reference in given})


def document(name: str, judges: dict[str, str], text: str, **evaluation: Any) -> dict[str, Any]:
    patience = {"max_retries": 1, "first_wait_seconds": 0.01}
    folder = "healthbench" if name.startswith("healthbench") else name
    return {
        "run": {"name": f"judged-{name}"},
        "model": {"use": "constant", "with": {"text": text}},
        "models": {
            judge: {"use": "openai-compatible", "with": {"base_url": url, "model": "judge", **patience}}
            for judge, url in judges.items()
        },
        "evaluation": {
            "benchmarks": [{"use": name, "with": {"path": str(DATA / folder)}}],
            "judges": list(judges),
            **evaluation,
        },
    }


def result(record: RunRecord, scoring: str, metric: str) -> Any:
    return next(
        row.metrics[metric]
        for row in record.results
        if (row.model, row.scoring, row.group) == ("base", scoring, {}) and metric in row.metrics
    )


def folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def details(record: RunRecord, name: str) -> dict[str, Any]:
    return next(step.details for step in record.steps if step.name == f"evaluate-base-{name}")


def test_open_answers_go_to_the_judge_and_closed_ones_to_the_rule(tmp_path: Path) -> None:
    samples = [row for row in table()["vqa-rad"](path=str(DATA / "vqa-rad")).samples() if isinstance(row, Sample)]
    opened = [sample for sample in samples if sample.tags["form"] == "open"]
    text = f"It is the {opened[0].references[0]}, I believe"
    with judge_server(fair) as judge:
        record = run(document("vqa-rad", {"fair": judge.url}, text), tmp_path)
        assert len(judge.bodies) == len(opened) < len(samples)
        assert all("Reference answer" in prompt for prompt in judge.prompts)
        schema = judge.bodies[0]["response_format"]["json_schema"]["schema"]
        assert schema == judging.OPEN_SCHEMA
        value, strict = result(record, "judge:fair", "accuracy"), result(record, "strict", "accuracy")
        assert value.num_scored + value.num_unscored == len(samples)
        assert value.num_scored >= max(len(opened), strict.num_scored) and value.value >= (strict.value or 0.0)
        told = details(record, "vqa-rad")
        assert told["protocol"]["judging"].startswith("closed questions by rule")
        assert told["judges"]["fair"]["judged"] == value.num_scored
        run(document("vqa-rad", {"fair": judge.url}, text), tmp_path)
        assert len(judge.bodies) == len(opened), "a verdict that stands is not asked for again"
        found = (tmp_path / "runs/judged-vqa-rad/cache").glob("*.jsonl")
        lines = [line for path in found for line in path.read_text().splitlines()]
        assert sum("compared" in line for line in lines) == len(opened), "the judge's replies are stored"


def test_two_judges_give_two_scorings_and_their_agreement(tmp_path: Path) -> None:
    def harsh(body: dict[str, Any]) -> tuple[int, str]:
        return 200, json.dumps({"reason": "never", "correct": False})

    with judge_server(fair) as one, judge_server(harsh) as other:
        record = run(document("path-vqa", {"one": one.url, "other": other.url}, "anything at all"), tmp_path)
    told = details(record, "path-vqa")["judges"]
    assert {"one", "other", "one and other"} == set(told)
    assert told["one and other"]["num_both"] > 0
    assert {"judge:one", "judge:other", "strict", "kit"} == {row.scoring for row in record.results}


def test_a_malformed_verdict_is_asked_for_again_and_then_it_is_missing(tmp_path: Path) -> None:
    def stubborn(body: dict[str, Any]) -> tuple[int, str]:
        return 200, '{"correct": "perhaps"}'

    def late(body: dict[str, Any]) -> tuple[int, str]:
        if len(body["messages"]) < 3:
            return 200, "I would say that it is right."
        return 200, '<think>{hm}</think>```json\n{"reason": "now", "correct": true}\n```'

    with judge_server(stubborn) as judge:
        record = run(document("vqa-rad", {"bad": judge.url}, "pleural effusion"), folder(tmp_path, "a"))
        num_open = details(record, "vqa-rad")["judges"]["bad"]["unscored"]
        assert result(record, "judge:bad", "accuracy").num_scored == 0
        assert len(judge.bodies) % judging.ATTEMPTS == 0 and judge.bodies
    answers = (tmp_path / "a/runs/judged-vqa-rad/answers/vqa-rad--base.jsonl").read_text().splitlines()
    scores = [json.loads(line)["scores"]["judge:bad"] for line in answers]
    assert len(scores) == num_open
    assert any(score["reasons"] == ["bad_verdict"] and "is not of type 'boolean'" in score["note"] for score in scores)
    with judge_server(late) as judge:
        record = run(document("vqa-rad", {"late": judge.url}, "pleural effusion"), folder(tmp_path, "b"))
        assert result(record, "judge:late", "accuracy_where_read").value == 1.0


@pytest.mark.parametrize(("status", "text"), [(500, None), (200, None)])
def test_a_judge_that_fails_leaves_answers_unscored_and_is_asked_again_next_time(
    tmp_path: Path, status: int, text: str | None
) -> None:
    works = False

    def reply(body: dict[str, Any]) -> tuple[int, str | None]:
        return fair(body) if works else (status, text)

    with judge_server(reply) as judge:
        told = document("vqa-rad", {"judge": judge.url}, "pleural effusion")
        record = run(told, tmp_path)
        value = result(record, "judge:judge", "accuracy")
        assert value.num_unscored == 3 and result(record, "judge:judge", "accuracy_where_read").value is None
        assert value.num_counted == 2, "a judge that could not be asked says nothing against the model"
        facts = details(record, "vqa-rad")["judges"]["judge"]
        assert facts["failed"] > 0 and facts["first_failure"]
        works = True
        record = run(told, tmp_path)
        assert result(record, "judge:judge", "accuracy").num_scored > 0


def test_an_empty_answer_or_a_refusal_is_not_put_before_the_judge(tmp_path: Path) -> None:
    for number, text in enumerate(("", "I'm sorry, but I cannot answer that.")):
        with judge_server(fair) as judge:
            record = run(document("vqa-rad", {"judge": judge.url}, text), folder(tmp_path, str(number)))
            assert not judge.bodies
            value = result(record, "judge:judge", "accuracy")
            assert (value.value, value.num_scored, value.num_counted) == (0.0, 0, 3), "not right, and counted"


@pytest.mark.parametrize("name", ["healthbench", "healthbench-consensus", "healthbench-hard"])
def test_healthbench_is_judged_item_by_item_and_each_subset_apart(tmp_path: Path, name: str) -> None:
    with judge_server(fair) as judge:
        record = run(document(name, {"judge": judge.url}, "Since when?"), tmp_path)
        assert len(judge.bodies) == 2, "one question for each rubric item"
        assert all("assistant: Since when?" in prompt for prompt in judge.prompts)
    assert {row.benchmark for row in record.results} == {name}
    assert result(record, "judge:judge", "rubric-score").value == 1.0
    assert result(record, "strict", "rubric-score").value is None
    themes = [row.group for row in record.results if set(row.group) == {"theme"}]
    assert {"theme": "context_seeking"} in themes
    answers = (tmp_path / f"runs/judged-{name}/answers/{name}--base.jsonl").read_text()
    assert json.loads(answers)["scores"]["judge:judge"]["parts"]["axis:completeness"] == 1.0


def test_the_mean_of_rubric_scores_is_clipped_as_a_whole_and_not_one_by_one() -> None:
    component = table()["healthbench"](path=str(DATA / "healthbench"))
    sample = next(row for row in component.samples() if isinstance(row, Sample))
    answer = Answer(sample_id=sample.id, text="Take an opioid.")

    def ask(requests: Any, model: str | None = None) -> list[Answer]:
        met = ["opioid" in request.turns[0].text.split("<statement>")[1] for request in requests]
        return [Answer(sample_id=sample.id, text=json.dumps({"explanation": "", "criteria_met": m})) for m in met]

    bad = judging.judge_rubrics([sample], [answer], ask)[0]
    assert bad.value == 0.0 and bad.parts["rubric"] == pytest.approx(-8 / 5)
    good = bad.model_copy(update={"value": 1.0, "parts": {"rubric": 1.0}})
    assert rubric.RubricScore().compute([bad, good, good]) == pytest.approx((1 + 1 - 8 / 5) / 3)
    assert rubric.RubricScore().compute([bad, good]) == 0.0


def test_one_missing_verdict_leaves_the_whole_example_unscored() -> None:
    component = table()["healthbench"](path=str(DATA / "healthbench"))
    sample = next(row for row in component.samples() if isinstance(row, Sample))

    def ask(requests: Any, model: str | None = None) -> list[Answer]:
        fine = Answer(sample_id=sample.id, text='{"explanation": "", "criteria_met": true}')
        return [fine, *(Answer(sample_id=sample.id, error="timeout: no answer") for _ in requests[1:])]

    score = judging.judge_rubrics([sample], [Answer(sample_id=sample.id, text="Rest.")], ask)[0]
    assert score.value is None and score.reasons == ("no_verdict",)
    assert "1 of 2 rubric items have no verdict: timeout" in score.note


def test_multiple_choice_has_no_use_for_a_judge(tmp_path: Path) -> None:
    with judge_server(fair) as judge:
        record = run(document("pmc-vqa", {"judge": judge.url}, "A"), tmp_path)
        assert not judge.bodies
    assert {row.scoring for row in record.results} == {"strict", "kit"}


@pytest.mark.parametrize(
    ("kind", "right", "wrong"), [("xverify", "[Correct]", "Incorrect"), ("compassverifier", "\\boxed{A}", "B")]
)
def test_a_verifier_decides_what_the_rules_left_open(tmp_path: Path, kind: str, right: str, wrong: str) -> None:
    prompts = []

    def reply(body: dict[str, Any]) -> tuple[int, str]:
        prompts.append(body["messages"][0]["content"])
        return 200, right if "hazy" in prompts[-1] else wrong

    with judge_server(reply) as server:
        told = document("vqa-rad", {}, "It may be hazy, or something else; possibly fluid")
        inner = {"use": "openai-compatible", "with": {"base_url": server.url, "model": "verifier"}}
        told["models"]["small"] = {"use": "verifier", "with": {"format": kind, "model": inner}}
        told["evaluation"] |= {"judges": ["small"]}
        told["evaluation"]["benchmarks"][0]["with"]["judged"] = "undecided"
        record = run(told, tmp_path)
    strict, judged = result(record, "strict", "accuracy"), result(record, "judge:small", "accuracy")
    assert prompts and judged.num_scored == strict.num_scored + len(prompts)
    # what no judge was asked about is not right, and counted
    assert judged.value == pytest.approx(judged.num_scored / judged.num_counted)
    opened = open_run(tmp_path / "runs" / "judged-vqa-rad")
    (((_, _, judge), decided),) = read_tables(opened, Thumbnails(opened.directory, MediaLoader({}), 0)).deciders.items()
    assert judge == "small" and decided["judge"] == len(prompts) and decided["rule"] == strict.num_scored
    assert decided["both"] == 0 and decided.total() == strict.num_counted


def test_agreement_of_rule_and_verifier_is_counted_where_both_decide(tmp_path: Path) -> None:
    with judge_server(lambda body: (200, "Correct")) as server:
        told = document("vqa-rad", {}, "It is an ultrasound of the liver")
        inner = {"use": "openai-compatible", "with": {"base_url": server.url, "model": "verifier"}}
        told["models"]["small"] = {"use": "verifier", "with": {"format": "xverify", "model": inner}}
        told["evaluation"] |= {"judges": ["small"]}
        run(told, tmp_path)
    opened = open_run(tmp_path / "runs" / "judged-vqa-rad")
    (decided,) = read_tables(opened, Thumbnails(opened.directory, MediaLoader({}), 0)).deciders.values()
    wrong = sum(
        row.scores["strict"].value == 0 and row.scores["judge:small"].value == 1
        for row in opened.answers(*next(iter(opened.answered())))
    )
    assert decided["both"] > 0 and decided["both"] - decided["agree"] == wrong


@pytest.mark.parametrize(
    ("kind", "reply", "verdict"),
    [
        ("xverify", "Correct", True), ("xverify", "[Incorrect]", False), ("xverify", "I cannot say", None),
        ("compassverifier", "A", True), ("compassverifier", "B", False), ("compassverifier", "C", None),
        ("compassverifier", "The two differ. \\boxed{B}", False), ("compassverifier", "<think>A looks right", None),
        ("compassverifier", "Step 1 ...\nFinal Judgment: (B). A careful reader would agree.", False),
    ],
)  # fmt: skip
def test_a_verifiers_verdict_is_read_in_its_own_format(kind: str, reply: str, verdict: bool | None) -> None:
    assert verifier.read_verdict(reply, kind) is verdict
