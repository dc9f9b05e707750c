"""Servers are asked side by side; one that fails costs its own column; pictures are taken away by default."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infimed_core.evaluate import evaluation
from infimed_core.records import open_run
from infimed_core.testing import make_image, run


@contextmanager
def served(together: int = 0) -> Iterator[tuple[str, list[tuple[str, bool]], list[int]]]:
    """A server of several models: its address, who was asked and whether with a picture, and how many at once."""
    asked: list[tuple[str, bool]] = []
    at_once, seen = [0], set[str]()
    lock, meeting = threading.Lock(), threading.Barrier(max(together, 1), timeout=60.0)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["model"]
            with lock:
                asked.append((name, "image_url" in json.dumps(body["messages"])))
                is_first = name not in seen
                seen.add(name)
            if together and is_first:  # the first question to each model waits for those to the others
                meeting.wait()
                at_once[0] = together
            status = 400 if name == "broken" else 200
            message = {"message": {"content": "yes"}, "finish_reason": "stop"}
            text = json.dumps({"choices": [message], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked, at_once
    finally:
        server.shutdown()
        server.server_close()


def document(tmp_path: Path, address: str, *models: str, num: int = 6, **evaluation: Any) -> dict[str, Any]:
    rows = []
    for number in range(num):
        (tmp_path / f"{number}.png").write_bytes(make_image(seed=number))
        turns = [
            {"role": "user", "content": [0, f"Is it {number}?"]},
            {"role": "assistant", "content": ["yes" if number % 2 else "no"]},
        ]
        rows.append(
            {"id": f"q{number}", "turns": turns, "media": [{"kind": "image", "uri": str(tmp_path / f"{number}.png")}]}
        )
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}
    settings = {"base_url": address, "max_retries": 0, "concurrency": 1}
    return {
        "run": {"name": "side"},
        "models": {name: {"use": "openai-compatible", "with": {**settings, "model": name}} for name in models},
        "evaluation": {
            "models": list(models),
            "benchmarks": [{"use": "questions", "with": {"reader": reader}}],
            **evaluation,
        },
        "report": [{"use": "html", "with": {"prices": {"one": {"prompt": 100, "answer": 1000}}}}],
    }


def test_servers_are_asked_at_the_same_time_and_their_results_keep_their_order(tmp_path: Path) -> None:
    with served(together=3) as (address, _, at_once):
        record = run(document(tmp_path, address, "one", "two", "three", baselines=[]), tmp_path)
    assert at_once[0] == 3
    assert [row.model for row in record.results if not row.group] == ["one", "two", "three", "most-common-answer"]
    assert [step.status for step in record.steps if step.kind == "evaluate"] == ["done"] * 3


def test_a_server_that_fails_costs_its_own_column(tmp_path: Path) -> None:
    with served() as (address, _, _):
        record = run(document(tmp_path, address, "one", "broken", "two", baselines=[]), tmp_path)
    values = {row.model: row.metrics["accuracy"] for row in record.results if not row.group}
    assert (values["one"].value, values["two"].value) == (0.5, 0.5) and values["broken"].value is None
    assert record.status == "done" and "broken on questions: 6 of 6 questions have no answer" in (record.error or "")


def test_questions_with_pictures_are_asked_again_without_them_unless_the_file_says_no(tmp_path: Path) -> None:
    with served() as (address, asked, _):
        record = run(document(tmp_path, address, "one"), tmp_path)
        assert sorted(asked) == [("one", False)] * 6 + [("one", True)] * 6
        assert ("one", "one-image-blind") in {(one.model, one.against) for one in record.comparisons}
        page = (tmp_path / "runs/side/report.html").read_text()
        assert "one is not shown to be better than itself without the images on questions" in page
        asked.clear()
        off = document(tmp_path, address, "one", baselines=[], reuse_answers=False)
        record = run({**off, "run": {"name": "off"}}, tmp_path)
        assert asked == [("one", True)] * 6 and not any("blind" in row.model for row in record.results)


def test_no_more_questions_are_asked_blind_than_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, "MOST_BLIND", 4)
    with served() as (address, asked, _):
        record = run(document(tmp_path, address, "one"), tmp_path)
    assert sum(not seen for _, seen in asked) == 4
    blind = next(one for one in record.comparisons if one.against == "one-image-blind")
    assert blind.num_pairs == 4


def test_the_page_adds_up_tokens_and_money(tmp_path: Path) -> None:
    with served() as (address, _, _):
        run(document(tmp_path, address, "one", "two", baselines=[]), tmp_path)
    from infimed_plugins.reporting.page.prices import prices_of, read_prices
    from infimed_plugins.reporting.page.result_sections import asking

    record = open_run(tmp_path / "runs/side").record
    rows = {row[:2]: row[2:] for row in asking(record, prices_of(record, read_prices(["two=1/2"])))}
    assert rows["one", "questions"][:4] == (6, 6, 60, 12)
    assert rows["one", "questions"][-1] == (60 * 100 + 12 * 1000) / 1e6
    assert rows["two", "questions"][-1] == (60 * 1 + 12 * 2) / 1e6
    assert rows["all", "all"][:4] == (12, 12, 120, 24) and rows["all", "all"][-1] == 0.018 + 84 / 1e6
    assert "Money" in (tmp_path / "runs/side/report.html").read_text()
