"""Where the media of a run's samples lie: its own are named relative to it, others by what they were called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from infimed_core.api.component import as_named

MEDIA = "media"
"""Folder of a run with the media that came inline, each under its checksum."""


def run_above(path: Path) -> Path | None:
    """The run that a file belongs to: the first folder above it with media and artifacts; ``None`` where none is."""
    return next((one for one in path.absolute().parents if all((one / n).is_dir() for n in (MEDIA, "artifacts"))), None)


def written(sample: Any, run: Path | None) -> Any:
    """A sample as it is written: its media in the run by their place in it, others by what they were called."""
    above = f"{run.absolute()}/" if run is not None else None

    def place(item: Any) -> str:
        inside = above is not None and item.sha256 is not None and item.uri.startswith(f"{above}{MEDIA}/")
        return item.uri[len(above or "") :] if inside else str(as_named(item.uri))

    return _with_uris(sample, place)


def opened(sample: Any, run: Path | None) -> Any:
    """A sample as it was written, with the media of the run where the run is now (``Media`` finds the others)."""

    def place(item: Any) -> str:
        own = run is not None and item.sha256 is not None and item.uri.startswith(f"{MEDIA}/{item.sha256[:2]}/")
        return f"{run}/{item.uri}" if own else str(item.uri)

    return _with_uris(sample, place)


def _with_uris(sample: Any, place: Callable[[Any], str]) -> Any:
    uris = [place(item) if item.uri else item.uri for item in sample.media]
    if all(uri == item.uri for uri, item in zip(uris, sample.media, strict=True)):
        return sample
    moved = (item.model_copy(update={"uri": uri}) for uri, item in zip(uris, sample.media, strict=True))
    return sample.model_copy(update={"media": tuple(moved)})
