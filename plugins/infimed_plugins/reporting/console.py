"""What a person sees while a run goes on: one line a step, a bar for what takes long."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from infimed_core import RunEvent, printable

HOURS_AFTER = 30.0
"""Seconds of a step after which an estimate of hours is told."""
_SHORTER = {
    "steps": "; fewer samples, a lower resolution or a smaller model would shorten it",
    "answer": "; 'generation: {max_new_tokens}' bounds models that never stop, --limit asks fewer questions",
}
PLAIN_SECONDS = 60.0
"""Between two lines on progress where nobody sees a bar."""


class Console:
    """Shows run events as lines and tqdm bars on ``stream`` (standard error unless given)."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._bars: dict[str, Any] = {}
        """The open bars by step: servers are asked side by side."""
        self._read_along = True
        self._reused: list[str] = []
        self._began: dict[str, tuple[float, int]] = {}
        """Of every step: when it was first told of, and how much was done then."""
        self._told: dict[str, tuple[str, float, int, float]] = {}
        """Of progress told in lines, by step: unit, when it was heard of first, what was done then, the last line."""

    def __call__(self, event: RunEvent) -> None:
        """Take one event."""
        show = getattr(self, f"_{event.kind}", None)
        if show is not None and self._read_along and (not self._quiet or event.kind == "message"):
            try:
                show(event)
            except BrokenPipeError:  # whoever read along is gone; the run goes on without telling
                self._bars, self._read_along = {}, False

    def close(self) -> None:
        """End the bars that are open."""
        for bar in self._bars.values():
            bar.close()
        self._bars = {}

    def _line(self, text: str) -> None:
        self.close()
        if self._read_along:
            print(printable(text), file=self._stream, flush=True)

    def _run_started(self, event: RunEvent) -> None:
        self._line(f"run '{event.payload['name']}' in {event.directory}")
        if uses := event.payload.get("uses"):
            self._line(f"  {uses}")

    def _step_started(self, event: RunEvent) -> None:
        self._tell_reused()
        self._began.pop(event.step, None)
        self._told.pop(event.step, None)
        self._line(f"  {event.step} ...")

    def _step_skipped(self, event: RunEvent) -> None:
        self._reused.append(event.step)

    def _tell_reused(self) -> None:
        if self._reused:
            count = len(self._reused)
            steps = "1 step" if count == 1 else f"{count} steps"
            self._line(f"  nothing to do for {steps} done before: {', '.join(self._reused)}")
            self._reused = []

    def _step_finished(self, event: RunEvent) -> None:
        dropped = event.payload.get("dropped") or {}
        reasons = ", ".join(f"{count:,} {code}" for code, count in dropped.items())
        left_out = f", {sum(dropped.values()):,} of {event.payload['num_in']:,} left out ({reasons})" if dropped else ""
        self._line(f"  {event.step} done in {event.payload['seconds']:.1f} s{left_out}")

    def _run_finished(self, event: RunEvent) -> None:
        self._tell_reused()
        self.close()

    def _message(self, event: RunEvent) -> None:
        self._line(f"  {event.payload['text']}")

    def _progress(self, event: RunEvent) -> None:
        done, total = event.payload["done"], event.payload["total"]
        unit = event.payload.get("unit", "")
        self._tell_hours(event, done, total)
        if not self._stream.isatty():
            self._told_plainly(event.step, done, total, unit)
            return
        bar = self._bars.get(event.step)
        if bar is None:
            from tqdm import tqdm

            bar = self._bars[event.step] = tqdm(
                total=total,
                initial=done,  # what an earlier run did counts for nothing in the rate
                desc=printable(f"    {event.step}"),
                unit=unit,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
            )
        if bar.total != total:
            bar.total = total
        bar.update(done - bar.n)

    def _tell_hours(self, event: RunEvent, done: int, total: int) -> None:
        """Say once, and early, that a step will take hours at this rate, and what would shorten it."""
        if event.step not in self._began:
            self._began[event.step] = (time.monotonic(), done)
            return
        since, before = self._began[event.step]
        seconds = time.monotonic() - since
        if since and seconds >= HOURS_AFTER and done > before:
            self._began[event.step] = (0.0, 0)
            if (hours := (total - done) * seconds / (done - before) / 3600) >= 1:
                unit = event.payload.get("unit", "")
                self._line(f"    {event.step}: about {hours:.1f} hours to go at this rate{_SHORTER.get(unit, '')}")

    def _told_plainly(self, step: str, done: int, total: int, unit: str) -> None:
        """A line a minute, for a log: no bar, no carriage return."""
        now = time.monotonic()
        if step not in self._told or unit != self._told[step][0] or done < self._told[step][2]:
            self._told[step] = (unit, now, done, now)
        _, since, at_first, last = self._told[step]
        if now - last < PLAIN_SECONDS:
            return
        self._told[step] = (unit, since, at_first, now)
        rate = (done - at_first) / (now - since)
        left = f", {(total - done) / rate / 60:,.0f} min left" if rate else ""
        self._line(f"    {step}: {done:,} of {total:,} {unit}, {rate:,.2f}/s{left}")

    def _log(self, event: RunEvent) -> None:
        bar = self._bars.get(event.step)
        if bar is not None and event.payload.get("loss") is not None:  # a step that was skipped has none
            bar.set_postfix(loss=f"{event.payload['loss']:.3f}", refresh=False)

    def _evaluation(self, event: RunEvent) -> None:
        parts = []
        if event.payload.get("held_out_loss") is not None:
            parts.append(f"loss held out {event.payload['held_out_loss']:.3f}")
        for name, facts in (event.payload.get("benchmarks") or {}).items():
            for metric, found in facts.items():
                if isinstance(found, dict) and found.get("value") is not None:
                    unread = f", {found['num_unscored']} unread" if found["num_unscored"] else ""
                    parts.append(f"{name} {metric} {found['value']:.3f} of {found['num_counted']} questions{unread}")
        self._line(f"    after step {event.payload['step']}: {'; '.join(parts) or 'nothing could be scored'}")
