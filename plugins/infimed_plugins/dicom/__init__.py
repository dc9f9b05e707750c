"""The plugin `dicom`: a modality of that name."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_modalities() -> dict[str, str]:
    """The modality ``dicom``."""
    return {"dicom": "infimed_plugins.dicom.modality:Dicom"}
