"""The plugin `trackers`: what a run says of itself goes to a file, and to TensorBoard, W&B or Trackio where asked."""

from __future__ import annotations

from infimed_core import RunEvent, hookimpl


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Hand the event to every active tracker."""
    if event.kind == "progress":  # many a second, and of no use afterwards
        return
    from infimed_plugins.trackers.active import tell

    tell(event)
