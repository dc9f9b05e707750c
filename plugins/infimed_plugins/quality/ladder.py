"""The corruption ladder: does a scorer see known damage, in the right place, and spare the clean?"""

from __future__ import annotations

import itertools
import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infimed_core import DataError, MediaLoader, Sample, Score, Scorer
from infimed_plugins.quality import corruptions
from infimed_plugins.quality.corruptions import IMAGE_CORRUPTIONS, SEVERITIES, TEXT_CORRUPTIONS
from infimed_plugins.quality.modalities import modality_of

IMAGE_DIMENSION = "image_quality"
FLAG_BELOW = 0.5
RISE = 0.02
"""A rise that still counts as none: the tolerance of the invariances."""
BATCH = 64


def auroc(clean: Sequence[float], damaged: Sequence[float]) -> float | None:
    """Probability that a clean value lies above a damaged one, ties counted half; ``None`` where a side is empty."""
    if not clean or not damaged:
        return None
    ordered = np.sort(np.asarray(damaged))
    below = np.searchsorted(ordered, clean, side="left")
    at_most = np.searchsorted(ordered, clean, side="right")
    return float((below + at_most).mean() / 2 / len(damaged))


def _stable(*parts: object) -> int:
    return zlib.crc32("|".join(map(str, parts)).encode())


def _score(scorer: Scorer, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
    return [score for at in range(0, len(samples), BATCH) for score in scorer.score(samples[at : at + BATCH], media)]


def _damaged_images(samples: Sequence[Sample], name: str, severity: int, media: MediaLoader) -> list[Sample]:
    damage = IMAGE_CORRUPTIONS[name]
    out = []
    for sample in samples:
        new = [damage(media.load(item), severity, _stable(sample.id, name, at)) for at, item in enumerate(sample.media)]
        out.append(sample.model_copy(update={"media": tuple(new)}))
    return out


def _damaged_texts(samples: Sequence[Sample], name: str, severity: int) -> list[Sample]:
    _, damage = TEXT_CORRUPTIONS[name]
    out = []
    for sample in samples:
        extra = {"modality": modality_of(sample)} if name == "other_modality_text" else {}
        chance = random.Random(_stable(sample.id, name))  # the same in every severity: only the degree differs

        def change(text: str, chance: random.Random = chance, extra: dict[str, str] = extra) -> str:
            return damage(text, severity, chance, **extra)

        out.append(corruptions.with_answers(sample, change))
    return out


def _values(scores: Sequence[Score], dimension: str) -> list[float]:
    """The dimension's values; a sample in error counts as 0, for it was noticed."""
    found = []
    for score in scores:
        part = score.parts.get(dimension)
        if part is not None:
            found.append(part)
        elif score.status == "error":
            found.append(0.0)
    return found


def _one(
    own: str, clean: Sequence[Score], by_severity: Mapping[int, Sequence[Score]], dimensions: Sequence[str]
) -> dict[str, Any]:
    """AUROC by severity, share of samples that never rise with severity, and the change of the other dimensions."""
    aurocs = {}
    for severity, scores in by_severity.items():
        undamaged = [
            score.model_copy(update={"parts": {own: 1.0 if score.parts.get(own) is None else score.parts[own]}})
            for score in clean
        ]
        # A dimension that made no claim about the clean sample (null) had nothing against it.
        aurocs[severity] = auroc(_values(undamaged, own), _values(scores, own))
    falling = []
    for place, score in enumerate(clean):
        steps = [score, *(by_severity[severity][place] for severity in sorted(by_severity))]
        values = [0.0 if step.status == "error" else step.parts.get(own) for step in steps]
        known = [value for value in values if value is not None]
        falling.append(all(b <= a + RISE for a, b in itertools.pairwise(known)))
    crosstalk = {}
    for other in dimensions:
        if other == own:
            continue
        changes = [
            abs(a - b)
            for severity in by_severity
            for before, after in zip(clean, by_severity[severity], strict=True)
            if (a := before.parts.get(other)) is not None and (b := after.parts.get(other)) is not None
        ]
        if changes:
            crosstalk[other] = round(float(np.mean(changes)), 4)
    return {
        "dimension": own,
        "auroc": {str(severity): None if value is None else round(value, 4) for severity, value in aurocs.items()},
        "monotone_share": round(float(np.mean(falling)), 4),
        "crosstalk": crosstalk,
    }


def _false_flags(samples: Sequence[Sample], clean: Sequence[Score], dimensions: Sequence[str]) -> dict[str, Any]:
    """By dimension and modality: share of clean samples under the flag line, and how many there are."""
    table: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for sample, score in zip(samples, clean, strict=True):
        for dimension in dimensions:
            part = score.parts.get(dimension)
            if part is not None:
                table[dimension][modality_of(sample) or "text"].append(part < FLAG_BELOW)
    return {
        dimension: {
            modality: {"share": round(float(np.mean(flags)), 4), "num_samples": len(flags)}
            for modality, flags in sorted(groups.items())
        }
        for dimension, groups in table.items()
    }


def validate(
    scorer: Scorer,
    samples: Sequence[Sample],
    media: MediaLoader,
    severities: Sequence[int] = SEVERITIES,
    image_corruptions: Sequence[str] = tuple(IMAGE_CORRUPTIONS),
    text_corruptions: Sequence[str] = tuple(TEXT_CORRUPTIONS),
) -> dict[str, Any]:
    """Validate any scorer whose parts bear our dimensions' names on clean ``samples``.

    Returns, as JSON: for each corruption the AUROC of clean against each severity, the share of samples whose value
    never rises with severity, and the mean change of the other dimensions; and the false flags on the clean samples
    by dimension and modality. Image damage is done to samples with media, text damage to those with an answer.

    Raises:
        DataError: a clean sample cannot be opened, so that there is nothing to compare with.
    """
    clean = _score(scorer, samples, media)
    broken = [score.note for score in clean if score.status == "error"]
    if broken:
        raise DataError("bad_sample", f"the ladder needs clean samples; one of them cannot be used: {broken[0]}")
    with_media = [at for at, sample in enumerate(samples) if sample.media]
    with_text = [
        at
        for at, sample in enumerate(samples)
        if any(turn.role == "assistant" and len(turn.text.split()) >= 4 for turn in sample.turns)
    ]
    report: dict[str, Any] = {"num_samples": len(samples), "corruptions": {}}
    for name in image_corruptions:
        chosen = [samples[at] for at in with_media]
        by_severity = {s: _score(scorer, _damaged_images(chosen, name, s, media), media) for s in severities}
        report["corruptions"][name] = _one(
            IMAGE_DIMENSION, [clean[at] for at in with_media], by_severity, scorer.dimensions
        )
    for name in text_corruptions:
        chosen = [samples[at] for at in with_text]
        by_severity = {s: _score(scorer, _damaged_texts(chosen, name, s), media) for s in severities}
        own = TEXT_CORRUPTIONS[name][0]
        report["corruptions"][name] = _one(own, [clean[at] for at in with_text], by_severity, scorer.dimensions)
    report["false_flags"] = _false_flags(samples, clean, scorer.dimensions)
    return report
