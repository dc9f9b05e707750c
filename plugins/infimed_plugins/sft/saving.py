"""When the state of a stage is saved by the clock, so that a job that is often taken away still gets on."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

SHARE_OF_ATTEMPT = 3.0
"""A state is saved so many times in a time as short as the last attempt had."""
_TOUCHED_EVERY = 0.5
_MARK = "attempt"


class SaveTimer:
    """Says on the first rank when ``seconds`` have passed since the last state was saved.

    An attempt that ended leaves a mark that tells how long it lived. The next one saves more often than that, so that
    each attempt that is long enough for one step brings the stage forward, and less often the longer it lives itself.
    """

    def __init__(self, directory: Path, seconds: float) -> None:
        self._mark = directory / _MARK
        lived = self._lifetime()
        self._seconds, self._first = seconds, seconds if lived is None else lived / SHARE_OF_ATTEMPT
        with suppress(OSError):  # without a mark the next attempt saves as often as its stage says
            directory.mkdir(parents=True, exist_ok=True)
            self._mark.write_text(repr(time.time()), encoding="ascii")
        self._started = self._saved = self._touched = time.monotonic()

    def _lifetime(self) -> float | None:
        """Seconds from the start of the attempt before to the last step it is known to have done."""
        try:
            return max(0.0, self._mark.stat().st_mtime - float(self._mark.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return None

    def due(self) -> bool:
        """Whether it is time to save; called at every step, it also notes that this attempt lives."""
        now = time.monotonic()
        if now - self._touched >= _TOUCHED_EVERY:
            self._touched = now
            with suppress(OSError):
                os.utime(self._mark)
        return now - self._saved >= min(self._seconds, max(self._first, (now - self._started) / SHARE_OF_ATTEMPT))

    def saved(self) -> None:
        """Count from now on again: what saving took is not part of the time."""
        self._saved = time.monotonic()
