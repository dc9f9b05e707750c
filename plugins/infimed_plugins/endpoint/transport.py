"""One HTTP exchange of JSON, its failures told in one line each, and when and how long to wait before another try."""

from __future__ import annotations

import http.client
import ipaddress
import json
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

T = TypeVar("T")

LARGEST_REPLY = 64 * 2**20
"""Most bytes of a reply; an answer in text is never near it."""
TIMEOUT_TRIES = 2
"""Tries of a question whose answer does not come in time: one that is slow once is usually slow again."""


class CallError(Exception):
    """An exchange that gave no usable reply.

    Attributes:
        code: short reason; the message begins with it.
        retry: whether another try may succeed.
        after: seconds the server asked to wait, if it did.
        reached: whether the server replied at all.
    """

    def __init__(
        self, code: str, message: str, *, retry: bool = False, after: float | None = None, reached: bool = True
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.retry, self.after, self.reached = code, retry, after, reached


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine, by its text alone (no name is looked up)."""
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: questions and key go to the host that the run file names and to no other."""

    def redirect_request(self, *arguments: Any, **names: Any) -> None:
        """Follow nothing."""


@dataclass(frozen=True)
class Server:
    """A server by its base URL, and how it is spoken to. Safe to use from many threads.

    ``key`` is sent as a bearer token and never shown; ``timeout`` is in seconds, for one exchange.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    key_name: str = "OPENAI_API_KEY"
    timeout: float = 600.0

    def exchange(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST ``body`` as JSON (GET where it is ``None``) and return the JSON of the reply.

        Raises:
            CallError: there was no reply, its status is no success, or it is no JSON.
        """
        headers = {"Accept": "application/json", "User-Agent": "infimed"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode()
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.base_url + path, data=data, headers=headers)
        proxies = urllib.request.ProxyHandler({} if is_loopback(self.base_url) else None)
        opener = urllib.request.build_opener(proxies, _NoRedirects)
        try:
            with opener.open(request, timeout=self.timeout) as response:
                content = _read(response, time.monotonic() + self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, Exception) else error
            raise self._unreached(reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreached(error) from None
        try:
            return json.loads(content)
        except ValueError:
            raise CallError(
                "malformed_reply", f"{self.base_url}{path} replied with no JSON: {_start(content)}"
            ) from None

    def _unreached(self, error: Exception) -> CallError:
        url = self.base_url
        if isinstance(error, TimeoutError):
            return CallError(
                "timeout",
                f"{url} gave no answer within {self.timeout:g} s; raise timeout_seconds",
                retry=True,
                reached=False,
            )
        if isinstance(error, ConnectionRefusedError):
            port = urllib.parse.urlsplit(url).port or 80
            return CallError(
                "connection_refused",
                f"nothing listens at {url}; start a server there (`vllm serve MODEL --port {port}` or "
                f"`transformers serve --port {port}`) or mend base_url",
                retry=True,
                reached=False,
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return CallError(
                "certificate", f"the certificate of {url} is not trusted: {error.verify_message}", reached=False
            )
        if isinstance(error, socket.gaierror):
            return CallError(
                "unknown_host", f"the host of {url} is not known; mend base_url", retry=True, reached=False
            )
        told = str(error) or "no reason told"
        return CallError("connection_lost", f"{url}: {type(error).__name__}: {told}", retry=True, reached=False)

    def _refused(self, error: urllib.error.HTTPError) -> CallError:
        try:
            content = error.read(65536)
        except (OSError, http.client.HTTPException):
            content = b""
        told = _reason(content)
        if self.key:
            told = told.replace(self.key, "***")
        line = f"{self.base_url} replied {error.code}" + (f": {told}" if told else "")
        if error.code in (401, 403):
            held = "refuses the key in" if self.key else "wants a key; put it into"
            return CallError("not_allowed", f"{line}; the server {held} the environment variable {self.key_name}")
        if error.code == 404:
            return CallError(
                "not_found", f"{line}; check the model's name, and that base_url ends as the server wants (often /v1)"
            )
        if 300 <= error.code < 400:
            place = error.headers.get("Location", "nowhere")
            return CallError("redirected", f"{line}; redirects (here to {place}) are not followed; mend base_url")
        retry = error.code in (408, 429) or error.code >= 500
        after = retry_after(error.headers.get("Retry-After"), datetime.now(UTC))
        code = "too_many_requests" if error.code == 429 else "server_error" if error.code >= 500 else "refused"
        return CallError(code, line, retry=retry, after=after)


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    promised = response.length
    pieces, size = [], 0
    while promised is None or size < promised:
        piece = response.read1(65536)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_REPLY:
            raise OSError(f"the reply is larger than {LARGEST_REPLY // 2**20} MiB")
        if time.monotonic() > deadline:
            raise TimeoutError
    content = b"".join(pieces)
    if promised is not None and size < promised:
        raise http.client.IncompleteRead(content, promised - size)
    return content


def _start(content: bytes) -> str:
    text = " ".join(content[:1000].decode("utf-8", "replace").split())
    return (text[:200] + "..." if len(text) > 200 else text) or "nothing"


def _reason(content: bytes) -> str:
    """What an error reply says of itself, in one line: the usual shapes, else the start of its text."""
    try:
        body = json.loads(content)
    except ValueError:
        return _start(content) if content else ""
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(name):
            body = body[name]
    return _start((body if isinstance(body, str) else json.dumps(body)).encode())


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (a number of seconds or a date); ``None`` where it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


@dataclass(frozen=True)
class Patience:
    """How often and how long to try: waits double from ``first_wait`` to ``longest_wait`` seconds, with jitter."""

    max_retries: int
    first_wait: float
    longest_wait: float

    def wait(self, attempt: int, after: float | None, chance: float) -> float:
        """Seconds before retry number ``attempt`` (from 0); ``chance`` in [0, 1) is the jitter.

        Never longer than ``longest_wait``, and within that never shorter than the server asked for.
        """
        backed_off = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt, 60)) * (0.5 + chance / 2)
        return min(self.longest_wait, max(backed_off, after or 0.0))

    def call(self, exchange: Callable[[], T], stopped: threading.Event) -> T:
        """Try until it works, it cannot, or patience ends; ``stopped`` ends a wait at once.

        Raises:
            CallError: of the last try, saying how many there were.
        """
        for attempt in range(self.max_retries + 1):
            try:
                return exchange()
            except CallError as error:
                spent = attempt >= self.max_retries or (error.code == "timeout" and attempt + 1 >= TIMEOUT_TRIES)
                if not error.retry or spent or stopped.wait(self.wait(attempt, error.after, random.random())):
                    if attempt and error.code != "not_asked":
                        error.args = (f"{error} (tried {attempt + 1} times)",)
                    raise
        raise AssertionError("unreachable")
