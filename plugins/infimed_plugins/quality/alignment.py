"""Dimension ``alignment``: whether the text contradicts what is known of its picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from infimed_core import Sample
from infimed_plugins.quality.modalities import lexicon, modality_of
from infimed_plugins.quality.pictures import Picture
from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import Texts

_ELSEWHERE = re.compile(
    r"\b(?:no|not|without|prior|previous|earlier|recommend\w*|suggest\w* (?:an?|further)|consider|follow-?up|"
    r"compared (?:with|to)|correlat\w+ with|correlation with|rather than|unlike|instead of)\b[^.;,]{0,40}$",
    re.I,
)
_PANEL = re.compile(r"(?:\(([b-h])\)|\bpanels? \(?([b-h])\b)", re.I)
_SIDE = re.compile(r"\b(left|right)[- ](?:sided )?(?=\w+)", re.I)
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}


@cache
def _claims(kind: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    table = lexicon()[kind]
    patterns = []
    for key, words in table.items():
        alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        patterns.append((key, re.compile(rf"(?<![\w&-])(?:{alternatives})(?![\w&-])", re.I)))
    return tuple(patterns)


def claimed(kind: str, texts: Texts) -> frozenset[str]:
    """Keys of the lexicon's table ``kind`` that the text says this picture is, without comparisons and denials.

    A question may list what it asks about, so that only "this CT ..." counts in it.
    """
    found = set()
    for key, pattern in _claims(kind):
        for answer in texts.answers:
            if any(not _ELSEWHERE.search(answer[: match.start()]) for match in pattern.finditer(answer)):
                found.add(key)
        for question in texts.questions:
            for match in pattern.finditer(question):
                before = question[: match.start()]
                if re.search(r"\b(?:this|the (?:following|shown|given))\s+(?:[\w-]+\s+){0,2}$", before, re.I):
                    found.add(key)
    return frozenset(found)


def _stated(texts: Texts) -> frozenset[str]:
    """Modalities in the plain statement "this is a ...", which no comparison excuses."""
    found = set()
    for key, pattern in _claims("modalities"):
        for answer in texts.answers:
            for match in pattern.finditer(answer):
                if re.search(r"\bthis is (?:an? )?(?:[\w-]+ ){0,2}$", answer[: match.start()], re.I):
                    found.add(key)
    return frozenset(found)


def _compatible(key: str) -> set[str]:
    return {key} | {other for group in lexicon()["compatible"] if key in group for other in group}


def alignment(
    sample: Sample, texts: Texts, pictures: Sequence[Picture], profile: Profile
) -> tuple[float | None, list[Reason], dict[str, float]]:
    """1 where a claim agrees with tags and colour, near 0 where it contradicts them, ``None`` where nothing is claimed.

    Agreement of words with pixels is beyond this back-end: a caption of another picture of the same kind passes.
    """
    if not sample.media:
        return None, [], {}
    checks: dict[Reason, float] = {}
    checked = 0
    modality = modality_of(sample)
    modalities = claimed("modalities", texts)
    if modality and modalities:
        checked += 1
        stated = _stated(texts)
        if not modalities & _compatible(modality) or (stated and not stated & _compatible(modality)):
            checks[Reason.MODALITY_MISMATCH] = 0.05
    part = sample.tags.get("anatomy", sample.tags.get("body_part", "")).strip().lower()
    parts = claimed("anatomy", texts)
    known = next((key for key, pattern in _claims("anatomy") if part == key or (part and pattern.fullmatch(part))), "")
    if known and parts:
        checked += 1
        if known not in parts:
            checks[Reason.ANATOMY_MISMATCH] = 0.1
    side = _SIDES.get(sample.tags.get("laterality", "").strip().lower(), "")
    sides = {match[1].lower() for match in _SIDE.finditer(texts.answer)}
    if side and sides:
        checked += 1
        if sides == {"left" if side == "right" else "right"}:
            checks[Reason.LATERALITY_MISMATCH] = 0.15
    colour = [picture.values["saturation"] for picture in pictures if picture.values.get("saturation", -1.0) >= 0]
    if colour:
        words, thresholds = lexicon(), profile.alignment
        if modalities & set(words["coloured"]) and not modalities & set(words["grey"]):
            checked += 1
            if max(colour) < thresholds.grey_saturation:
                checks[Reason.COLOUR_MISMATCH] = 0.3
        elif modalities and modalities <= set(words["grey"]):
            checked += 1
            if min(colour) > thresholds.colour_saturation:
                checks[Reason.COLOUR_MISMATCH] = 0.3
    if _PANEL.search(texts.answer):
        checked += 1
        if len(sample.media) == 1 and not re.search(r"\(a\)|\bpanel a\b", texts.answer, re.I):
            checks[Reason.PANEL_MISSING] = 0.4
    used = {index for turn in sample.turns for index in turn.media_indices}
    if set(range(len(sample.media))) - used:
        checked += 1
        checks[Reason.IMAGE_UNUSED] = 0.3
    if not checked:
        return None, [], {}
    return min(checks.values(), default=1.0), list(checks), {"num_claims_checked": float(checked)}
