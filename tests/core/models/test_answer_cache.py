"""Answers do not depend on what was answered before: a run that goes on draws what the unbroken one would have."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from infimed_core import Answer, Generation, LoadedModel, MediaLoader, Request, Turn
from infimed_core.models.answer_cache import AnswerCache

NO_MEDIA = MediaLoader({})


class Drawing(LoadedModel):
    """Answers with the name it is asked under, as a sampler that seeds itself from it would."""

    identity = "drawing"

    def __init__(self) -> None:
        self.num_asked = 0

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            self.num_asked += 1
            yield Answer(sample_id=request.sample_id, text=f"drawn by {request.sample_id}")


def request(name: str, text: str, seed: int = 0, **tags: str) -> Request:
    generation = Generation(temperature=1.0, seed=seed)
    return Request(sample_id=name, turns=(Turn(role="user", content=(text,)),), generation=generation, tags=tags)


def ask(path: Path, model: LoadedModel, requests: Sequence[Request]) -> list[Answer]:
    return AnswerCache(path, "m").ask(model, NO_MEDIA, requests, lambda count: None)


def test_a_run_that_goes_on_gives_the_samples_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    requests = [request("a", "one", seed) for seed in range(3)] + [request("b", "two", seed) for seed in range(3)]
    whole = ask(tmp_path / "whole.jsonl", Drawing(), requests)
    ask(tmp_path / "part.jsonl", Drawing(), requests[2:4])
    resumed = ask(tmp_path / "part.jsonl", Drawing(), requests)
    assert resumed == whole
    assert len({answer.text for answer in whole}) == 6
    assert [answer.sample_id for answer in whole] == ["a", "a", "a", "b", "b", "b"]


def test_the_same_question_asked_twice_at_once_is_sent_once_and_other_tags_are_another_question(tmp_path: Path) -> None:
    model = Drawing()
    requests = [request("a", "one"), request("b", "one"), request("c", "one", identity="flagged")]
    answers = ask(tmp_path / "cache.jsonl", model, requests)
    assert model.num_asked == 2
    assert [answer.sample_id for answer in answers] == ["a", "b", "c"]
    assert answers[0].text == answers[1].text


def test_an_answer_that_was_damaged_or_cut_is_asked_again_and_no_other(tmp_path: Path) -> None:
    requests = [request("a", text) for text in ("one", "two", "three")]
    whole = ask(tmp_path / "cache.jsonl", Drawing(), requests)
    content = (tmp_path / "cache.jsonl").read_bytes()
    for place in range(0, len(content), 7):
        for damaged in (content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], content[:place]):
            path = tmp_path / f"{place}-{len(damaged)}.jsonl"
            path.write_bytes(damaged)
            model = Drawing()
            assert ask(path, model, requests) == whole
            again = Drawing()
            assert ask(path, again, requests) == whole and again.num_asked == 0
            assert model.num_asked <= (2 if len(damaged) == len(content) else 3)


def test_answers_that_an_earlier_version_kept_are_used(tmp_path: Path) -> None:
    whole = ask(tmp_path / "cache.jsonl", Drawing(), [request("a", "one")])
    body = json.loads((tmp_path / "cache.jsonl").read_text())
    del body["check"]
    (tmp_path / "cache.jsonl").write_text(json.dumps(body) + "\n")
    model = Drawing()
    assert ask(tmp_path / "cache.jsonl", model, [request("a", "one")]) == whole and model.num_asked == 0
