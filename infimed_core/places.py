"""Where files lie that a run names: its own relative to it, others by what they were called, wherever they are now."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

VARIABLE = "INFIMED_DATA_ROOTS"
"""JSON [[old, new], ...]; a variable, since every worker process needs it too."""
MEDIA = "media"
"""Folder of a run with the media that came inline, each under its checksum."""


@cache
def _roots(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((old.rstrip("/"), new.rstrip("/")) for old, new in json.loads(text)) if text else ()


def data_roots() -> tuple[tuple[str, str], ...]:
    """(old, new) of every folder of data that was moved since a run named it."""
    return _roots(os.environ.get(VARIABLE, ""))


def _exchanged(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for one, other in pairs:
        if text == one or text.startswith(one + "/"):
            return other + text[len(one) :]
    return text


def _everywhere(value: Any, pairs: tuple[tuple[str, str], ...]) -> Any:
    if isinstance(value, str):
        return _exchanged(value, pairs)
    if isinstance(value, dict):
        return {key: _everywhere(inner, pairs) for key, inner in value.items()}
    return [_everywhere(inner, pairs) for inner in value] if isinstance(value, list | tuple) else value


def found_now(value: Any) -> Any:
    """``value`` with every path in it as it is found now."""
    roots = data_roots()
    return _everywhere(value, roots) if roots else value


def as_named(value: Any) -> Any:
    """``value`` with every path in it as the run named it first: what is written and hashed."""
    roots = data_roots()
    return _everywhere(value, tuple((new, old) for old, new in roots)) if roots else value


def run_above(path: Path) -> Path | None:
    """The run that a file belongs to: the first folder above it with media of its own; ``None`` where none is."""
    return next((folder for folder in path.absolute().parents if (folder / MEDIA).is_dir()), None)


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
