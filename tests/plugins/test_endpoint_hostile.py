"""What a hostile or broken server, a bad key or a bad name cannot do to the `openai-compatible` model."""

import base64
import html
import importlib.util
import json
import re
import socket
import time
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import DataError, Generation, InfimedError
from infimed_plugins.http.addresses import is_loopback
from infimed_plugins.http.secrets import MASK, Secret, read_key
from infimed_plugins.reinforcement.server import RolloutServer, ServerDraws

spec = importlib.util.spec_from_file_location("endpoint_servers", Path(__file__).with_name("test_endpoint.py"))
assert spec is not None and spec.loader is not None
servers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(servers)
FakeServer, ask, model, question, reply = (
    servers.FakeServer, servers.ask, servers.model, servers.question, servers.reply,
)  # fmt: skip

KEY = "sk-live-9Qx7Lm2Vb4Tz8/Rk+1Wy6Hd3Pf5Ns0Jc"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)


def shown(behave, models=None) -> str:
    """Everything of an answer that can be kept or shown."""
    with FakeServer(behave, models) as server:
        component = model(server.url, api_key_environment="MY_KEY", max_retries=0)
        answers = ask(component, [question(1)])
        return answers["1"].model_dump_json() + str(component.load(None).describe()) + component.load(None).identity


def gives_away(text: str, letters: int = 8) -> bool:
    def pieces(of: str) -> list[str]:
        return [of[start : start + letters] for start in range(len(of) - letters + 1)]

    letters_alone = "".join(filter(str.isalnum, text)).lower()
    unpacked = "".join(
        base64.b64decode(word[: len(word) // 4 * 4]).decode("latin-1")
        for word in re.findall(r"[A-Za-z0-9+/]{16,}", text)
    )
    bare = "".join(filter(str.isalnum, KEY)).lower()
    return any(piece in text + unpacked for piece in pieces(KEY)) or any(p in letters_alone for p in pieces(bare))


SPELT = {
    "plain": KEY,
    "quoted": urllib.parse.quote(KEY, safe=""),
    "escaped": html.escape(KEY),
    "upper": KEY.upper(),
    "cut at its end": KEY[:30],
    "cut at its start": KEY[7:],
    "a middle": KEY[5:20],
    "a middle in capitals": KEY[3:25].upper(),
    "spaced": " ".join(KEY),
    "cut by signs of no width": "\u200b".join(KEY[start : start + 4] for start in range(0, len(KEY), 4)),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of its header": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "backwards": KEY[::-1],
    "every letter quoted": "".join(f"%{ord(letter):02X}" for letter in KEY),
    "a middle, every letter quoted": "".join(f"%{ord(letter):02x}" for letter in KEY[4:18]),
    "hexadecimal, in columns": " ".join(f"{ord(letter):02x}" for letter in KEY),
    "escaped for a program": "".join(f"\\x{ord(letter):02x}" for letter in KEY),
    "escaped twice for JSON": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "escaped by numbers": "".join(f"&#{ord(letter)};" for letter in KEY),
    "escaped by hexadecimal numbers": "".join(f"&#x{ord(letter):X};" for letter in KEY),
    "base64 within a text": base64.b64encode(f"key: {KEY}!".encode()).decode(),
}


PLACES = ["401", "500", "text", "refusal", "reasoning", "finish", "error", "no json", "location", "name", "parts"]
DISGUISED = list(SPELT)[7:]
"""They are looked for in one place of code, so that three places of a reply are enough."""


@pytest.mark.parametrize(
    ("spelt", "place"),
    [(spelt, place) for spelt in SPELT for place in (PLACES[:3] if spelt in DISGUISED else PLACES)],
)
def test_no_part_of_a_reply_shows_the_key_or_a_piece_of_it(spelt: str, place: str) -> None:
    said = SPELT[spelt]
    before = "x" * 185  # where a cut at 200 letters falls into the key

    def behave(body, count):
        whole = reply("fine")
        choice = whole["choices"][0]
        if place in ("401", "500"):
            return int(place), {"error": {"message": f"{before} {said}"}}
        if place == "no json":
            return 200, f"{before} {said}".encode()
        if place == "location":
            return 302, {}, {"Location": f"http://elsewhere/?key={said}"}
        if place == "text":
            choice["message"]["content"] = f"the key is {said}"
        elif place == "parts":
            halves = said[: len(said) // 2], said[len(said) // 2 :]
            choice["message"]["content"] = [{"type": "text", "text": half} for half in halves]
        elif place in ("refusal", "reasoning"):
            choice["message"] |= {"content": None, place: f"{before}{said}"}
        elif place == "finish":
            choice["finish_reason"] = said
        elif place == "error":
            return 200, {"error": {"message": before + said, said: [said]}}
        elif place == "name":
            choice["message"] = {said: said}
        return 200, whole

    models = {"data": [{"id": "m", "root": f"weights {said}", "revision": said}]}
    text = shown(behave, models)
    assert not gives_away(text) and not gives_away(text.lower()) and said not in text


@given(st.text(min_size=8, max_size=60, alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E)), st.text())
def test_what_is_hidden_is_gone_wherever_it_stands(key: str, around: str) -> None:
    hidden = Secret(key).hide(around + key + around[::-1])
    assert key not in hidden
    assert key not in json.dumps(Secret(key).hide_in({around + key: [key, {"a": key + around}]}))


@given(st.text())
def test_a_text_without_the_key_stays_as_it_is(text: str) -> None:
    assert Secret(KEY).hide(text) == text
    assert Secret("EMPTY").hide("the chamber is EMPTY " + text) == "the chamber is EMPTY " + text
    assert MASK not in repr(Secret(KEY)) and KEY not in repr(Secret(KEY))


@pytest.mark.parametrize(
    "bad", [f"{KEY}\n", f"{KEY}\nX-Other: 1", f"\r{KEY}", f"{KEY[:5]} {KEY}", f"{KEY}é", f"\0{KEY}"]
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="MY_KEY") as error:
        read_key(bad, "MY_KEY")
    assert not gives_away(str(error.value)) and error.value.__cause__ is None
    if "\0" not in bad:
        monkeypatch.setenv("MY_KEY", bad)
        with pytest.raises(DataError, match="MY_KEY"):
            model("http://127.0.0.1:1/v1", api_key_environment="MY_KEY").load(None)


@pytest.mark.parametrize(
    "address",
    ["http://h:99999/v1", "http://h:0/v1", "http://h:-1/", "http://h:80a/", "http:// h/", "http://h\n.x/v1",
     "http://[::1", "http://" + "a" * 70 + ".com/v1", "http://a..b/v1", "http://user:pw123456@h/v1",
     "http://h/v1?key=pw123456"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_before_anything_is_asked(address: str) -> None:
    with pytest.raises(ValueError, match="base_url") as error:
        model(address)
    assert "pw123456" not in str(error.value)


@pytest.mark.parametrize("count", [-5, True, "7", 10**30, None])
def test_a_count_of_tokens_that_is_none_is_not_kept(count: object) -> None:
    def behave(body, number):
        return 200, {**reply("fine"), "usage": {"prompt_tokens": count, "completion_tokens": count}}

    with FakeServer(behave) as server:
        answer = ask(model(server.url), [question(1)])["1"]
    assert answer.text == "fine" and answer.num_prompt_tokens is None and answer.num_answer_tokens is None


def test_an_empty_key_is_none() -> None:
    assert read_key("", "K") is None and read_key(" \n", "K") is None and read_key(KEY, "K") == KEY


@pytest.mark.parametrize(
    "name",
    ["identity", "Identity", " identity ", "IDENTITY", "ｉdentity", "identity\u200b", "ıdentıty", "\ufeffidentity"],
)
@pytest.mark.parametrize(
    "value", ["flagged", "Flagged", " flagged", "unchecked", "true", "", "Clear", "clear ", "no", "0"]
)
def test_only_the_value_clear_lets_a_sample_leave_this_machine(name: str, value: str) -> None:
    remote = model("https://models.invalid/v1", max_retries=0)
    tagged = question(1, tags={"identity": "clear", name: value} if name != "identity" else {name: value})
    assert ask(remote, [tagged])["1"].error.startswith("identified: ")
    clear = ask(remote, [question(1, tags={name: "clear"})])["1"].error
    assert not clear.startswith("identified")


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Let every look-up of a name give these addresses, the last of them for ever."""
    left = list(answers)

    def look_up(host, port, *rest, **more):
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_name_below_localhost_is_this_machine_only_where_it_leads_here(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "10.0.0.7")
    assert not is_loopback("http://a.localhost/v1") and not is_loopback("http://localhost/v1")
    answer = ask(model("http://a.localhost:9/v1", max_retries=0), [question(1, tags={"identity": "flagged"})])["1"]
    assert answer.error.startswith("identified: ")
    resolving(monkeypatch, "127.0.0.1")
    assert is_loopback("http://a.localhost/v1")


def test_a_name_that_leads_elsewhere_once_it_is_connected_to_is_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as server:
        port = urllib.parse.urlsplit(server.url).port
        from infimed_plugins.http import deadlines

        monkeypatch.setattr(deadlines, "is_own_address", lambda address: False)  # as if it were another machine
        resolving(monkeypatch, "127.0.0.1")
        answer = ask(model(f"http://a.localhost:{port}/v1"), [question(1, tags={"identity": "flagged"})])["1"]
        assert answer.error.startswith("not_this_machine: ") and not server.bodies


DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", lambda n: b"X-%d: 1\r\n" % n),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", lambda n: b"x"),
    "a status": (b"", lambda n: b"HTTP/1.1 200 OK"[n % 15 : n % 15 + 1] if n < 15 else b"k"),
    "100 Continue": (b"", lambda n: b"HTTP/1.1 100 Continue\r\n\r\n"),
    "102 Processing": (b"", lambda n: b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", lambda n: b" "),
    "a chunk's size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", lambda n: b"0"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", lambda n: b"1\r\n \r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", lambda n: b"X-%d: 1\r\n" % n),
}


def trickling(drip: str):
    """A server's behaviour: a reply that never ends."""
    first, piece = DRIPS[drip]

    def write(handler):
        end = time.monotonic() + 8
        number = 0
        try:
            handler.wfile.write(first)
            while time.monotonic() < end:
                handler.wfile.write(piece(number))
                handler.wfile.flush()
                number += 1
                time.sleep(0.02)
        except OSError:
            pass

    return lambda body, count: write


@pytest.mark.parametrize("drip", DRIPS)
def test_a_reply_that_trickles_ends_with_the_timeout(drip: str) -> None:
    with FakeServer(trickling(drip)) as server:
        start = time.monotonic()
        answer = ask(model(server.url, timeout_seconds=0.6, max_retries=0), [question(1)])["1"]
        assert time.monotonic() - start < 3
        assert answer.error.startswith(("timeout: ", "connection_lost: "))


def drawing(url: str, **settings) -> str:
    """What is said of a server of draws that fails."""
    draws = ServerDraws(RolloutServer(base_url=url, model="m", api_key_environment="MY_KEY", **settings))
    with pytest.raises(InfimedError) as found:
        draws._ask({"model": "m", "messages": []})
    assert "\n" not in str(found.value) and "\x1b" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("drip", DRIPS)
def test_a_server_of_draws_that_trickles_ends_with_the_timeout(drip: str) -> None:
    with FakeServer(trickling(drip)) as server:
        start = time.monotonic()
        told = drawing(server.url, timeout_seconds=0.6)
        assert time.monotonic() - start < 3 and "does not answer" in told and "start it again" in told


def test_a_server_of_draws_shows_no_key_follows_nobody_and_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ("x" * 290 + f" no such key: {KEY} {KEY[5:25]} \x1b[2J\n").encode()
    with FakeServer(lambda body, count: (401, said)) as server:
        told = drawing(server.url)
        assert "with 401" in told and not any(KEY[at : at + 8] in told for at in range(len(KEY) - 7))
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    with FakeServer() as other, FakeServer(lambda body, count: (307, b"", {"Location": other.url})) as server:
        assert "with 307" in drawing(server.url) and not other.bodies
    monkeypatch.setattr("infimed_plugins.http.transport.LARGEST_REPLY", 100_000)
    with FakeServer(lambda body, count: (200, b" " * 200_000)) as server:
        assert "larger than" in drawing(server.url)
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    with FakeServer() as server:
        told = drawing(server.url)
        assert "MY_KEY has a line break" in told and KEY[:8] not in told and not server.bodies


def test_half_characters_and_deep_nesting_in_a_reply_are_told_or_mended() -> None:
    halves = json.dumps(reply("cut \ud83d")).encode()
    with FakeServer(lambda body, count: (200, halves)) as server:
        answer = ask(model(server.url), [question(1, generation=Generation(seed=1))])["1"]
        assert answer.text == "cut \ufffd" and answer.model_dump_json().encode()
    with FakeServer(lambda body, count: (200, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)) as server:
        assert ask(model(server.url), [question(1)])["1"].error.startswith("malformed_reply: ")
