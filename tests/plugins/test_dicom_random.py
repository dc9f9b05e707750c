"""Random headers of grey DICOM files give the values that PS3.3 C.7.6.3, C.11.1 and C.11.2 compute."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from infimed_plugins.dicom.modality import Dicom

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import dataset, media

NUM_CASES = 250


def drawn(rng):
    """Stored values, what is written of them, and the header's fields."""
    allocated = int(rng.choice([8, 16, 16, 16, 32]))
    stored, signed = int(rng.integers(allocated - 6, allocated + 1)), bool(rng.integers(0, 2))
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    span = (low, high) if rng.integers(0, 3) else (max(low, -100), min(high, 2000))
    values = rng.integers(span[0], span[1] + 1, (7, 9))
    written = values.astype(f"{'i' if signed else 'u'}{allocated // 8}")
    if signed and rng.integers(0, 2):  # the bits above the stored ones hold no sign
        written = (values & ((1 << stored) - 1)).astype(f"u{allocated // 8}").view(written.dtype)
    fields = {
        "BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": int(signed), "BitsAllocated": allocated,
        "PhotometricInterpretation": str(rng.choice(["MONOCHROME1", "MONOCHROME2"])),
    }  # fmt: skip
    table = None
    if (kind := rng.integers(0, 3)) == 1:
        fields["RescaleSlope"] = str(rng.choice(["1", "2", "0.5", "-1", "1e-3"]))
        fields["RescaleIntercept"] = str(rng.choice(["0", "-1024", "-0.5", "100"]))
    elif kind == 2 and allocated < 32:
        entries = np.sort(rng.integers(0, 65536, int(rng.choice([16, 256, 4096]))))
        table = int(rng.integers(low, high + 1)), entries
        item = Dataset()
        item.add_new(0x00283002, "SS" if signed else "US", [len(entries), table[0], 16])
        item.ModalityLUTType = "US"
        item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
        fields["ModalityLUTSequence"] = [item]
    if rng.integers(0, 3):
        fields["WindowCenter"] = str(rng.choice(["40", "0.5", "500", "-100", "1024"]))
        function = str(rng.choice(["", "LINEAR", "LINEAR_EXACT", "SIGMOID"]))
        widths = ["1", "2", "400", "1500", "4096"] + (["0.5"] if function[6:] or function == "SIGMOID" else [])
        fields["WindowWidth"] = str(rng.choice(widths))
        fields |= {"VOILUTFunction": function} if function else {}
    return values, written, fields, table


def by_the_standard(values, fields, table):
    """Grey levels in 0 to 255, by the formulas of the standard."""
    shown = values.astype(float)
    if table is not None:
        first, entries = table
        shown = entries[np.clip(values - first, 0, len(entries) - 1)].astype(float)
    elif "RescaleSlope" in fields:
        shown = shown * float(fields["RescaleSlope"]) + float(fields["RescaleIntercept"])
    if "WindowWidth" not in fields:
        grey = (shown - shown.min()) / max(float(np.ptp(shown)), 1e-12)
    else:
        center, width = float(fields["WindowCenter"]), float(fields["WindowWidth"])
        function = fields.get("VOILUTFunction", "LINEAR")
        if function == "SIGMOID":
            grey = 1 / (1 + np.exp(np.clip(-4 * (shown - center) / width, -700, 700)))
        elif function == "LINEAR_EXACT":
            grey = np.clip((shown - center) / width + 0.5, 0, 1)
        elif width == 1:
            grey = (shown > center - 0.5).astype(float)
        else:
            grey = np.clip((shown - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    return 255 * (1 - grey if fields["PhotometricInterpretation"] == "MONOCHROME1" else grey)


@pytest.mark.parametrize("seed", range(4))
def test_random_headers_give_the_values_of_the_standard(seed):
    rng, modality = np.random.default_rng(seed), Dicom(square_pixels=False)
    for _ in range(NUM_CASES):
        values, written, fields, table = drawn(rng)
        made = dataset(written, **fields)
        made.PixelData += bytes(len(made.PixelData) % 2)
        made["PixelData"].VR = "OB" if fields["BitsAllocated"] == 8 else "OW"
        shown = modality.load(media(made))[..., 0]
        assert np.abs(shown - by_the_standard(values, fields, table)).max() <= 0.51, fields
