"""A server of OpenAI's chat completions as a process of its own, for documents; it prints its port."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl", "Qwen/Qwen3-32B", "xVerify-0.5B-I", "NAME")


class Handler(BaseHTTPRequestHandler):
    """Answers every question with its last word that stands in a list of plain answers."""

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": name} for name in NAMES]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": reply(body)}
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        self._send({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def _send(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Be silent."""


def reply(body: dict[str, Any]) -> str:
    """The first of a few words that the question holds, else an option's letter."""
    last = body["messages"][-1]["content"]
    text = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)
    return next((word for word in ("axial", "MRI", "right", "Yes") if word.lower() in text.lower()), "B")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
