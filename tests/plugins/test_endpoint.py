"""The promises of the openai-compatible model, kept against a real HTTP server that misbehaves on demand."""

import base64
import contextlib
import io
import json
import signal
import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import forked
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from infimed_core import Answer, DataError, Generation, Media, MediaLoader, Request, Turn
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.testing import check_component, make_image
from infimed_plugins.endpoint.model import OpenAICompatible
from infimed_plugins.endpoint.pictures import encoded
from infimed_plugins.http.transport import CallError, Patience, Server, is_loopback, retry_after
from infimed_plugins.image.modality import Image as ImageModality

MEDIA = MediaLoader({"image": ImageModality()})


def reply(text, **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def echo(body, seen):
    """The last text of the conversation, as the answer."""
    content = body["messages"][-1]["content"]
    return 200, reply(content if isinstance(content, str) else content[-1]["text"])


class FakeServer:
    """Answers with ``behave(body, times this question was seen)``; counts what it was asked, and how much at once.

    ``behave`` returns (status, JSON or bytes, headers), or a function of the handler that writes by itself.
    """

    def __init__(self, behave=echo, models=None):
        self.behave, self.models = behave, models
        self.bodies, self.headers, self.paths = [], [], []
        self.seen = Counter()
        self.lock = threading.Lock()
        self.now = self.most = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):
                found = outer.models is not None and self.path == "/v1/models"
                self.send_json(200 if found else 404, outer.models or {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = json.dumps(body["messages"])
                with outer.lock:
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                    outer.seen[question] += 1
                    count = outer.seen[question]
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                try:
                    result = outer.behave(body, count)
                finally:
                    with outer.lock:
                        outer.now -= 1
                if callable(result):
                    result(self)
                else:
                    self.send_json(*result)

            def send_json(self, status, content, headers=()):
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def model(url, **settings):
    quick = {"first_wait_seconds": 0.001, "longest_wait_seconds": 0.01, "max_retries": 3, "timeout_seconds": 20}
    return OpenAICompatible(base_url=url, **{"model": "m", **quick, **settings})


def question(number, **fields):
    return Request(sample_id=str(number), turns=(Turn(role="user", content=(f"question {number}",)),), **fields)


def ask(component, requests, media=MEDIA):
    answers = list(component.load(None).answer(requests, media))
    assert len(answers) == len(requests)
    return {answer.sample_id: answer for answer in answers}


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_was_gone_is_waited_for_once_and_asked_with_patience_again_when_it_answers(monkeypatch):
    tries, is_there = [], [False]

    def exchange(self, path, body=None):
        tries.append(path)
        if not is_there[0]:
            raise CallError("connection_refused", "nothing listens", retry=True, reached=False)
        if len(tries) == 2:
            raise CallError("server_error", "try again", retry=True)
        return reply("fine")

    monkeypatch.setattr(Server, "exchange", exchange)
    loaded = model("http://127.0.0.1:9/v1", max_retries=5, concurrency=1).load(None)
    for expected in (6, 1, 1):  # as every benchmark of a run would ask
        tries.clear()
        errors = [answer.error for answer in loaded.answer([question(n) for n in range(9)], MEDIA)]
        assert len(tries) == expected and len(errors) == 9 and all("nothing listens" in error for error in errors)
    is_there[0] = True
    tries.clear()
    assert [answer.text for answer in loaded.answer([question(n) for n in range(3)], MEDIA)] == ["fine"] * 3
    assert len(tries) == 4  # and the one that failed was asked again


def test_every_question_gets_its_own_answer_and_its_tokens_are_counted():
    with FakeServer() as server:
        answers = ask(model(server.url), [question(n) for n in range(50)])
    expected = {
        str(n): Answer(
            sample_id=str(n), text=f"question {n}", num_prompt_tokens=7, num_answer_tokens=3, finish_reason="stop"
        )
        for n in range(50)
    }
    assert answers == expected
    assert set(server.paths) == {"/v1/chat/completions"}


def test_answers_come_as_they_are_ready():
    gate = threading.Event()

    def behave(body, count):
        if body["messages"][-1]["content"] == "question 0":
            assert gate.wait(300)
        return echo(body, count)

    with FakeServer(behave) as server:
        answers = model(server.url, concurrency=2).load(None).answer([question(n) for n in range(6)], MEDIA)
        early = [next(answers).sample_id for _ in range(5)]
        gate.set()
        assert set(early) == {"1", "2", "3", "4", "5"}
        assert next(answers).sample_id == "0"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_questions_are_under_way_than_allowed_and_no_fewer(concurrency):
    together = threading.Barrier(concurrency)

    def behave(body, count):
        together.wait(60)  # breaks, and so fails, if fewer than the bound ever come at once
        time.sleep(0.005)
        return echo(body, count)

    with FakeServer(behave) as server:
        answers = ask(model(server.url, concurrency=concurrency, max_retries=0), [question(n) for n in range(24)])
    assert all(answer.error is None for answer in answers.values())
    assert server.most == concurrency


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_failing_server_is_asked_again(status):
    def behave(body, count):
        return echo(body, count) if count > 2 else (status, {"error": {"message": "later"}}, {"Retry-After": "0"})

    with FakeServer(behave) as server:
        answers = ask(model(server.url), [question(n) for n in range(5)])
    assert [answers[str(n)].text for n in range(5)] == [f"question {n}" for n in range(5)]
    assert set(server.seen.values()) == {3}


@pytest.mark.parametrize(("status", "code"), [(400, "refused"), (422, "refused"), (401, "not_allowed")])
def test_a_refusal_is_not_repeated_and_says_what_the_server_said(status, code):
    with FakeServer(lambda body, count: (status, {"error": {"message": "no\nsuch thing"}})) as server:
        answer = ask(model(server.url), [question(0)])["0"]
    assert answer.text is None
    assert answer.error.startswith(f"{code}: {server.url} replied {status}: no such thing")
    assert "\n" not in answer.error
    assert list(server.seen.values()) == [1]


def test_a_server_that_always_fails_ends_in_an_error_that_counts_the_tries():
    with FakeServer(lambda body, count: (500, b"Internal Server Error")) as server:
        answer = ask(model(server.url), [question(0)])["0"]
    assert answer.error == f"server_error: {server.url} replied 500: Internal Server Error (tried 4 times)"
    assert list(server.seen.values()) == [4]


def test_one_question_that_the_server_dies_of_does_not_take_the_others_with_it():
    def behave(body, count):
        return (500, {}) if body["messages"][-1]["content"] == "question 3" else echo(body, count)

    with FakeServer(behave) as server:
        answers = ask(model(server.url, concurrency=1), [question(n) for n in range(8)])
    assert [n for n in range(8) if answers[str(n)].error] == [3]


def test_a_server_where_nothing_works_any_more_is_left_alone():
    with FakeServer(lambda body, count: (502, {})) as server:
        answers = ask(model(server.url, concurrency=1), [question(n) for n in range(100)])
    assert all("replied 502" in answer.error for answer in answers.values())
    assert sum(answer.error.startswith("not_asked") for answer in answers.values()) == 97
    assert sum(server.seen.values()) == 3 * 4


def test_a_wrong_key_is_told_once_to_the_server_and_for_every_question_to_the_user(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")

    def behave(body, count):
        return 401, {"error": {"message": "wrong key sk-secret"}}

    with FakeServer(behave) as server:
        component = model(server.url, concurrency=1, api_key_environment="MY_KEY")
        answers = ask(component, [question(n) for n in range(20)])
    assert len(server.bodies) == 1
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert all("MY_KEY" in answer.error and "sk-secret" not in answer.error for answer in answers.values())
    loaded = component.load(None)
    assert "sk-secret" not in repr(component) + component.identity() + repr(loaded.server) + str(loaded.describe())


def test_an_answer_that_takes_too_long_is_an_error_after_one_more_try():
    gate = threading.Event()

    def behave(body, count):
        gate.wait(300)
        return echo(body, count)

    with FakeServer(behave) as server:
        answer = ask(model(server.url, timeout_seconds=0.2, max_retries=5), [question(0)])["0"]
        gate.set()
    assert answer.error == (f"timeout: {server.url} gave no answer within 0.2 s; raise timeout_seconds (tried 2 times)")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>hello</html>", "replied with no JSON: <html>hello</html>"),
        ([], "no JSON object"),
        ({"choices": []}, "no choice with a message"),
        ({"choices": [{"message": None}]}, "no choice with a message"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]}, "finish_reason 'tool_calls'"),
        ({"error": {"message": "inner"}}, "inner"),
    ],
)
def test_a_malformed_reply_is_an_error_and_not_an_answer(content, told):
    with FakeServer(lambda body, count: (200, content)) as server:
        answer = ask(model(server.url), [question(0)])["0"]
    assert answer.text is None and told in answer.error
    assert list(server.seen.values()) == [4 if told == "inner" else 3], "a fault may pass: it is tried again"


def test_a_reply_without_an_answer_is_asked_for_again_before_it_counts():
    def behave(body, count):
        return (200, b"<html>") if count == 1 else (200, reply("")) if count == 2 else echo(body, count)

    with FakeServer(behave) as server:
        answer = ask(model(server.url), [question(0)])["0"]
    assert (answer.text, answer.error) == ("question 0", None)
    with FakeServer(lambda body, count: (200, reply(""))) as server:
        answer = ask(model(server.url), [question(0)])["0"]
    assert (answer.text, answer.error) == ("", None), "a model that says nothing has answered"
    assert list(server.seen.values()) == [3]


def jpeg(orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "Jane Doe, ward 7"
    target = io.BytesIO()
    picture = Image.open(io.BytesIO(make_image(40, 60)))
    picture.save(target, format="JPEG", exif=exif, comment=b"Jane Doe", quality=80, **options)
    return target.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_is_sent_as_it_is_but_for_what_it_says_of_the_patient(options):
    data = jpeg(**options)
    sent = base64.b64decode(encoded(Media(data=data), MEDIA, None, "png").partition("base64,")[2])
    assert b"Jane Doe" in data and b"Jane" not in sent and len(sent) < len(data) and sent[:2] == data[:2]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), MEDIA.load(Media(data=data)))


@pytest.mark.parametrize("data", [jpeg(orientation=6), jpeg() + b"Jane Doe's second picture"])
def test_a_jpeg_that_shows_other_pixels_without_its_metadata_is_made_anew(data):
    uri = encoded(Media(data=data), MEDIA, None, "png")
    sent = base64.b64decode(uri.partition("base64,")[2])
    assert b"Jane" not in sent
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent)).convert("RGB")), MEDIA.load(Media(data=data)))


def test_a_picture_of_many_questions_is_encoded_once(tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(make_image(30, 40))
    opened = []

    class Counting(MediaLoader):
        def load(self, media, at_most=None):
            opened.append(media.uri)
            return super().load(media, at_most)

    turn = Turn(role="user", content=(0, "What is it?"))
    asked = [
        Request(sample_id=str(n), turns=(turn, Turn(role="user", content=(str(n),))), media=(Media(uri=str(path)),))
        for n in range(20)
    ]
    with FakeServer() as server:
        answers = ask(model(server.url), asked, Counting({"image": ImageModality()}))
    assert [answers[str(n)].text for n in range(20)] == [str(n) for n in range(20)]
    assert opened == [str(path)]


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler):
    data = json.dumps(reply("whole")).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])


@pytest.mark.parametrize("fail", [hang_up, half])
def test_a_connection_lost_before_or_in_the_reply_is_tried_again(fail):
    with FakeServer(lambda body, count: fail if count == 1 else echo(body, count)) as server:
        answers = ask(model(server.url), [question(n) for n in range(4)])
    assert [answers[str(n)].text for n in range(4)] == [f"question {n}" for n in range(4)]
    with FakeServer(lambda body, count: fail) as server:
        assert ask(model(server.url), [question(0)])["0"].error.startswith("connection_lost: ")


def test_a_server_that_is_not_there_is_told_with_its_address_and_the_remedy():
    url = f"http://127.0.0.1:{closed_port()}/v1"
    answers = ask(model(url), [question(n) for n in range(200)])
    told = [answer.error for answer in answers.values()]
    assert all(f"nothing listens at {url}; start a server there (`vllm serve MODEL --port" in line for line in told)
    assert all(line.count("(tried 4 times)") == 1 for line in told)
    assert sum(line.startswith("connection_refused") for line in told) <= 16  # the rest does not wait in vain
    with pytest.raises(DataError, match="asked which model is served: connection_refused"):
        model(url, model=None).load(None)


def test_a_redirect_is_not_followed():
    with FakeServer() as other:
        elsewhere = lambda body, count: (307, {}, {"Location": f"{other.url}/chat/completions"})  # noqa: E731
        with FakeServer(elsewhere) as server:
            answer = ask(model(server.url), [question(0)])["0"]
    assert answer.error.startswith("redirected") and other.bodies == []


def test_texts_and_images_keep_the_order_of_the_turn_and_images_lose_nothing():
    pictures = [make_image(30, 40, seed=n) for n in range(2)]
    turns = (
        Turn(role="user", content=("first", 1, "then", 0)),
        Turn(role="assistant", content=("seen",)),
        Turn(role="user", content=("which?",)),
    )
    request = Request(sample_id="s", turns=turns, media=tuple(Media(data=data) for data in pictures))
    with FakeServer() as server:
        assert ask(model(server.url, system="Be brief."), [request])["s"].text == "which?"
    messages = server.bodies[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert (messages[0]["content"], messages[2]["content"]) == ("Be brief.", "seen")
    parts = messages[1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url"]
    assert (parts[0]["text"], parts[2]["text"]) == ("first", "then")
    for part, data in ((parts[1], pictures[1]), (parts[3], pictures[0])):
        head, _, body = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        sent = Image.open(io.BytesIO(base64.b64decode(body)))
        np.testing.assert_array_equal(np.asarray(sent), np.asarray(Image.open(io.BytesIO(data))))


def test_large_images_are_shrunk_and_metadata_stays_at_home():
    target = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "PATIENT DOE"
    Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save(target, "JPEG", exif=exif)
    assert b"PATIENT DOE" in target.getvalue()
    request = question(0, media=(Media(data=target.getvalue()),))
    request = request.model_copy(update={"turns": (Turn(role="user", content=(0, "what?")),)})
    with FakeServer() as server:
        ask(model(server.url, max_image_side=20, image_format="jpeg"), [request])
        ask(model(server.url, max_image_side=300), [request])
    sizes, sent = [], []
    for body in server.bodies:
        sent.append(base64.b64decode(body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]))
        picture = Image.open(io.BytesIO(sent[-1]))
        sizes.append((picture.format, picture.size))
    assert sizes == [("JPEG", (20, 10)), ("JPEG", (100, 50))], "a JPEG that is not shrunk stays one"
    assert all(b"DOE" not in data for data in sent)


def test_a_sample_whose_image_cannot_be_read_is_an_error_and_the_others_are_asked(tmp_path):
    broken = question(1, media=(Media(uri=str(tmp_path / "missing.png")),))
    broken = broken.model_copy(update={"turns": (Turn(role="user", content=(0, "what?")),)})
    absent = broken.model_copy(update={"sample_id": "2", "media": ()})
    with FakeServer() as server:
        answers = ask(model(server.url), [question(0), broken, absent, question(3)])
    assert [answers[name].error is None for name in "0123"] == [True, False, False, True]
    assert "missing.png" in answers["1"].error and answers["2"].error.startswith("missing_media: ")
    assert len(server.bodies) == 2


def test_generation_settings_and_extra_fields_reach_the_server():
    greedy = question(0, generation=Generation(max_new_tokens=5, stop=("\n",)))
    drawn = question(1, generation=Generation(max_new_tokens=5, temperature=0.7, top_p=0.9, seed=3))
    with FakeServer() as server:
        ask(model(server.url, concurrency=1), [greedy, drawn])
        extra = {"temperature": None, "chat_template_kwargs": {"enable_thinking": False}}
        ask(model(server.url, extra_body=extra, max_tokens_name="max_completion_tokens"), [greedy])
    bodies = [{name: body[name] for name in body if name != "messages"} for body in server.bodies]
    common = {"model": "m", "stream": False}
    assert bodies[0] == {**common, "max_tokens": 5, "temperature": 0.0, "stop": ["\n"]}
    assert bodies[1] == {**common, "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "seed": 3}
    assert bodies[2] == {
        **common, "max_completion_tokens": 5, "stop": ["\n"], "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip


def test_reasoning_is_kept_apart_and_an_answer_that_never_began_is_empty():
    replies = {
        "question 0": reply(" B \n", reasoning_content="because"),
        "question 1": {"choices": [{"message": {"content": None, "reasoning": "hm"}, "finish_reason": "length"}]},
        "question 2": reply([{"type": "text", "text": "yes"}]),
    }
    with FakeServer(lambda body, count: (200, replies[body["messages"][-1]["content"]])) as server:
        answers = ask(model(server.url), [question(n) for n in range(3)])
    assert (answers["0"].text, answers["0"].transcript) == ("B", ({"role": "reasoning", "content": "because"},))
    assert (answers["1"].text, answers["1"].num_answer_tokens, answers["1"].finish_reason) == ("", None, "length")
    assert answers["2"].text == "yes"


def test_a_resumed_evaluation_asks_only_what_has_no_answer(tmp_path):
    """The server vanishes in the middle; what it answered is not asked again, and what it did not is."""
    gone = threading.Event()

    def behave(body, count):
        if gone.is_set():
            return hang_up
        if len(server.bodies) > 30:
            gone.set()
            return hang_up
        return echo(body, count)

    requests = [question(n) for n in range(80)]
    with FakeServer(behave) as server:
        loaded = model(server.url, concurrency=4).load(None)
        first = AnswerCache(tmp_path / "cache.jsonl", "m").ask(loaded, MEDIA, requests, lambda count: None)
        answered = {answer.sample_id for answer in first if answer.error is None}
        assert 20 < len(answered) < 40
        server.seen.clear()
        server.behave = echo
        cache = AnswerCache(tmp_path / "cache.jsonl", "m")
        second = cache.ask(loaded, MEDIA, requests, lambda count: None)
        assert [answer.text for answer in second] == [f"question {n}" for n in range(80)]
        assert (cache.num_reused, cache.num_asked) == (len(answered), 80 - len(answered))
        assert sum(server.seen.values()) == 80 - len(answered) and set(server.seen.values()) == {1}
        third = AnswerCache(tmp_path / "cache.jsonl", "m")
        assert third.ask(loaded, MEDIA, requests, lambda count: None) == second and third.num_asked == 0


def test_who_stops_listening_stops_the_asking():
    with FakeServer() as server:
        answers = model(server.url, concurrency=2).load(None).answer([question(n) for n in range(500)], MEDIA)
        next(answers)
        answers.close()
        for thread in threading.enumerate():
            if thread.name.startswith("endpoint-"):
                thread.join(20)
    assert len(server.bodies) < 500


def test_flagged_and_unchecked_samples_stay_on_this_machine_unless_allowed():
    flagged, unchecked = (question(n, tags={"identity": tag}) for n, tag in enumerate(("flagged", "unchecked")))
    remote = "https://models.invalid/v1"
    refused = ask(model(remote, max_retries=0), [unchecked])["1"]
    assert refused.error.startswith("identified: the sample is tagged identity=unchecked")
    refused = ask(model(remote, max_retries=0), [flagged])["0"]
    assert refused.error.startswith("identified: ") and "allow_identified: true" in refused.error
    allowed = ask(model(remote, max_retries=0, allow_identified=True), [flagged])["0"]
    unflagged = ask(model(remote, max_retries=0), [question(1)])["1"]
    for answer in (allowed, unflagged):  # these were tried: the host, which cannot exist, is what failed
        assert not answer.error.startswith("identified")
    with FakeServer() as server:
        assert ask(model(server.url), [flagged])["0"].text == "question 0"


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://localhost:1/v1", True), ("http://127.8.9.1", True),
        ("http://[::1]:8000/v1", True), ("http://LOCALHOST./v1", True), ("http://0.0.0.0/v1", False),
        ("http://localhost.evil.org/v1", False), ("http://10.0.0.1/v1", False), ("http://127.0.0.1.evil.org", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_this_machine(url, own):
    assert is_loopback(url) is own


def test_the_model_may_be_left_out_where_the_server_has_one():
    with FakeServer(models={"data": [{"id": "only"}]}) as server:
        loaded = model(server.url, model=None).load(None)
        assert loaded.model == "only"
        server.models = {"data": [{"id": "a"}, {"id": "b"}]}
        with pytest.raises(DataError, match=r"serves 2 models \(a, b\); name one"):
            model(server.url, model=None).load(None)


def test_identity_follows_what_decides_an_answer_and_nothing_else():
    def identity(url, **settings):
        return model(url, **settings).load(None).identity

    with FakeServer(models={"data": [{"id": "m", "root": "/weights/1", "created": 1}]}) as server:
        base = identity(server.url)
        assert identity(server.url, concurrency=3, max_retries=1, timeout_seconds=9, allow_identified=True) == base
        changed = ({"model": "n"}, {"system": "s"}, {"max_image_side": 9}, {"image_format": "jpeg"})
        others = [identity(server.url, **change) for change in (*changed, {"extra_body": {"top_k": 1}})]
        server.models = {"data": [{"id": "m", "root": "/weights/1", "created": 2}]}
        assert identity(server.url) == base
        server.models = {"data": [{"id": "m", "root": "/weights/2", "created": 2}]}
        others.append(identity(server.url))
        assert len({base, *others}) == len(others) + 1
        quick, slow = model(server.url), model(server.url, concurrency=3)
        assert quick.identity() == slow.identity() != model(server.url, system="s").identity()


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "localhost:8000/v1"}, {"base_url": "ftp://host/v1"}, {"base_url": "http://user:key@host/v1"},
        {"base_url": "http://host/v1?key=1"}, {"extra_body": {"messages": []}}, {"api_key_environment": "sk-123"},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_or_hold_a_key_are_refused(settings):
    with pytest.raises(ValidationError):
        OpenAICompatible(**{"base_url": "http://host/v1", **settings})


def test_the_component_is_offered_pickles_and_cleans_its_address():
    assert load_plugins().find("model", "openai-compatible") is OpenAICompatible
    component = OpenAICompatible(base_url="http://host:1/v1/chat/completions")
    assert check_component(component).base_url == "http://host:1/v1"
    assert OpenAICompatible.trainable is False and component.prepare(None, list, 0) is None


@given(
    attempt=st.integers(0, 10_000), after=st.none() | st.floats(0, 1e6), chance=st.floats(0, 1, exclude_max=True),
    first=st.floats(0, 100), longest=st.floats(0, 100),
)  # fmt: skip
def test_waits_grow_are_bounded_and_honour_the_server(attempt, after, chance, first, longest):
    patience = Patience(3, first, longest)
    wait = patience.wait(attempt, after, chance)
    assert 0 <= wait <= longest
    assert wait >= min(after or 0.0, longest)
    assert patience.wait(attempt + 1, after, chance) >= wait


@given(st.text())
def test_any_retry_after_header_is_read_or_ignored(value):
    found = retry_after(value, datetime(2026, 1, 1, tzinfo=UTC))
    assert found is None or found >= 0


def test_retry_after_takes_seconds_and_dates():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("12", now) == 12
    assert retry_after(format_datetime(now + timedelta(seconds=30), usegmt=True), now) == 30
    assert retry_after(format_datetime(now - timedelta(seconds=30), usegmt=True), now) == 0
    assert retry_after(None, now) is None


def test_another_model_behind_the_same_name_gets_none_of_the_old_answers(tmp_path):
    from infimed_core.testing import run

    told = {
        "run": {"name": "served"},
        "model": {"use": "openai-compatible"},
        "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 3},
    }
    with FakeServer(models={"data": [{"id": "m", "root": "/weights/1", "created": 1}]}) as server:
        told["model"]["with"] = {"base_url": server.url, "model": "m"}
        record = run(told, tmp_path)
        asking = next(step.details["asking"] for step in record.steps if step.name == "evaluate-base-demo-text")
        assert asking["served"] == {"id": "m", "root": "/weights/1"} and asking["system"] is None
        told["evaluation"]["limit"] = 4
        server.models["data"][0]["created"] = 2
        run(told, tmp_path)
        assert len(server.bodies) == 4, "three answers stand"
        told["evaluation"]["limit"] = 5
        server.models["data"][0]["root"] = "/weights/2"
        run(told, tmp_path)
        assert len(server.bodies) == 4 + 5, "and none of another model's"


def test_a_run_killed_with_kill_9_asks_again_only_what_was_under_way(tmp_path):
    slow = 0.05

    def behave(body, seen):
        time.sleep(slow)
        return echo(body, seen)

    with FakeServer(behave) as server:
        told = {
            "run": {"name": "killed", "directory": str(tmp_path)},
            "model": {
                "use": "openai-compatible", "with": {"base_url": server.url, "model": "m", "concurrency": 4},
            },
            "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 60},
        }  # fmt: skip
        (tmp_path / "run.yaml").write_text(json.dumps(told))
        command = ["-m", "infimed_core", tmp_path / "run.yaml", "--quiet"]

        def stored():
            lines = [line for path in tmp_path.glob("killed/cache/*.jsonl") for line in path.read_text().splitlines()]
            return sum(line.endswith("}") for line in lines)

        first = forked.start(command)
        while stored() < 20:
            assert first.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        first.wait()
        kept, slow = stored(), 0.0
        with server.lock:
            before = Counter(server.seen)
        assert 20 <= kept < 60
        assert forked.finish(command).returncode == 0
        answers = (tmp_path / "killed/answers/demo-text--base.jsonl").read_text().splitlines()
        assert len(answers) == 60 and all(json.loads(line)["answer"]["error"] is None for line in answers)
        again = [question for question, count in server.seen.items() if question in before and count > before[question]]
        assert len(again) <= 4 + 1, "only questions under way, and one whose line was half written"
        assert sum(server.seen.values()) <= len(server.seen) + 4 + 1


def test_check_asks_every_server_one_question(tmp_path):
    from infimed_plugins.reporting.check import connections

    def plan(*addresses):
        models = {
            f"m{number}": {"use": "openai-compatible", "with": {"base_url": address, "model": "m"}}
            for number, address in enumerate(addresses)
        }
        evaluation = {"models": list(models), "benchmarks": [{"use": "demo-text"}]}
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps({"run": {"name": "x"}, "models": models, "evaluation": evaluation}))
        return load_run_file(path, load_plugins())

    with FakeServer(lambda body, count: (200, reply("ready"))) as server:
        said, num_unreachable = connections(plan(server.url))
        assert f"models.m0: {server.url} answers as 'm': 'ready'" in "".join(said) and num_unreachable == 0
        assert len(server.bodies) == 1
        said, num_unreachable = connections(plan(server.url, "http://127.0.0.1:9/v1"))
        assert "models.m1: http://127.0.0.1:9/v1 does not answer: connection_refused" in "".join(said)
        assert num_unreachable == 1
