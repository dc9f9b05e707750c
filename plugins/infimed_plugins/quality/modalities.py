"""One name for each imaging modality, whatever the tag calls it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from infimed_core import Sample
from infimed_plugins.quality.profile import load_yaml


def lexicon() -> dict[str, Any]:
    """The words of ``lexicon.yaml``."""
    words: dict[str, Any] = load_yaml(Path(__file__).with_name("lexicon.yaml"))
    return words


@cache
def _names() -> dict[str, str]:
    return {name: key for key, names in lexicon()["modality_names"].items() for name in [*names, key.lower()]}


def normalise_modality(tag: str) -> str:
    """The lexicon's key for a tag's value; "" where it is not known."""
    return _names().get(tag.strip().lower(), "")


def modality_of(sample: Sample) -> str:
    """The lexicon's key for the sample's tag ``modality``."""
    return normalise_modality(sample.tags.get("modality", ""))
