"""A process of the run that is not its first: it takes tasks until the run ends, and writes no record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infimed_core.api.component import JsonObject
from infimed_core.distributed.ranks import POLL_SECONDS, Ranks
from infimed_core.errors import InfimedError


def run_worker(ranks: Ranks, handlers: Mapping[str, Callable[[JsonObject], None]]) -> None:
    """Do each task of the first process with the handler of its ``kind``, until the run ends.

    Raises:
        InfimedError: another process is gone, or a handler failed.
    """
    while (task := ranks.take())["kind"] != "end":
        handlers[task["kind"]](task)
        ranks.report({})


def wait_for_file(path: Path, rank: int) -> None:
    """Wait up to a minute for a file of the first process; a network file system shows it late.

    Raises:
        InfimedError: the file did not appear, so the processes do not share the run directory.
    """
    until = time.monotonic() + 60.0
    while not path.exists():
        if time.monotonic() > until:
            raise InfimedError(
                f"rank {rank} does not see {path}, which the first process has written: every process needs the same "
                "run directory, on storage that all nodes share"
            )
        time.sleep(POLL_SECONDS)
