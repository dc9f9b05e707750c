"""Rejection sampling against a real server process: routes, checks, provenance, costs, and what a kill leaves."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import pytest

from infimed_core.records import open_run
from infimed_core.store.record import read_record
from infimed_core.testing import run as run_body
from tests.plugins.judge_server import judge_server
from tests.plugins.teacher_server import QUESTION, solve

NUM_SAMPLES, DRAWS, STRONGER = 60, 8, 2
SERVER = Path(__file__).with_name("teacher_server.py")


class Teacher:
    """The server's address and what it has answered."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}/v1", log

    def answered(self) -> Counter[str]:
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[Teacher]:
    log = tmp_path / "answered.txt"
    with subprocess.Popen([sys.executable, str(SERVER), str(log)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Teacher(int(process.stdout.readline()), log)
        process.kill()


def numbers(count: int) -> list[tuple[int, int, int]]:
    chance = random.Random(7)
    return [(chance.randint(10, 60), chance.randint(10, 60), chance.randint(1, 9)) for _ in range(count)]


def write_run(tmp_path: Path, teacher: Teacher, name: str, **settings: Any) -> Path:
    rows = []
    for place, (red, blue, out) in enumerate(numbers(NUM_SAMPLES)):
        answer = str(red + blue - out)
        turns = [
            {"role": "user", "content": [QUESTION.format(red, blue, out)]},
            {"role": "assistant", "content": [answer]},
        ]
        rows.append({"id": f"q{place}", "turns": turns, "references": [answer], "tags": {"language": "en"}})
    rows.append(
        {
            "id": "essay",
            "turns": [
                {"role": "user", "content": ["Write about beads."]},
                {"role": "assistant", "content": ["Beads " * 40]},
            ],
        }
    )
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    address = {"base_url": teacher.url, "concurrency": 4}
    reader = {"use": "jsonl", "with": {"path": str(data)}}
    document = {
        "run": {"name": name, "directory": str(tmp_path / "runs")},
        "data": {"sources": [reader]},
        "models": {
            "weak": {"use": "openai-compatible", "with": {**address, "model": "weak"}},
            "strong": {"use": "openai-compatible", "with": {**address, "model": "strong"}},
        },
        "reasoning": {
            "use": "rejection-sampling",
            "with": {
                "grader": {"use": "questions", "with": {"reader": reader}},
                "teacher": "weak",
                "draws": DRAWS,
                "stronger": "strong",
                "stronger_draws": STRONGER,
                "reflective": {"share": 0.3},
                "prices": {"weak": {"prompt": 1.0, "answer": 2.0}},
                **settings,
            },
        },
    }
    file = tmp_path / f"{name}.yaml"
    file.write_text(json.dumps(document))
    return file


COMMAND = ["-c", "from infimed_core.cli import run_main; run_main()"]


def without_proxy() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def start(file: Path) -> forked.Forked:
    return forked.start([*COMMAND, file, "--quiet"], without_proxy())


def finish(file: Path) -> Path:
    process = start(file)
    assert process.wait() == 0, process.said()
    return file.parent / "runs" / file.stem


def step_of(run: Path, kind: str = "reasoning") -> Any:
    return next(step for step in read_record(run).steps if step.kind == kind)


def rows_of(run: Path, name: str) -> list[dict[str, Any]]:
    (directory,) = run.glob("artifacts/reasoning-[0-9a-f]*")
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


def test_every_route_adds_up_and_every_sample_says_where_it_comes_from(tmp_path: Path, teacher: Teacher) -> None:
    run = finish(write_run(tmp_path, teacher, "whole", recover_with="strong"))
    step = step_of(run)
    routes = step.details["routes"]
    assert sum(routes.values()) == step.num_in == NUM_SAMPLES + 1
    assert step.num_out == routes["kept"] + routes["escalated"] == len(rows_of(run, "made.jsonl"))
    assert step.dropped == {name: count for name, count in routes.items() if name not in ("kept", "escalated")}
    assert routes["not_checkable"] == 1
    assert min(routes["kept"], routes["escalated"], routes["too_few_right"]) > 5

    outcomes = {row["id"]: row for row in rows_of(run, "outcomes.jsonl")}
    assert len(outcomes) == NUM_SAMPLES + 1
    for place, (red, blue, out) in enumerate(numbers(NUM_SAMPLES)):  # routed by what the server is known to say
        said = [solve("weak", QUESTION.format(red, blue, out), seed) for seed in range(DRAWS)]
        num_right = sum(f"<answer>{red + blue - out}</answer>" in text for text in said)
        row = outcomes[f"q{place}"]
        assert [draw["text"] for draw in row["draws"][:DRAWS]] == said
        assert row["num_right"] == num_right
        first = "too_few_right" if num_right < 3 else None
        assert (row["route"] == "too_few_right") == (first is not None)
        assert (len(row["draws"]) == DRAWS + STRONGER) == (3 <= num_right < 6)

    for row in rows_of(run, "made.jsonl"):
        provenance, text = row["meta"]["reasoning"], row["turns"][-1]["content"][0]
        assert text.endswith(f"<answer>{row['references'][0]}</answer>")
        assert "given answer" not in text and len(text.split()) > 6
        assert provenance["teacher"] == {"kept": "weak", "escalated": "strong"}[provenance["route"]]
        assert len(provenance["outcomes"]) == (DRAWS if provenance["route"] == "kept" else DRAWS + STRONGER)
        assert "Reason step by step" in provenance["prompt"] and len(provenance["teacher_identity"]) == 64
        assert row["tags"]["reasoning"] == provenance["pattern"]
    patterns = step.details["patterns"]
    assert patterns["reflective"] == int(0.3 * step.num_out) and sum(patterns.values()) == step.num_out
    assert step.details["refusals"]["answer_leak"] > 0 and step.details["refusals"]["too_short"] > 0

    cost = step.details["cost"]
    assert cost["weak"]["calls"] == NUM_SAMPLES * DRAWS and cost["weak"]["calls_without_count"] == 0
    tokens = cost["weak"]["prompt_tokens"] + 2 * cost["weak"]["answer_tokens"]
    assert cost["weak"]["price"] == pytest.approx(tokens / 1e6) and cost["strong"]["price"] is None
    assert cost["weak"]["calls"] + cost["strong"]["calls"] == teacher.answered().total()


def test_what_was_there_is_kept_beside_what_is_made(tmp_path: Path, teacher: Teacher) -> None:
    run = finish(write_run(tmp_path, teacher, "beside"))
    rows = rows_of(run, "samples.jsonl")
    direct = [row for row in rows if row["tags"]["reasoning"] == "direct"]
    assert len(direct) == NUM_SAMPLES + 1 and len(rows) == len(direct) + step_of(run).num_out
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.slow
def test_a_killed_synthesis_goes_on_asks_nothing_twice_and_makes_the_same(tmp_path: Path, teacher: Teacher) -> None:
    file = write_run(tmp_path, teacher, "whole")  # in a process that is started in full; the others are forked
    done = subprocess.run([sys.executable, *COMMAND, file, "--quiet"], env=without_proxy(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    whole = file.parent / "runs" / "whole"
    calls = teacher.answered().total()
    teacher.log.unlink()

    file = write_run(tmp_path, teacher, "killed")
    for part in (0.25, 0.6, 0.9):
        process = start(file)
        while process.poll() is None and teacher.answered().total() < part * calls:
            time.sleep(0.005)
        assert process.poll() is None, process.said()
        process.kill()
        process.wait()
    killed = finish(file)

    for name in ("made.jsonl", "faults.jsonl", "outcomes.jsonl", "samples.jsonl"):
        assert rows_of(killed, name) == rows_of(whole, name), name
    assert step_of(killed).details == step_of(whole).details
    answered = teacher.answered()
    assert len(answered) == calls
    # only what was under way at the time of a kill (four questions, and what was answered and not yet stored)
    assert answered.total() - calls <= 3 * 8

    before = answered.total()
    finish(file)
    assert teacher.answered().total() == before


def test_a_teacher_that_is_gone_is_asked_again_by_the_next_run(tmp_path: Path, teacher: Teacher) -> None:
    file = write_run(tmp_path, teacher, "gone")
    document = json.loads(file.read_text())
    lost = document["models"]["strong"]["with"] | {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
    file.write_text(json.dumps({**document, "models": {**document["models"], "strong": {"use": "openai-compatible", "with": lost}}}))  # fmt: skip # noqa: E501
    run = finish(file)
    step = step_of(run)
    assert step.details["routes"]["unanswered"] > 5 and sum(step.details["routes"].values()) == NUM_SAMPLES + 1
    assert not list(run.glob("artifacts/reasoning-*/artifact.json"))
    weak = teacher.answered().total()
    finish(file)
    assert teacher.answered().total() == weak  # what the weak teacher said is kept; only the strong one is asked


def test_the_pass_rate_of_a_model_chooses_samples_of_middling_difficulty(tmp_path: Path, teacher: Teacher) -> None:
    file = write_run(tmp_path, teacher, "rates")
    document = json.loads(file.read_text())
    grader = document.pop("reasoning")["with"]["grader"]
    document["quality"] = {
        "scorers": [{"use": "pass-rate", "with": {"model": "weak", "draws": DRAWS, "grader": grader}}],
        "select": {"use": "minimal-sample", "with": {"budget": 12, "difficulty": "right", "band": [0.25, 0.75]}},
    }
    file.write_text(json.dumps(document))
    run = open_run(finish(file))
    rows = {row.sample.id: row for row in run.samples()}
    for place, (red, blue, out) in enumerate(numbers(NUM_SAMPLES)):
        said = [solve("weak", QUESTION.format(red, blue, out), seed) for seed in range(DRAWS)]
        right = sum(f"<answer>{red + blue - out}</answer>" in text for text in said) / DRAWS
        assert rows[f"q{place}"].scores["pass-rate"].parts["right"] == right
    kept = [row.scores["pass-rate"].parts["right"] for row in rows.values() if row.kept]
    assert len(kept) == 12 and all(0.25 <= (share or 0) <= 0.75 for share in kept)
    assert rows["essay"].rejected == ("unscored",)


def test_what_a_teacher_recalls_of_a_benchmark_is_kept_out(tmp_path: Path) -> None:
    asked = "A man of seventy years comes with sudden pain in the left leg and no pulse: does he need surgery at once?"

    def row(identity: str, question: str, answer: str | None) -> str:
        turns = [{"role": "user", "content": [question]}]
        turns += [{"role": "assistant", "content": [answer]}] if answer else []
        return json.dumps({"id": identity, "turns": turns, "references": ["yes"], "tags": {"language": "en"}})

    train = [row("clean", "Is the artery of the leg closed?", "yes"), row("recalled", "Is this leg urgent?", "yes")]
    (tmp_path / "train.jsonl").write_text("\n".join(train))
    (tmp_path / "test.jsonl").write_text(row("test", asked, None))

    def reply(body: dict[str, Any]) -> tuple[int, str]:
        reasoning = "The limb is cold and has no pulse. A clot blocks the artery, so it is closed."
        if "urgent" in str(body["messages"]):
            reasoning = f"I recall a case. {asked} He does, and this leg is urgent as well."
        return 200, f"{reasoning}\n<answer>yes</answer>"

    def reader(name: str) -> dict[str, Any]:
        return {"use": "jsonl", "with": {"path": str(tmp_path / f"{name}.jsonl")}}

    benchmark = {"use": "questions", "with": {"reader": reader("test")}}
    with judge_server(reply) as server:
        body = {
            "run": {"name": "recalled"},
            "data": {"sources": [reader("train")]},
            "models": {"teacher": {"use": "openai-compatible", "with": {"base_url": server.url, "model": "judge"}}},
            "reasoning": {"use": "rejection-sampling", "with": {"grader": benchmark, "teacher": "teacher"}},
            "evaluation": {"benchmarks": [benchmark], "models": ["teacher"], "compare_to": []},
        }
        record = run_body(body, tmp_path)
    steps = {step.name: step for step in record.steps}
    assert not steps["filter-contamination"].dropped
    assert steps["reasoning"].details["routes"] == {"kept": 2}
    assert steps["reasoning-filter-contamination"].dropped == {"benchmark_text": 1}
