"""What clean pictures of each modality measure, and how far a picture lies from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from infimed_core import DataError, Row, read_named
from infimed_plugins.quality.measurements import MEASUREMENTS

POOLED = "pooled"
FEW_STUDIES = 8
"""Fewer studies than this say too little of a modality to be its only measure."""


class Spread(Row):
    """One measurement over clean pictures: its median and its 2nd percentile on the bad side."""

    median: float
    edge: float


class Reference(Row):
    """Clean pictures of one modality and size. ``num_studies`` says how far it can be trusted."""

    num_images: int = Field(ge=1)
    num_studies: int = Field(ge=1)
    spreads: dict[str, Spread]


class Calibration(Row):
    """References by modality, then by the longest side in pixels that they were measured at."""

    source: str
    references: dict[str, dict[int, Reference]]

    def find(self, modality: str, longest_side: int) -> tuple[Reference, Reference, bool]:
        """The reference of ``modality`` nearest in size and the pooled one; and whether the first is its own."""

        def nearest(name: str) -> Reference:
            sizes = self.references[name]
            return sizes[min(sizes, key=lambda side: (abs(np.log(side / max(longest_side, 1))), side))]

        own = modality in self.references
        return nearest(modality if own else POOLED), nearest(POOLED), own


def summarise(rows: Sequence[Mapping[str, float]], num_studies: int) -> Reference:
    """The reference of clean pictures, given what each of them measures and of how many studies they are."""
    spreads = {}
    for name, measurement in MEASUREMENTS.items():
        values = np.array([row[name] for row in rows], dtype=np.float64)
        edge = float(np.quantile(values, 0.98 if measurement.bad > 0 else 0.02))
        spreads[name] = Spread(median=round(float(np.median(values)), 5), edge=round(edge, 5))
    return Reference(num_images=len(rows), num_studies=num_studies, spreads=spreads)


def distances(values: Mapping[str, float], reference: Reference, pooled: Reference) -> dict[str, float]:
    """Signed distances: 0 at the clean median, -1 at the clean edge, below that worse. Never above 0.

    Pictures of few studies do not show their modality's whole spread, however many they are, and those of one study
    show nothing of how studies differ: ``n`` have ``n - 1`` degrees of freedom. The pooled spread, where it is wider,
    stands for the missing one, and the mean of the ``n`` is widened by ``1 + 1 / sqrt(studies)``. Of fewer than
    ``FEW_STUDIES`` not even the median is sure: each number is then judged by the nearer of the two references.
    """
    found = _distances(values, reference, pooled)
    if reference.num_studies >= FEW_STUDIES:
        return found
    other = _distances(values, pooled, pooled)
    return {name: max(distance, other[name]) for name, distance in found.items()}


def _distances(values: Mapping[str, float], reference: Reference, pooled: Reference) -> dict[str, float]:
    num = reference.num_studies
    found = {}
    for name, measurement in MEASUREMENTS.items():
        if name not in reference.spreads or name not in pooled.spreads:  # a calibration from before this measurement
            continue
        spread, other = reference.spreads[name], pooled.spreads[name]
        own = abs(spread.edge - spread.median)
        mixed = ((num - 1) * own + max(own, abs(other.edge - other.median))) / num
        width = max(mixed * (1.0 + 1.0 / float(np.sqrt(num))), measurement.floor)
        found[name] = min(0.0, -measurement.bad * (values[name] - spread.median) / width)
    return found


@cache
def load_calibration(path: str | None) -> Calibration:
    """Read a calibration file; ``None`` is the one in the package.

    Raises:
        DataError: missing, not JSON or not a calibration.
    """
    file = Path(path) if path else Path(__file__).with_name("calibration.json")
    try:
        calibration = Calibration.model_validate(json.loads(read_named(file)))
    except OSError as error:
        told = f"{file}: no calibration ({error.strerror}); make one with the calibrate command"
        raise DataError("missing_file", told) from None
    except (ValueError, RecursionError, ValidationError) as error:
        raise DataError("bad_calibration", f"{file}: not a calibration ({str(error).splitlines()[0]})") from None
    if POOLED not in calibration.references or not all(calibration.references.values()):
        raise DataError("bad_calibration", f"{file}: it holds no '{POOLED}' reference")
    return calibration
