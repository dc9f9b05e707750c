"""``infimed serve``: a run's report page over HTTP, on this machine alone, written anew when the run has moved on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from infimed_core import InfimedError, MediaLoader, digest, load_plugins
from infimed_core.records import open_run
from infimed_plugins.reporting.page.page import render

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser on this machine may call the server; any other Host is refused (DNS rebinding)."""
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".bmp": "image/bmp"}
LEAST_SECONDS = 2.0
"""A page is not written anew more often."""
SHARE = 0.1
"""Of one core, at most this much goes into writing pages: a page that takes a second is made every ten."""
EVENT_BYTES = 20_000
"""Growth of the events' file that makes a new state: about a hundred training steps."""


class Page:
    """The page of one run, rendered when its record or its answers have changed; nothing is written anywhere."""

    def __init__(self, directory: Path, media: MediaLoader | None = None, share: float = SHARE) -> None:
        self.directory = directory
        self._media = media
        self._share = share
        self._lock = threading.Lock()
        self._state: tuple[Any, ...] = ()
        self._not_before = 0.0
        self._body = b""

    def state(self) -> tuple[Any, ...]:
        """What the page depends on: run.json, every file of answers, and roughly how far training has come."""
        files = [self.directory / "run.json", *sorted((self.directory / "answers").glob("*.jsonl"))]
        seen = []
        for path in files:
            try:
                status = path.stat()
            except OSError:
                continue  # replaced at this moment: the next look sees it
            seen.append((path.name, status.st_size, status.st_mtime_ns))
        events = self.directory / "events.jsonl"
        return (*seen, events.stat().st_size // EVENT_BYTES if events.exists() else 0)

    def version(self) -> str:
        """A short text that changes when the page would: not before it may be made again."""
        early = self._body and time.monotonic() < self._not_before
        return digest(self._state if early else self.state())[:16]

    def body(self) -> bytes:
        """The page as it stands, rendered again where the run has moved on since.

        Raises:
            InfimedError: ``run.json`` is missing or no run record.
        """
        with self._lock:
            state = self.state()
            started = time.monotonic()
            if not self._body or (state != self._state and started >= self._not_before):
                self._body = render(open_run(self.directory), self._media, live=digest(state)[:16]).encode(
                    "utf-8", "replace"
                )
                took = time.monotonic() - started
                self._state, self._not_before = state, started + took + max(LEAST_SECONDS, took * (1 / self._share - 1))
            return self._body

    def _rendered(self, version: str) -> bytes:
        return render(open_run(self.directory), self._media, live=version).encode("utf-8", "replace")


class Server(ThreadingHTTPServer):
    """Serves one page; ``port`` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        """Where to look."""
        return f"http://{HOST}:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the page, of its version, and of pictures inside the run's directory; nothing else."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "infimed"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer."""
        if not self._is_local():
            self._send(HTTPStatus.FORBIDDEN, "this server answers to localhost and 127.0.0.1 alone")
            return
        path = unquote(urlsplit(self.path).path)
        try:
            if path in ("/", "/report.html"):
                self._send(HTTPStatus.OK, self.server.page.body(), "text/html; charset=utf-8")
            elif path == "/version":
                run = open_run(self.server.page.directory)
                facts = {"version": self.server.page.version(), "status": run.status}
                self._send(HTTPStatus.OK, json.dumps(facts), "application/json")
            else:
                self._picture(path)
        except InfimedError as error:
            self._send(HTTPStatus.NOT_FOUND, str(error))

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def _is_local(self) -> bool:
        """Whether the Host is one of ours, and no other site's page sent the request."""
        port = self.server.server_address[1]
        host = self.headers.get("Host", "")
        site = self.headers.get("Sec-Fetch-Site", "none")
        return host in [f"{name}:{port}" for name in NAMES] and site in ("none", "same-origin")

    def _picture(self, path: str) -> None:
        """A picture file inside the run's directory, symbolic links resolved; any other path does not exist."""
        root = self.server.page.directory.resolve()
        try:
            target = (root / path.lstrip("/")).resolve()
            kind = PICTURES.get(target.suffix.lower())
            if kind is None or not target.is_relative_to(root) or not target.is_file():
                raise FileNotFoundError(path)
            self._send(HTTPStatus.OK, target.read_bytes(), kind)
        except (OSError, ValueError):
            self._send(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _send(self, status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        if not kind.startswith("text/html"):  # the page brings a policy of its own
            self.send_header("Content-Security-Policy", "default-src 'none'; sandbox")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal shows the address and no more."""


def serve(directory: Path, port: int, tell: Callable[[str], Any]) -> None:
    """Serve until interrupted.

    Raises:
        InfimedError: the directory holds no run, or the port is taken.
    """
    directory = open_run(directory).directory
    try:
        server = Server(Page(directory, load_plugins().media_loader()), port)
    except OSError as error:
        raise InfimedError(f"port {port} of {HOST}: {error.strerror}; give another with --port") from None
    tell(f"{server.address} (this machine only; stop with Ctrl-C)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        tell("stopped")
    finally:
        server.server_close()
