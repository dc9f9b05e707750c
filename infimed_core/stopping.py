"""Signals that ask a run to stop: each ends it as interrupted, and the record and the exit code say which it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # SIGHUP is not known on every system
_received: list[int] = []


def _end(number: int, frame: Any) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)


def _is_command(words: Iterator[str]) -> bool:
    """Whether a process was started as one of our commands: by its script, or by ``python -m``."""
    first = next((word for word in words if word == "-m" or not word.startswith("-")), "")
    if first == "-m":
        return next(words, "") == "infimed_core"
    return os.path.basename(first) in ("infimed", "infimed-run")


if _is_command(iter(sys.orig_argv[1:])) and threading.current_thread() is threading.main_thread():
    for _number in STOPPING:  # one of our commands: until it begins its work nothing is lost, whatever is imported
        if signal.getsignal(_number) != signal.SIG_IGN:
            signal.signal(_number, _end)


def stop_signal() -> signal.Signals | None:
    """The last signal that asked the run of this process to stop; ``None`` where none did."""
    return signal.Signals(_received[-1]) if _received else None


@contextmanager
def handled(handle: Callable[[], None]) -> Iterator[None]:
    """Call ``handle`` when a signal asks to stop. One that is ignored (by nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        _received.append(number)
        handle()

    previous = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in previous.items():
            if handler is not None:  # of C code: it cannot be set again from here
                signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Take every signal to stop for Ctrl-C, so that a job that is ended from outside leaves an honest record.

    Whatever error follows from the signal (its workers get it too, a library has a handler of its own) is that stop.
    """

    def handle() -> None:
        raise KeyboardInterrupt

    _received.clear()
    with handled(handle):
        try:
            yield
        except KeyboardInterrupt:
            if not _received:
                _received.append(signal.SIGINT)
            raise
