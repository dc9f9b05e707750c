"""The promises of the judging scorer, kept against a real HTTP server that answers well and in every bad way."""

import contextlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Ask, InfimedError, Media, MediaLoader, Sample, Turn
from infimed_core.records import open_run
from infimed_core.testing import check_component, make_image, run
from infimed_plugins.endpoint.model import OpenAICompatible
from infimed_plugins.image.modality import Image as ImageModality
from infimed_plugins.quality.judge import PROBE, QualityJudge, reply_schema
from infimed_plugins.quality.profile import load_profile

MEDIA = MediaLoader({"image": ImageModality()})
DIMENSIONS = load_profile("default").dimensions


def verdict(level: int = 2, **changed: dict[str, Any]) -> str:
    body: dict[str, Any] = {"observed": {"modality": "CT", "anatomy": "chest", "findings": "none"}}
    for name in DIMENSIONS:
        body[name] = {"evidence": f"{name} seen", "defects": [], "assessable": True, "level": level}
        body[name] |= changed.get(name, {})
    return json.dumps(body)


class Judge:
    """A chat completions server: ``behave(body, times seen) -> (status, text)``; a probe gets its word."""

    def __init__(self, behave: Any, constrained: bool = True) -> None:
        outer = self
        self.behave, self.constrained = behave, constrained
        self.bodies: list[dict[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    key = json.dumps(body["messages"])
                    outer.seen[key] += 1
                    count = outer.seen[key]
                schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
                if "word" in schema.get("properties", {}):
                    status, text = 200, json.dumps({"word": PROBE}) if outer.constrained else "A banana!"
                else:
                    status, text = outer.behave(body, count)
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": 1, "completion_tokens": body["max_tokens"] if text[-1:] == "…" else 5}
                reply = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> "Judge":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *arguments: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def asker(url: str, **settings: Any) -> Ask:
    model = OpenAICompatible(base_url=url, model="judge", first_wait_seconds=0.01, max_retries=2, **settings).load(None)

    def ask(requests: Any, model_name: str | None = None) -> Any:
        numbered = [request.model_copy(update={"sample_id": str(n)}) for n, request in enumerate(requests)]
        found = {answer.sample_id: answer for answer in model.answer(numbered, MEDIA)}
        return [found[str(number)] for number in range(len(numbered))]

    return ask


def sample(name: str = "a", data: bytes | None = None, text: str = "No pleural effusion.") -> Sample:
    media = (Media(data=data or make_image(32, 32)),)
    turns = (Turn(role="user", content=(0, "What is seen?")), Turn(role="assistant", content=(text,)))
    return Sample(id=name, turns=turns, media=media)


def judge(behave: Any, *samples: Sample, constrained: bool = True, **settings: Any) -> tuple[list[Any], Judge]:
    with Judge(behave, constrained) as server:
        return QualityJudge(**settings).judge(samples or (sample(),), MEDIA, asker(server.url)), server


def test_the_component_keeps_the_contract() -> None:
    check_component(QualityJudge())


def test_levels_become_parts_and_a_critical_defect_forces_zero() -> None:
    bad = {"level": 2, "defects": ["wrong_side"], "evidence": "the heart is on the right"}
    (score,), server = judge(lambda body, count: (200, verdict(completeness={"level": 1}, alignment=bad)))
    assert score.parts == {
        "image_quality": 1.0, "alignment": 0.0, "completeness": 0.5, "medical_validity": 1.0, "compliance": 1.0,
    }  # fmt: skip
    assert "alignment:wrong_side" in score.reasons and "below_minimum_alignment" in score.reasons
    assert "the heart is on the right" in score.note
    asked = server.bodies[-1]
    assert asked["response_format"]["json_schema"]["strict"] is True
    assert any(part.get("type") == "image_url" for part in asked["messages"][0]["content"])
    properties = list(asked["response_format"]["json_schema"]["schema"]["properties"]["alignment"]["properties"])
    assert properties.index("evidence") < properties.index("level")


def test_what_the_judge_cannot_assess_is_none_and_takes_no_part() -> None:
    (score,), _ = judge(lambda body, count: (200, verdict(image_quality={"assessable": False, "level": 0})))
    assert score.parts["image_quality"] is None
    assert score.value == 1.0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("not json at all", "judge_malformed"),
        (json.dumps({"observed": {}}), "judge_malformed"),
        (verdict(alignment={"level": 3}), "judge_malformed"),
        (verdict(alignment={"defects": ["made_up"]}), "judge_malformed"),
        (verdict(alignment={"level": "2"}), "judge_malformed"),
        ("I'm sorry, I cannot judge medical images.", "judge_refused"),
        (verdict()[:200] + "…", "judge_truncated"),
    ],
)
def test_a_reply_that_is_no_verdict_is_none_with_its_reason_and_final(reply: str, reason: str) -> None:
    (score,), _ = judge(lambda body, count: (200, reply))
    assert (score.value, score.status, score.reasons) == (None, "unscored", (reason,))
    assert set(score.parts.values()) == {None}


def test_a_server_that_fails_is_tried_again_and_then_none_and_asked_again_next_time() -> None:
    (score,), server = judge(lambda body, count: (500, "broken"))
    assert (score.value, score.status, score.reasons) == (None, "error", ("judge_no_answer",))
    assert max(server.seen.values()) == 3  # once, and two retries
    (score,), _ = judge(lambda body, count: (200, verdict()) if count > 1 else (503, "busy"))
    assert score.value == 1.0


def test_a_malformed_reply_is_not_asked_for_again() -> None:
    _, server = judge(lambda body, count: (200, "nonsense"))
    assert max(server.seen.values()) == 1


def test_a_judge_that_is_slow_runs_into_the_timeout_and_one_that_is_not_there_stops_nothing() -> None:
    def slow(body: Any, count: int) -> tuple[int, str]:
        time.sleep(1.5)
        return 200, verdict()

    with Judge(slow) as server:
        (score,) = QualityJudge().judge([sample()], MEDIA, asker(server.url, timeout_seconds=0.3))
    assert score.reasons == ("judge_no_answer",)
    scores = QualityJudge().judge([sample("a"), sample("b")], MEDIA, asker("http://127.0.0.1:9/v1"))
    assert [score.reasons for score in scores] == [("judge_no_answer",)] * 2


def test_a_server_that_ignores_the_schema_is_refused_unless_the_run_file_says_otherwise() -> None:
    with pytest.raises(InfimedError, match="does not hold its replies"):
        judge(lambda body, count: (200, verdict()), constrained=False)
    (score,), _ = judge(lambda body, count: (200, verdict()), constrained=False, require_constraint=False)
    assert score.value == 1.0


def test_a_sample_with_a_broken_image_is_not_sent_and_the_others_are() -> None:
    scores, server = judge(lambda body, count: (200, verdict()), sample("a", make_image()[:300]), sample("b"))
    assert scores[0].value is None and scores[0].reasons[0].startswith("image_")
    assert scores[1].value == 1.0
    assert len(server.bodies) == 2  # the probe and one sample


def test_a_dimension_of_ones_own_needs_only_a_profile(tmp_path: Path) -> None:
    import yaml

    body = yaml.safe_load((Path(__file__).parents[2] / "plugins/infimed_plugins/quality/profile.yaml").read_text())
    body["dimensions"] = ["alignment", "teaching_value"]
    body["weights"] = {"alignment": 1.0, "teaching_value": 1.0}
    body["hard_minimums"] = {}
    body["rubric"] = {
        "alignment": body["rubric"]["alignment"],
        "teaching_value": {"question": "Worth it?", "levels": ["no", "some", "yes"]},
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    reply = json.dumps(
        {"observed": {"modality": "CT", "anatomy": "chest", "findings": ""}}
        | {n: {"evidence": "", "defects": [], "assessable": True, "level": 1} for n in ("alignment", "teaching_value")}
    )
    (score,), _ = judge(lambda body, count: (200, reply), profile=str(path))
    assert score.parts == {"alignment": 0.5, "teaching_value": 0.5}


def test_the_schema_has_every_dimension_and_refuses_more() -> None:
    import jsonschema

    rubric = load_profile("default").rubric
    schema = reply_schema(rubric)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(verdict()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(verdict()) | {"more": 1}, schema)


def document(folder: Path, url: str, **judge_model: Any) -> dict[str, Any]:
    rows = []
    for number in range(5):
        (folder / f"{number}.png").write_bytes(make_image(64, 64, seed=number))
        text = "Patient John Smith, MRN 4471123." if number == 0 else "Axial CT slice of the chest without effusion."
        turns = [
            {"role": "user", "content": [0, "Describe the image."]},
            {"role": "assistant", "content": [text]},
        ]
        rows.append({"id": f"s{number}", "turns": turns, "media": [{"uri": str(folder / f"{number}.png")}]})
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {"base_url": url, "model": "judge", "first_wait_seconds": 0.01, "max_retries": 1, **judge_model}
    return {
        "run": {"name": "judged", "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(path)}}], "executor": {"use": "serial"}},
        "models": {"judge": {"use": "openai-compatible", "with": settings}},
        "quality": {"scorers": [{"use": "five-dimension"}, {"use": "quality-judge"}]},
    }


def test_in_a_run_answers_are_stored_an_unreached_judge_is_asked_again_and_nothing_is_asked_twice(
    tmp_path: Path,
) -> None:
    down = True

    def behave(body: Any, count: int) -> tuple[int, str]:
        return (500, "down") if down else (200, verdict())

    with Judge(behave) as server:
        record = run(document(tmp_path, server.url), tmp_path)
        step = next(step for step in record.steps if step.name == "score-quality-judge")
        assert (step.num_in, step.num_out) == (5, 5)
        assert step.details["status"] == {"error": 5}
        down = False
        record = run(document(tmp_path, server.url), tmp_path)
        step = next(step for step in record.steps if step.name == "score-quality-judge")
        assert step.details["status"] == {"ok": 5}
        asked = len(server.bodies)
        record = run(document(tmp_path, server.url), tmp_path)
        assert len(server.bodies) == asked
        assert next(step for step in record.steps if step.name == "score-quality-judge").status == "reused"


def test_a_sample_flagged_for_identity_never_leaves_this_machine_unless_the_run_file_says_so(tmp_path: Path) -> None:
    def reasons_of(**settings: Any) -> dict[str, tuple[str, ...]]:
        elsewhere = "http://192.0.2.1:9/v1"  # an address that is nobody's: nothing is ever received there
        settings = {"timeout_seconds": 0.2, "max_retries": 0, **settings}
        body = document(tmp_path, elsewhere, **settings)
        body["run"]["name"] = f"judged-{len(settings)}"
        body["quality"]["scorers"][1]["with"] = {"require_constraint": False}  # the probe could not be answered
        record = run(body, tmp_path)
        assert record.status == "done"
        scored = open_run(tmp_path / "runs" / str(body["run"]["name"])).samples()
        return {row.sample.id: tuple(row.scores["quality-judge"].reasons) for row in scored}

    kept = reasons_of()
    assert kept["s0"] == ("judge_not_sent",)
    assert set(kept.values()) <= {("judge_not_sent",), ("judge_no_answer",)}
    assert set(reasons_of(allow_identified=True).values()) == {("judge_no_answer",)}
