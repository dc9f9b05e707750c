"""A small judge behind a real HTTP server, for tests: it answers well, malformed, not at all, or with an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], tuple[int, str | None]]
"""The body of a chat completion -> status and the text of the reply (``None``: a refusal without text)."""


class Judge:
    """The server's address and every body that it was sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def prompts(self) -> list[str]:
        """The first user turn of every question."""
        return [str(body["messages"][0]["content"]) for body in self.bodies]


@contextmanager
def judge_server(reply: Reply) -> Iterator[Judge]:
    """Serve ``reply`` at /v1/chat/completions on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "judge", "root": "judge-1"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.bodies.append(body)
            status, text = reply(body)
            if status != 200:
                self._send(status, {"error": {"message": "the judge is out of order"}})
                return
            message = {"role": "assistant", "content": text}
            finish = "stop" if text is not None else "content_filter"
            self._send(200, {"choices": [{"index": 0, "message": message, "finish_reason": finish}]})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge = Judge(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
