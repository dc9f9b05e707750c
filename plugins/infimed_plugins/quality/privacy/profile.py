"""The Basic Application Level Confidentiality Profile of DICOM PS3.15, as a table, and what our scan makes of it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

FREE_TEXT = re.compile(
    r"Description|Comment|Label|Reason|Text|Notes|Protocol|Agent|Diagnos|History|Title|Keywords|Impressions|Narrative"
    r"|Method|Alerts|Allergies|SpecialNeeds|PreMedication|Treatment|TimePoint|ROIName|StructureSetName|RTPlanName"
    r"|EntityName|TemplateName|Lens(?:Make|Model)|GPSMapDatum|GPSSatellites|SourceManufacturer|TimezoneOffset|Barcode"
    r"|Documentation|ModifyingSystem|SourceOfPreviousValues|Subject$"
)
"""Keywords of attributes that hold prose: they are searched for identity, they are none by being there."""

IDENTITY_VR = frozenset({"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR"})
TEXT_VR = IDENTITY_VR | {"CS", "AE"}
DATE_VR = frozenset({"DA", "DT"})
VERSIONS = frozenset({"ContextGroupVersion", "ContextGroupLocalVersion"})


@functools.cache
def actions() -> dict[int, str]:
    """Action of the basic profile by tag number: ``X``, ``Z``, ``D``, ``U`` or several with / between."""
    table = {}
    for line in Path(__file__).with_name("basic_profile.txt").read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            number, action, _ = line.split()
            table[int(number, 16)] = action
    return table


def action_of(tag: int) -> str | None:
    """The profile's action for a tag; every private tag, curve and overlay is to be removed."""
    group = tag >> 16
    if group % 2 or 0x5000 <= group <= 0x50FF or (0x6000 <= group <= 0x60FF and tag & 0xFFFF in (0x3000, 0x4000)):
        return "X"
    return actions().get(tag)
