"""Command ``python -m infimed_plugins.quality.calibrate``: measures clean pictures and writes a calibration file."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infimed_core import Media, Sample
from infimed_plugins.quality.calibration import POOLED, Calibration, summarise
from infimed_plugins.quality.installed import media_loader, reader
from infimed_plugins.quality.modalities import modality_of
from infimed_plugins.quality.pictures import media_key, open_picture
from infimed_plugins.quality.profile import load_profile

LEAST_POOLED = 3
"""Fewer modalities that were measured at a size are no pool of all modalities."""


def distinct_pictures(samples: Sequence[Sample]) -> Iterator[tuple[str, str, Media]]:
    """(modality, study, media) of every distinct picture, in order; without the tag ``study`` each is its own."""
    seen = set()
    for sample in samples:
        for media in sample.media:
            key = media_key(media)
            if key not in seen:
                seen.add(key)
                yield modality_of(sample), sample.tags.get("study", key), media


def calibrate(samples_by_side: dict[int, list[Sample]], source: str) -> Calibration:
    """A calibration from clean samples, given by the longest side of their pictures in pixels."""
    profile, loader = load_profile("default"), media_loader()
    measured: dict[str, dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    studies: dict[str, set[str]] = defaultdict(set)
    for side, samples in samples_by_side.items():
        for modality, study, media in distinct_pictures(samples):
            picture = open_picture(media, loader, profile, side)
            if picture.values:
                measured[modality][side].append(picture.values)
                studies[modality].add(study)
    for side in samples_by_side:  # every modality weighs alike in the pool, whatever the source holds most of
        if sum(side in sides for name, sides in measured.items() if name) < LEAST_POOLED:
            continue
        for modality in sorted(set(measured) - {POOLED}):
            rows = measured[modality][side]
            measured[POOLED][side] += rows[:: max(1, len(rows) // 25)]
    measured.pop("", None)
    studies[POOLED] = {study for found in studies.values() for study in found}
    references = {
        modality: {side: summarise(rows, len(studies[modality])) for side, rows in sorted(sides.items())}
        for modality, sides in sorted(measured.items())
    }
    return Calibration(source=source, references=references)


def films(modality: str, directory: Path) -> list[Sample]:
    """One sample for each picture of a directory, which are clean and of as many studies."""
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"))
    return [Sample(id=p.name, turns=(), media=(Media(uri=str(p)),), tags={"modality": modality}) for p in paths]


def read_all(name: str, splits: Sequence[str], settings: dict[str, Any]) -> list[Sample]:
    """Every sample of the reader ``name``, read once for each of ``splits`` (its setting ``split``; "" sets none)."""
    sources = [reader(name, **settings, **({"split": split} if split else {})) for split in splits]
    rows = [row for source in sources for shard in source.shards() for row in source.read(shard)]
    return [row for row in rows if isinstance(row, Sample)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the calibration that the package ships, or one from another reader of clean pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", default="demo-anatomy", help="reader of clean samples with the tag modality")
    parser.add_argument("--settings", default="{}", help="the reader's settings, as JSON")
    parser.add_argument("--sides", default="96,128,192", help="the setting 'side' to read at; empty: read once")
    parser.add_argument("--splits", default="train,validation,test", help="values of the setting 'split'; empty: none")
    parser.add_argument(
        "--films",
        nargs="*",
        default=[],
        metavar="MODALITY=DIRECTORY",
        help="more clean pictures, measured at each side",
    )
    parser.add_argument("--output", default=str(Path(__file__).with_name("calibration.json")))
    options = parser.parse_args(arguments)
    samples_by_side = {}
    for side in [int(part) for part in options.sides.split(",") if part] or [0]:
        settings = json.loads(options.settings) | ({"side": side} if side else {})
        samples_by_side[side or 512] = read_all(options.reader, options.splits.split(","), settings)
    for modality, _, directory in (given.partition("=") for given in options.films):
        for side in (*samples_by_side, 512):
            samples_by_side[side] = samples_by_side.get(side, []) + films(modality, Path(directory))
    calibration = calibrate(samples_by_side, f"{options.reader} {options.settings} {len(options.films)} of films")
    text = json.dumps(calibration.model_dump(mode="json"), indent=1, sort_keys=True)
    Path(options.output).write_text(text + "\n", encoding="utf-8")
    for modality, sides in calibration.references.items():
        print(modality, {side: reference.num_images for side, reference in sides.items()})


if __name__ == "__main__":
    main()
