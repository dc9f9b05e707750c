"""The plugin `trackers`: what a run says of itself goes to a file, and to TensorBoard, W&B or Trackio where asked."""

from __future__ import annotations

import time

from infimed_core import RunEvent, hookimpl

PROGRESS_SECONDS = 60.0
"""Between two lines on the progress of a run in events.jsonl."""
_last: dict[str, float] = {}


def _is_due(event: RunEvent) -> bool:
    now = time.monotonic()
    if now - _last.setdefault(event.directory, now) < PROGRESS_SECONDS:
        return False
    _last[event.directory] = now
    return True


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Hand the event to every active tracker."""
    if event.kind == "progress" and not _is_due(event):  # many a second, of which few are of use afterwards
        return
    from infimed_plugins.trackers.active import tell

    tell(event)


@hookimpl
def infimed_reporters() -> dict[str, str]:
    """Offer the trackers by name, for run files that say where their numbers go."""
    home = "infimed_plugins.trackers.reporters"
    return {
        "tensorboard": f"{home}:TensorBoardTracker",
        "wandb": f"{home}:WandbTracker",
        "trackio": f"{home}:TrackioTracker",
    }
