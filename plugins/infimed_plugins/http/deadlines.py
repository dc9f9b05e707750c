"""Connections that keep a deadline for the whole exchange, and that stay on this machine where they must."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from infimed_plugins.http.addresses import NotThisMachineError, is_own_address


class Clock(threading.local):
    """The end of the exchange that this thread is in."""

    end = float("inf")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let every read and write of the block end ``seconds`` from now."""
        self.end = time.monotonic() + seconds
        try:
            yield
        finally:
            self.end = float("inf")

    def left(self, timeout: float | None, late: type[Exception]) -> float | None:
        """The shorter of ``timeout`` and what is left.

        Raises:
            Exception: of type ``late``, where nothing is left.
        """
        rest = self.end - time.monotonic()
        if rest <= 0:
            raise late("the time for the whole exchange is over")
        return timeout if rest == float("inf") else rest if timeout is None else min(timeout, rest)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections whose every read and write ends by the clock, whatever trickles in meanwhile."""

    def __init__(self, clock: Clock, stays_here: bool) -> None:
        self._inner = httpcore.SyncBackend()
        self._clock, self._stays_here = clock, stays_here

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """As the library's own; refuses another machine where the name was taken for this one."""
        timeout = self._clock.left(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        peer = stream.get_extra_info("server_addr")
        if self._stays_here and not is_own_address(str(peer[0])):
            stream.close()
            raise NotThisMachineError(f"{host} was this machine and now leads to {peer[0]}")
        return _DeadlineStream(stream, self._clock)

    def connect_unix_socket(self, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        """As the library's own."""
        return _DeadlineStream(self._inner.connect_unix_socket(*arguments, **options), self._clock)

    def sleep(self, seconds: float) -> None:
        """As the library's own."""
        self._inner.sleep(seconds)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection of ``DeadlineBackend``."""

    def __init__(self, inner: httpcore.NetworkStream, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # a part at a time: the library's own timeout is for each call of send, of which a large body takes many
        for start in range(0, len(buffer), 1 << 18):
            part = buffer[start : start + (1 << 18)]
            self._inner.write(part, self._clock.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._clock.left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
