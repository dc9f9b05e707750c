"""One HTTP exchange of JSON, its failures told in one line each, and when and how long to wait before another try."""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from infimed_plugins.http.addresses import NotThisMachineError, is_loopback
from infimed_plugins.http.secrets import Secret

if TYPE_CHECKING:
    import httpx

    from infimed_plugins.http.deadlines import Clock

T = TypeVar("T")

LARGEST_REPLY = 64 * 2**20
"""Most bytes of a reply; an answer in text is never near it."""
LARGEST_REFUSAL = 65536
"""Bytes read of a reply that is an error."""
MOST_TRIES = {"timeout": 2, "malformed_reply": 3, "no_text": 3, "empty_answer": 3}
"""Tries of a question by what went wrong, where more would only bring the same again."""


class CallError(Exception):
    """An exchange that gave no usable reply.

    Attributes:
        code: short reason; the message begins with it.
        retry: whether another try may succeed.
        after: seconds the server asked to wait, if it did.
        reached: whether the server replied at all.
        refusal: status and reason of a reply that is no success, such as "404: no such model"; else empty.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry: bool = False,
        after: float | None = None,
        reached: bool = True,
        refusal: str = "",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.retry, self.after, self.reached, self.refusal = code, retry, after, reached, refusal


@dataclass(frozen=True)
class Server:
    """A server by its base URL, and how it is spoken to. Safe to use from many threads; connections are kept open.

    ``key`` is sent as a bearer token and never shown; ``timeout`` is in seconds, for one exchange.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    key_name: str = "OPENAI_API_KEY"
    timeout: float = 600.0

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        from infimed_plugins.http.deadlines import DeadlineBackend

        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "infimed"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        own = self.is_own
        client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(self.timeout, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            follow_redirects=False,  # questions and key go to the host that the run file names and to no other
            trust_env=not own,
        )
        for transport in (client._transport, *client._mounts.values()):
            if isinstance(transport, httpx.HTTPTransport):  # httpx has no public place for the network below it
                transport._pool._network_backend = DeadlineBackend(self._clock, own)
        return client

    def __del__(self) -> None:
        """Close the connections that are kept."""
        if client := self.__dict__.get("_client"):
            client.close()

    @cached_property
    def is_own(self) -> bool:
        """Whether it is on this machine; looked up once, and held to at every connection."""
        return is_loopback(self.base_url)

    @cached_property
    def _clock(self) -> Clock:
        from infimed_plugins.http.deadlines import Clock  # httpcore is slow to import, and not every run asks

        return Clock()

    @cached_property
    def secret(self) -> Secret:
        """Takes the key out of what comes from outside."""
        return Secret(self.key)

    def exchange(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST ``body`` as JSON (GET where it is ``None``) and return the JSON of the reply, the key masked in it.

        Raises:
            CallError: there was no reply, its status is no success, or it is no JSON.
        """
        import httpx

        headers, data = {}, None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode()
        method = "GET" if body is None else "POST"
        try:
            with (
                self._clock.within(self.timeout),
                self._client.stream(method, self.base_url + path, content=data, headers=headers) as response,
            ):
                content = _read(response, LARGEST_REPLY if response.is_success else LARGEST_REFUSAL)
        except (httpx.HTTPError, OSError) as error:
            raise self._unreached(error) from None
        if not response.is_success:
            raise self._refused(response, content)
        try:
            return self.secret.hide_in(json.loads(content))
        except RecursionError:
            raise CallError(
                "malformed_reply", f"{self.base_url}{path} replied with JSON nested too deep", retry=True
            ) from None
        except ValueError:
            told = _start(self.secret.hide(content.decode("utf-8", "replace")))
            text = f"{self.base_url}{path} replied with no JSON: {told}"
            raise CallError("malformed_reply", text, retry=True) from None

    def _unreached(self, error: Exception) -> CallError:
        import httpx

        url = self.base_url
        error = _innermost(error)
        if isinstance(error, TimeoutError | httpx.TimeoutException):
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
        if isinstance(error, NotThisMachineError):
            return CallError("not_this_machine", f"{url}: {error}; nothing was sent", reached=False)
        told = self.secret.hide(str(error)) or "no reason told"
        return CallError("connection_lost", f"{url}: {type(error).__name__}: {told}", retry=True, reached=False)

    def _refused(self, response: httpx.Response, content: bytes) -> CallError:
        told = _reason(content, self.secret)
        refusal = f"{response.status_code}" + (f": {told}" if told else "")
        line = f"{self.base_url} replied {refusal}"
        if response.status_code in (401, 403):
            held = "refuses the key in" if self.key else "wants a key; put it into"
            text = f"{line}; the server {held} the environment variable {self.key_name}"
            return CallError("not_allowed", text, refusal=refusal)
        if response.status_code == 404:
            text = f"{line}; check the model's name, and that base_url ends as the server wants (often /v1)"
            return CallError("not_found", text, refusal=refusal)
        if 300 <= response.status_code < 400:
            place = _start(self.secret.hide(response.headers.get("Location", "nowhere")))
            text = f"{line}; redirects (here to {place}) are not followed; mend base_url"
            return CallError("redirected", text, refusal=refusal)
        status = response.status_code
        retry = status in (408, 429) or status >= 500
        after = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        code = (
            "too_many_requests"
            if response.status_code == 429
            else "server_error"
            if response.status_code >= 500
            else "refused"
        )
        return CallError(code, line, retry=retry, after=after, refusal=refusal)


def _innermost(error: Exception) -> Exception:
    """The system's own error behind the library's, which says what went wrong."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _read(response: httpx.Response, largest: int) -> bytes:
    """The body of a reply, whole; of a refusal its first bytes."""
    pieces, size = [], 0
    for piece in response.iter_raw():
        pieces.append(piece)
        size += len(piece)
        if size > largest and response.is_success:
            raise OSError(f"the reply is larger than {largest // 2**20} MiB")
        if size > largest:
            break
    return b"".join(pieces)


def _start(text: str) -> str:
    """The beginning of a text in one line; whoever calls has masked it before."""
    text = " ".join(text[:1000].split())
    return (text[:200] + "..." if len(text) > 200 else text) or "nothing"


def _reason(content: bytes, secret: Secret) -> str:
    """What an error reply says of itself, in one line: the usual shapes, else the start of its text."""
    try:
        body = secret.hide_in(json.loads(content))
    except (ValueError, RecursionError):
        return _start(secret.hide(content.decode("utf-8", "replace"))) if content else ""
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(name):
            body = body[name]
    return _start(body if isinstance(body, str) else json.dumps(body))


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
                spent = attempt >= self.max_retries or attempt + 1 >= MOST_TRIES.get(error.code, attempt + 2)
                if not error.retry or spent or stopped.wait(self.wait(attempt, error.after, random.random())):
                    if attempt and error.code != "not_asked":
                        error.args = (f"{error} (tried {attempt + 1} times)",)
                    raise
        raise AssertionError("unreachable")
