"""A panel that is killed goes on without asking anything twice, over a real HTTP server in a real second process."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forked
import pytest

NUM_QUESTIONS = 6
NUM_SPECIALISTS = 2
CALLS = NUM_QUESTIONS * (2 * NUM_SPECIALISTS + 1)
"""Two rounds and the chair: the server never gives two equal conclusions, so that no case is closed early."""


class Server(ThreadingHTTPServer):
    """Speaks chat completions; remembers every body it answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered: Counter[bytes] = Counter()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.03)
        text = f"<answer>opinion {hash(body)}</answer>"
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self.reply({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})
        self.server.answered[body] += 1

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def reply(self, body: object) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # whoever asked was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def start(file: Path) -> forked.Forked:
    command = ["-c", "from infimed_core.cli import run_main; run_main()", file, "--quiet"]
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return forked.start(command, environment)


def test_a_killed_panel_goes_on_and_asks_nothing_twice(server: Server, tmp_path: Path) -> None:
    address = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "model": "m", "concurrency": 1}
    panel = {"specialists": ["surgery", "oncology"], "rounds": 1, "role_models": {"oncology": "other"}}
    document = {
        "run": {"name": "killed", "directory": str(tmp_path / "runs")},
        "model": {"use": "openai-compatible", "with": address},
        "models": {"other": {"use": "openai-compatible", "with": {**address, "system": "other"}}},
        "evaluation": {
            "benchmarks": [
                {"use": "mdt-cases", "with": {"images": False}, "solver": {"use": "mdt-panel", "with": panel}}
            ],
            "limit": NUM_QUESTIONS,
            "compare_to": [],
        },
    }
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(document))
    first = start(file)
    while first.poll() is None and server.answered.total() < CALLS // 2:
        time.sleep(0.01)
    assert first.poll() is None, first.said()
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = server.answered.total()
    assert CALLS // 2 <= before < CALLS
    second = start(file)
    assert second.wait(timeout=600) == 0, second.said()
    lines = (tmp_path / "runs" / "killed" / "answers" / "mdt-cases--base.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert [answer["num_calls"] for answer in answers] == [2 * NUM_SPECIALISTS + 1] * NUM_QUESTIONS
    assert [answer["num_prompt_tokens"] for answer in answers] == [7 * (2 * NUM_SPECIALISTS + 1)] * NUM_QUESTIONS
    assert [len(answer["transcript"]) for answer in answers] == [2 * NUM_SPECIALISTS + 1] * NUM_QUESTIONS
    # What was under way when the run was killed, one question of each of the two models, may have reached the server
    # without coming back; everything else is asked once.
    assert sum(count - 1 for count in server.answered.values()) <= 2
    assert server.answered.total() <= CALLS + 2 and len(server.answered) == CALLS


@pytest.mark.parametrize(
    ("solver", "settings", "calls"),
    [
        ("medagents", {"question_experts": 2, "option_experts": 0, "max_revisions": 1}, 5),
        ("mdagents", {"complexity": "moderate", "experts": 2, "rounds": 1}, 6),
        ("reconcile", {"agents": ["graded", "other"], "rounds": 1}, 4),
    ],
)
def test_published_teams_are_killed_and_go_on_alike(
    server: Server, tmp_path: Path, solver: str, settings: dict[str, object], calls: int
) -> None:
    address = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "model": "m", "concurrency": 1}
    document = {
        "run": {"name": "killed", "directory": str(tmp_path / "runs")},
        "model": {"use": "openai-compatible", "with": address},
        "models": {"other": {"use": "openai-compatible", "with": {**address, "system": "other"}}},
        "evaluation": {
            "benchmarks": [
                {"use": "mdt-cases", "with": {"images": False}, "solver": {"use": solver, "with": settings}}
            ],
            "limit": NUM_QUESTIONS,
            "compare_to": [],
        },
    }
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(document))
    first = start(file)
    while first.poll() is None and server.answered.total() < NUM_QUESTIONS * 2:
        time.sleep(0.01)
    assert first.poll() is None, first.said()
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(file)
    assert second.wait(timeout=600) == 0, second.said()
    lines = (tmp_path / "runs" / "killed" / "answers" / "mdt-cases--base.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    # the server's answers are all different and no report is objected to: every case takes the longest way but that one
    assert [answer["num_calls"] for answer in answers] == [calls] * NUM_QUESTIONS
    assert [len(answer["transcript"]) for answer in answers] == [calls] * NUM_QUESTIONS
    assert sum(count - 1 for count in server.answered.values()) <= 1
