"""The corruption ladder: does a scorer see known damage, in the right place, and spare the clean?"""

from __future__ import annotations

import itertools
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from infimed_core import DataError, MediaLoader, Sample, Score, Scorer
from infimed_plugins.quality import corruptions
from infimed_plugins.quality.corruptions import IMAGE_CORRUPTIONS, SEVERITIES, TEXT_CORRUPTIONS
from infimed_plugins.quality.modalities import modality_of
from infimed_plugins.quality.sample_corruptions import SAMPLE_CORRUPTIONS

IMAGE_DIMENSION = "image_quality"
VALUE = "value"
"""The whole score, for a scorer that does not have the dimension that a corruption is aimed at."""
FLAG_BELOW = 0.5
ERROR = -1.0
"""A sample in error ranks under every value: it was noticed, and every selector rejects it."""
RISE = 0.02
"""A rise that still counts as none: the tolerance of the invariances."""
BATCH = 64

ScoreAll = Callable[[Sequence[Sample]], list[Score]]


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


def in_batches(scorer: Scorer, media: MediaLoader) -> ScoreAll:
    """Score any number of samples with a scorer, ``BATCH`` at a time."""

    def score(samples: Sequence[Sample]) -> list[Score]:
        return [
            found for at in range(0, len(samples), BATCH) for found in scorer.score(samples[at : at + BATCH], media)
        ]

    return score


def _damaged_images(samples: Sequence[Sample], name: str, severity: int, media: MediaLoader) -> list[Sample | None]:
    damage = IMAGE_CORRUPTIONS[name]
    out: list[Sample | None] = []
    for sample in samples:
        new = [damage(media.load(item), severity, _stable(sample.id, name, at)) for at, item in enumerate(sample.media)]
        out.append(sample.model_copy(update={"media": tuple(new)}) if new else None)
    return out


def _damaged_texts(samples: Sequence[Sample], name: str, severity: int) -> list[Sample | None]:
    _, damage = TEXT_CORRUPTIONS[name]
    out: list[Sample | None] = []
    for sample in samples:
        told = any(turn.role == "assistant" and len(turn.text.split()) >= 4 for turn in sample.turns)
        if not told or (name == "other_modality_text" and not (sample.media and modality_of(sample))):
            out.append(None)
            continue
        extra = {"modality": modality_of(sample)} if name == "other_modality_text" else {}
        chance = random.Random(_stable(sample.id, name))  # the same in every severity: only the degree differs

        def change(text: str, chance: random.Random = chance, extra: dict[str, str] = extra) -> str:
            return damage(text, severity, chance, **extra)

        out.append(corruptions.with_answers(sample, change))
    return out


def _values(scores: Sequence[Score], dimension: str, unstated: float | None = None) -> list[float]:
    """The dimension's values; what made no claim counts as ``unstated``, or not at all."""
    found = []
    for score in scores:
        part = _part(score, dimension)
        if score.status == "error":
            found.append(ERROR)
        elif part is not None:
            found.append(part)
        elif unstated is not None:
            found.append(unstated)
    return found


def _part(score: Score, dimension: str) -> float | None:
    return score.value if dimension == VALUE else score.parts.get(dimension)


def _one(
    own: str, clean: Sequence[Score], by_severity: Mapping[int, Sequence[Score]], dimensions: Sequence[str]
) -> dict[str, Any]:
    """AUROC by severity, share of samples that never rise with severity, and the change of the other dimensions."""
    aurocs = {}
    for severity, scores in by_severity.items():
        # A dimension that made no claim about a sample (null) had nothing against it.
        aurocs[severity] = auroc(_values(clean, own, unstated=1.0), _values(scores, own, unstated=1.0))
    falling = []
    for place, score in enumerate(clean):
        steps = [score, *(by_severity[severity][place] for severity in sorted(by_severity))]
        values = [ERROR if step.status == "error" else _part(step, own) for step in steps]
        known = [value for value in values if value is not None]
        falling.append(all(b <= a + RISE for a, b in itertools.pairwise(known)))
    crosstalk = {}
    for other in dimensions:
        if other == own or own == VALUE:
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
        "num_samples": len(clean),
        "auroc": {str(severity): None if value is None else round(value, 4) for severity, value in aurocs.items()},
        "noticed": {str(severity): _share_noticed(scores, own) for severity, scores in by_severity.items()},
        "monotone_share": round(float(np.mean(falling)), 4) if falling else None,
        "crosstalk": crosstalk,
    }


def _share_noticed(scores: Sequence[Score], dimension: str) -> float | None:
    """Share of damaged samples that the scorer itself would flag: in error, or under the flag line."""
    values = _values(scores, dimension, unstated=1.0)
    return round(float(np.mean([value < FLAG_BELOW for value in values])), 4) if values else None


def _left_out(name: str, samples: Sequence[Sample], places: Sequence[int]) -> dict[str, int]:
    """Why a damage was not done to samples, and to how many."""
    return dict(Counter(_why_not(name, samples[place]) for place in places))


def _why_not(name: str, sample: Sample) -> str:
    answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
    if (name in IMAGE_CORRUPTIONS or name in SAMPLE_CORRUPTIONS) and not sample.media and "text" not in name:
        return "no picture"
    if name in TEXT_CORRUPTIONS and not any(len(text.split()) >= 4 for text in answers):
        return "no answer of four words"
    if name in ("other_modality_text", "other_caption") and not modality_of(sample):
        return "no modality that is known"
    return _DONE_TO.get(name, "nothing in it that this damage changes")


_DONE_TO = {
    "other_caption": "no other sample whose caption could stand here",
    "other_side": "no left or right in its answer",
    "negated": "no finding and no denial in its answer",
    "wrong_key": "no options with a key",
}
"""What a sample must have for a damage, where it is not a picture or an answer."""


def _false_flags(samples: Sequence[Sample], clean: Sequence[Score], dimensions: Sequence[str]) -> dict[str, Any]:
    """By dimension and modality: share of clean samples under the flag line, and how many there are."""
    table: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for sample, score in zip(samples, clean, strict=True):
        for dimension in dimensions:
            part = _part(score, dimension)
            if part is not None:
                table[dimension][modality_of(sample) or "text"].append(part < FLAG_BELOW)
    return {
        dimension: {
            modality: {"share": round(float(np.mean(flags)), 4), "num_samples": len(flags)}
            for modality, flags in sorted(groups.items())
        }
        for dimension, groups in table.items()
    }


def _corruptions(
    image: Sequence[str], text: Sequence[str], sample: Sequence[str], media: MediaLoader
) -> Iterator[tuple[str, str, Callable[[Sequence[Sample], int], list[Sample | None]]]]:
    """(name, dimension it is aimed at, damage done to all samples at a severity)."""
    for name in image:
        yield name, IMAGE_DIMENSION, lambda rows, severity, name=name: _damaged_images(rows, name, severity, media)  # type: ignore[misc]
    for name in text:
        yield name, TEXT_CORRUPTIONS[name][0], lambda rows, severity, name=name: _damaged_texts(rows, name, severity)  # type: ignore[misc]
    for name in sample:
        dimension, damage = SAMPLE_CORRUPTIONS[name]
        yield name, dimension, lambda rows, severity, damage=damage: damage(rows, severity, media)  # type: ignore[misc]


def validate(
    scorer: Scorer,
    samples: Sequence[Sample],
    media: MediaLoader,
    severities: Sequence[int] = SEVERITIES,
    image_corruptions: Sequence[str] = tuple(IMAGE_CORRUPTIONS),
    text_corruptions: Sequence[str] = tuple(TEXT_CORRUPTIONS),
    sample_corruptions: Sequence[str] = (),
    score: ScoreAll | None = None,
    tell: Callable[[str], None] = lambda line: None,
    finished: MutableMapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Validate a scorer on clean ``samples``; ``score`` replaces its own method (to ask a model, say).

    ``tell`` hears what is done while it is done. ``finished`` holds rows of corruptions from before, which are not done
    again, and takes every new one as soon as it stands.

    Returns, as JSON: for each corruption the AUROC of clean against each severity, the share of samples whose value
    never rises with severity, and the mean change of the other dimensions; the false flags on the clean samples by
    dimension and modality; and a summary by dimension. A corruption is done to the samples that it fits. Where the
    scorer lacks the dimension that it is aimed at, its whole value is looked at.

    Raises:
        DataError: a clean sample cannot be opened, so that there is nothing to compare with.
    """
    score = score or in_batches(scorer, media)
    dimensions = tuple(scorer.given_dimensions())
    tell(f"scoring {len(samples)} clean samples")
    clean = score(samples)
    broken = [(sample, found) for sample, found in zip(samples, clean, strict=True) if found.status == "error"]
    if broken:
        sample, found = broken[0]
        why = ": ".join(filter(None, (", ".join(found.reasons), found.note)))
        media_names = ", ".join(item.uri for item in sample.media if item.uri)
        raise DataError(
            "bad_sample",
            f"{len(broken)} of {len(samples)} clean samples cannot be scored, the first is '{sample.id}'"
            f"{f' ({media_names})' if media_names else ''}: {why}; mend it or leave it out",
        )
    report: dict[str, Any] = {"num_samples": len(samples), "corruptions": {}}
    rows_of = report["corruptions"]
    finished = {} if finished is None else finished
    tables = list(_corruptions(image_corruptions, text_corruptions, sample_corruptions, media))
    for number, (name, aimed_at, damage) in enumerate(tables, start=1):
        if name in finished:
            rows_of[name] = finished[name]
            tell(f"{number} of {len(tables)}: {name}: done before")
            continue
        tell(f"{number} of {len(tables)}: {name}, {len(severities)} degrees")
        variants = {severity: damage(samples, severity) for severity in severities}
        rows = [at for at in range(len(samples)) if all(variants[severity][at] is not None for severity in severities)]
        by_severity = {s: score([v for at in rows if (v := variants[s][at]) is not None]) for s in severities}
        own = aimed_at if aimed_at in dimensions else VALUE
        row = _one(own, [clean[at] for at in rows], by_severity, dimensions)
        row["left_out"] = _left_out(name, samples, [at for at in range(len(samples)) if at not in set(rows)])
        rows_of[name] = finished[name] = row
    report["false_flags"] = _false_flags(samples, clean, dimensions or (VALUE,))
    report["summary"] = summary(report, severities)
    return report


def summary(report: Mapping[str, Any], severities: Sequence[int]) -> dict[str, Any]:
    """By dimension: mean AUROC at the middle severity, monotone share, cross-talk to others, share of false flags."""
    middle = str(sorted(severities)[len(severities) // 2])
    table: dict[str, Any] = {}
    rows = report["corruptions"].values()
    for dimension in dict.fromkeys([*(row["dimension"] for row in rows), *report["false_flags"]]):
        own = [row for row in rows if row["dimension"] == dimension]
        flags = report["false_flags"].get(dimension, {}).values()
        num_flagged = sum(cell["share"] * cell["num_samples"] for cell in flags)
        table[dimension] = {
            f"auroc_at_{middle}": _mean([row["auroc"][middle] for row in own]),
            "monotone_share": _mean([row["monotone_share"] for row in own]),
            "crosstalk": _mean([change for row in own for change in row["crosstalk"].values()]),
            "false_flags": _mean([num_flagged / max(1, sum(cell["num_samples"] for cell in flags))]) if flags else None,
        }
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
