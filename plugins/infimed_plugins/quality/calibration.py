"""What clean pictures of each modality measure, and how far a picture lies from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from infimed_core import DataError, Row
from infimed_plugins.quality.measurements import MEASUREMENTS

POOLED = "pooled"


class Spread(Row):
    """One measurement over clean pictures: its median and its 2nd percentile on the bad side."""

    median: float
    edge: float


class Reference(Row):
    """Clean pictures of one modality and size. ``num_images`` says how far it can be trusted."""

    num_images: int = Field(ge=1)
    spreads: dict[str, Spread]


class Calibration(Row):
    """References by modality, then by the longest side in pixels that they were measured at."""

    source: str
    references: dict[str, dict[int, Reference]]

    def find(self, modality: str, longest_side: int) -> tuple[Reference, bool]:
        """The reference of ``modality`` nearest in size, or the pooled one; and whether it is the modality's own."""
        own = modality in self.references
        sizes = self.references[modality if own else POOLED]
        nearest = min(sizes, key=lambda side: (abs(np.log(side / max(longest_side, 1))), side))
        return sizes[nearest], own


def summarise(rows: Sequence[Mapping[str, float]]) -> Reference:
    """The reference of clean pictures, given what each of them measures."""
    spreads = {}
    for name, measurement in MEASUREMENTS.items():
        values = np.array([row[name] for row in rows], dtype=np.float64)
        edge = float(np.quantile(values, 0.98 if measurement.bad > 0 else 0.02))
        spreads[name] = Spread(median=round(float(np.median(values)), 5), edge=round(edge, 5))
    return Reference(num_images=len(rows), spreads=spreads)


def distances(values: Mapping[str, float], reference: Reference) -> dict[str, float]:
    """Signed distances: 0 at the clean median, -1 at the clean edge, below that worse. Never above 0.

    Few reference pictures do not show the whole spread, so theirs is widened by ``1 + 2 / sqrt(n)``.
    """
    widened = 1.0 + 2.0 / float(np.sqrt(reference.num_images))
    found = {}
    for name, measurement in MEASUREMENTS.items():
        spread = reference.spreads[name]
        width = max(abs(spread.edge - spread.median) * widened, measurement.floor)
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
        calibration = Calibration.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except OSError:
        raise DataError("missing_file", f"{file}: no such calibration; make one with the calibrate command") from None
    except (ValueError, ValidationError) as error:
        raise DataError("bad_calibration", f"{file}: not a calibration ({str(error).splitlines()[0]})") from None
    if POOLED not in calibration.references or not all(calibration.references.values()):
        raise DataError("bad_calibration", f"{file}: it holds no '{POOLED}' reference")
    return calibration
