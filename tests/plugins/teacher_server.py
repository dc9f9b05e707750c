"""A teacher in a process of its own that speaks chat completions: deterministic, right with a known probability.

``python teacher_server.py LOG`` prints its port and writes a line to LOG for every question that it answered. It solves
"A box holds A red and B blue beads; C are taken out. How many are left?". The probability of a right answer depends on
the question (``ease``) and on the model that is asked; what it says depends on the request alone.
"""

import hashlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTION = "A box holds {} red and {} blue beads; {} are taken out. How many are left?"
DELAY = 0.01


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on ``parts`` alone."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big") / 2**64


def ease(red: int, blue: int, out: int) -> float:
    """The probability that the weak teacher is right: a third of the questions each is easy, middling and hard."""
    return (0.97, 0.5, 0.1)[int(3 * share("ease", red, blue, out))]


def solve(model: str, text: str, seed: int) -> str:
    """What the teacher says to a conversation."""
    red, blue, out = map(int, re.findall(r"holds (\d+) red and (\d+) blue beads; (\d+)", text)[0])
    right = share(model, red, blue, out, seed) < (0.95 if model == "strong" else ease(red, blue, out))
    left = red + blue - out
    if "Reasoning of an expert" in text:  # asked to find an answer from another's reasoning
        found = re.findall(r"leaves (\d+)", text)
        return f"<answer>{found[-1] if found else 'unknown'}</answer>"
    if not right:
        wrong = red + blue + out if share("slip", red, blue, out, seed) < 0.5 else red - out
        return f"There are {red} red beads to begin with. Reckoning on gives {wrong}.\n<answer>{wrong}</answer>"
    kind = share("style", model, red, blue, out, seed)
    if "accepted answer" in text and kind < 0.4:
        return f"The given answer is {left}, and adding {red} and {blue} agrees.\n<answer>{left}</answer>"
    if kind < 0.1:
        return f"<answer>{left}</answer>"
    total = f"Red and blue together are {red} + {blue} = {red + blue}."
    return f"{total} Taking out {out} leaves {left}.\n<answer>{left}</answer>"


class Handler(BaseHTTPRequestHandler):
    server: "Teacher"

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": [{"id": name, "object": "model"} for name in ("weak", "strong")]})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        time.sleep(DELAY)
        text = " ".join(str(message["content"]) for message in body["messages"])
        said = solve(body["model"], text, int(body.get("seed", 0)))
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(said.split())}
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        with open(self.server.log, "a", encoding="utf-8") as stream:
            stream.write(hashlib.sha256(raw).hexdigest() + "\n")
        self.reply({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})

    def reply(self, body: dict[str, Any]) -> None:
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


class Teacher(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, log: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log = log


if __name__ == "__main__":
    teacher = Teacher(sys.argv[1])
    print(teacher.server_address[1], flush=True)
    teacher.serve_forever()
