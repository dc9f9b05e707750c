"""One name for each imaging modality, whatever the tag calls it."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any

from infimed_core import UNLABELLED, Sample
from infimed_core import modality_of as named_modality
from infimed_plugins.quality.profile import load_yaml


@cache
def lexicon() -> dict[str, Any]:
    """The words of ``lexicon.yaml``."""
    words: dict[str, Any] = load_yaml(Path(__file__).with_name("lexicon.yaml"))
    return words


@cache
def _names() -> dict[str, str]:
    return {name: key for key, names in lexicon()["modality_names"].items() for name in [*names, key.lower()]}


_OF_CORE = {
    "X-ray": "CR", "ultrasound": "US", "nuclear medicine": "NM", "pathology": "histology", "dermatology": "dermoscopy",
    "signal": "ECG",
}  # fmt: skip
"""The lexicon's keys for InfiMed's modalities where they have another name."""


@cache
def normalise_modality(tag: str) -> str:
    """The lexicon's key for a tag's value, by its own finer names (MG, PET) and then by InfiMed's vocabulary.

    A modality of that vocabulary for which the rules hold nothing (``text``, ``photograph``) is its own key; ""
    where a value is not known.
    """
    own = _names().get(tag.strip().lower(), "")
    named = named_modality(tag)
    return own or (_within(tag) if named == UNLABELLED else _OF_CORE.get(named, named))


def _within(tag: str) -> str:
    """The one modality that a longer name holds ("MR angiography", "colour fundus photography"), "" for several."""
    words = re.findall(r"[^\W_]+(?:-[^\W_]+)*", tag.lower())
    pieces = [*words, *map(" ".join, itertools.pairwise(words))]
    found = {normalise_modality(piece) for piece in pieces if len(piece) > 1 and piece != tag.strip().lower()}
    found -= {"", "text", "photograph"}
    return found.pop() if len(found) == 1 else ""


def modality_of(sample: Sample) -> str:
    """The lexicon's key for the sample's tag ``modality``."""
    return normalise_modality(sample.tags.get("modality", ""))


def is_unknown(sample: Sample) -> bool:
    """Whether the tag ``modality`` says something that is no modality here."""
    told = sample.tags.get("modality", "").strip()
    return bool(told) and told.lower() not in (UNLABELLED, "unknown") and not normalise_modality(told)


def tells_of_chest(sample: Sample) -> bool | None:
    """Whether tags or text say that the picture is of a chest; ``None`` where the tags say another region."""
    part = " ".join(sample.tags.get(tag, "") for tag in ("anatomy", "body_part", "view", "modality")).lower()
    if _CHEST.search(part):
        return True
    if sample.tags.get("anatomy") or sample.tags.get("body_part"):
        return None
    return any(_CHEST.search(turn.text) for turn in sample.turns)


_CHEST = re.compile(r"\b(?:chest|cxr|lungs?|thora\w+|pulmonary|cardiomegaly|pleural)\b", re.I)
