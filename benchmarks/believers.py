"""Servers with known beliefs: what they say differs, how often they are right does not, and that must be found."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from infimed_core.records import Run, open_run
from infimed_core.testing import make_image, run

LETTERS = "ABCD"
DISEASES = (
    "pneumonia", "sarcoidosis", "tuberculosis", "pulmonary embolism", "asthma", "lung cancer", "pleural effusion",
    "heart failure", "bronchiectasis", "cystic fibrosis", "silicosis", "pneumothorax",
)  # fmt: skip
CASE = re.compile(r"\[(?P<set>\w+) (?P<number>\d+)\]")
Reply = tuple[str, dict[str, Any], str]
"""What is said, more of the message, and how it ended."""


@dataclass(frozen=True)
class Question:
    """A question of a set: its options and the number of the right one."""

    options: tuple[str, ...]
    right: int


def make_questions(num: int) -> dict[str, list[Question]]:
    """Three sets of ``num`` questions: yes, no or maybe; four diseases; yes or no about an image."""
    draw = random.Random(7)
    decisions = [Question(("yes", "no", "maybe"), draw.choices((0, 1, 2), (55, 34, 11))[0]) for _ in range(num)]
    diseases = [Question(tuple(draw.sample(DISEASES, 4)), draw.randrange(4)) for _ in range(num)]
    images = [Question(("yes", "no"), draw.choices((0, 1), (60, 40))[0]) for _ in range(num)]
    return {"pubmedqa": decisions, "medqa": diseases, "images": images}


def write_questions(folder: Path, sets: dict[str, list[Question]]) -> list[dict[str, Any]]:
    """The sets in the layouts that they are downloaded in, and the benchmarks of a run file that read them."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {str(n): f"[pubmedqa {n}] Does the treatment help?" for n in range(len(sets["pubmedqa"]))}
    decisions = {str(n): question.options[question.right] for n, question in enumerate(sets["pubmedqa"])}
    rows = {n: {"QUESTION": text[n], "CONTEXTS": ["A study."], "final_decision": decisions[n]} for n in text}
    (folder / "ori_pqal.json").write_text(json.dumps(rows))
    (folder / "test_ground_truth.json").write_text(json.dumps(decisions))
    medqa = folder / "medqa"
    medqa.mkdir(exist_ok=True)
    with (medqa / "test.jsonl").open("w") as stream:
        for n, question in enumerate(sets["medqa"]):
            options = dict(zip(LETTERS, question.options, strict=True))
            row = {"question": f"[medqa {n}] Which disease is it?", "options": options}
            stream.write(json.dumps({**row, "answer_idx": LETTERS[question.right]}) + "\n")
    for number in range(20):
        (folder / f"scan-{number}.png").write_bytes(make_image(seed=number))
    with (folder / "images.jsonl").open("w") as stream:
        for n, question in enumerate(sets["images"]):
            asked = {"role": "user", "content": [0, f"[images {n}] Is there an effusion?"]}
            said = {"role": "assistant", "content": [question.options[question.right]]}
            media = [{"uri": str(folder / f"scan-{n % 20}.png")}]
            stream.write(json.dumps({"id": f"image-{n}", "turns": [asked, said], "media": media}) + "\n")
    own = {"reader": {"use": "jsonl", "with": {"path": str(folder / "images.jsonl")}}}
    return [
        {"use": "pubmedqa", "with": {"path": str(folder)}},
        {"use": "medqa-usmle", "with": {"path": str(medqa)}},
        {"use": "questions", "name": "images", "with": own},
    ]


@dataclass(frozen=True)
class Believer:
    """A model: how often it is right, and how it says what it believes (letter, text, draws) -> reply."""

    share: float
    say: Callable[[str, str, random.Random], Reply]
    luck: str = "shared"
    """Whose draws decide where it is right: models that share them believe the same, as far as they are as good."""

    def belief(self, name: str, number: int, question: Question) -> int:
        """The option that it believes in."""
        draw = random.Random(f"{self.luck} {name} {number}")
        if draw.random() < self.share:
            return question.right
        return draw.choice([n for n in range(len(question.options)) if n != question.right])

    def reply(self, name: str, number: int, question: Question) -> Reply:
        """What it says to a question, always the same."""
        option = self.belief(name, number, question)
        letter = LETTERS[option] if name != "images" else question.options[option]
        return self.say(letter, question.options[option], random.Random(f"style {name} {number}"))


def terse(letter: str, text: str, draw: random.Random) -> Reply:
    """The answer alone."""
    return letter, {}, "stop"


def in_other_words(letter: str, text: str, draw: random.Random) -> Reply:
    """The same in a sentence."""
    said = (f"The answer is {letter}.", f"**{letter}**", f"Answer: {letter}", f"{text.capitalize()}.")
    return draw.choice(said), {}, "stop"


def chain_of_thought(letter: str, text: str, draw: random.Random) -> Reply:
    """Weighs the other possibilities, and says at the end what it believes."""
    thought = "Let us think step by step. The history fits several options, and none can be left out at first sight."
    return f"{thought}\nWeighing the findings one by one, the best fit is clear.\n\nFinal answer: {letter}", {}, "stop"


def chatty(letter: str, text: str, draw: random.Random) -> Reply:
    """Refuses one question in twenty and is cut off in one of twenty-five."""
    luck = draw.random()
    if luck < 0.05:
        return "I'm sorry, but I cannot help with medical questions.", {}, "stop"
    if luck < 0.09:
        return "That is an interesting question. Let us first look at everything that is known about", {}, "length"
    return f"Great question! Taking everything into account, I would say the answer is {letter}.", {}, "stop"


def reasoning_apart(letter: str, text: str, draw: random.Random) -> Reply:
    """Thinks where the server keeps it apart, and considers other letters there."""
    return letter, {"reasoning_content": "It may be A, or B. Hmm, no: yes? Let me see ..."}, "stop"


BELIEVERS = {
    "terse": Believer(0.70, terse),
    "other-words": Believer(0.70, in_other_words),
    "chain-of-thought": Believer(0.70, chain_of_thought),
    "chatty": Believer(0.70, chatty),
    "faulty": Believer(0.70, terse),
    "reasoning-apart": Believer(0.70, reasoning_apart),
    "three-better": Believer(0.73, terse),
    "blind": Believer(0.0, lambda letter, text, draw: ("A" if len(letter) == 1 else "yes", {}, "stop")),
}


def truth(believer: Believer, name: str, questions: list[Question]) -> float:
    """The share of questions that its replies answer rightly; a refusal and a cut answer do not."""
    right = 0
    for number, question in enumerate(questions):
        said, _, ended = believer.reply(name, number, question)
        answered = ended == "stop" and "sorry" not in said
        believed = believer.belief(name, number, question) if believer.share else 0  # "A" and "yes" come first
        right += answered and believed == question.right
    return right / len(questions)


@contextmanager
def served(sets: dict[str, list[Question]]) -> Iterator[str]:
    """All believers behind one address, each a model of it; ``faulty`` fails first at every third question."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:  # the list of models
            self.send(200, {"data": [{"id": name} for name in BELIEVERS]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = body["messages"][-1]["content"]
            text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
            found = CASE.search(text)
            assert found is not None, text
            name, number = found["set"], int(found["number"])
            with lock:
                seen[body["model"] + found[0]] += 1
                tries = seen[body["model"] + found[0]]
            if body["model"] == "faulty" and number % 3 == 0 and tries == 1:
                faults = (500, {"error": "busy"}), (200, None), (200, message("", {}, "stop"))
                return self.send(*faults[number // 3 % 3])
            return self.send(200, message(*BELIEVERS[body["model"]].reply(name, number, sets[name][number])))

        def send(self, status: int, body: Any) -> None:
            data = b"<html>busy</html>" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def message(text: str, more: dict[str, Any], ended: str) -> dict[str, Any]:
    """A chat completion."""
    usage = {"prompt_tokens": 20, "completion_tokens": 5}
    return {"choices": [{"message": {"content": text, **more}, "finish_reason": ended}], "usage": usage}


def ask_believers(folder: Path, num: int) -> tuple[Run, dict[str, list[Question]]]:
    """A run in which every believer is asked all three sets."""
    sets = make_questions(num)
    benchmarks = write_questions(folder / "data", sets)
    with served(sets) as address:
        settings = {"base_url": address, "first_wait_seconds": 0.001, "longest_wait_seconds": 0.01}
        models = {name: {"use": "openai-compatible", "with": {**settings, "model": name}} for name in BELIEVERS}
        evaluation = {"benchmarks": benchmarks, "models": list(BELIEVERS), "breakdowns": False}
        run({"run": {"name": "believers"}, "models": models, "evaluation": evaluation}, folder)
    return open_run(folder / "runs" / "believers"), sets


def rate_of_finding(num: int, shares: tuple[float, float], trials: int) -> tuple[float, float]:
    """How often McNemar's test tells the better of two models, and how often its exact power says that it does.

    Of half of the questions the better model knows all that the worse one knows; of the others each knows its own.
    """
    from infimed_core.evaluate.mcnemar import exact_power
    from infimed_core.evaluate.paired_comparison import mean_difference

    draw = np.random.default_rng(3)
    told = 0
    for _ in range(trials):
        luck = draw.random(num)
        other = draw.random(num)
        first = luck < shares[0]
        # every other question is luck of the second model's own
        second = np.where(draw.random(num) < 0.5, other, luck) < shares[1]
        found = mean_difference(second.astype(float), first.astype(float), [str(n) for n in range(num)])
        told += found is not None and found.p_value < 0.05
    # the share on which they differ, and the true difference
    gain = shares[1] - shares[0]
    apart = 0.5 * gain + 0.5 * (shares[0] * (1 - shares[1]) + shares[1] * (1 - shares[0]))
    return told / trials, exact_power(num, apart, gain)
