"""The plugin `dicom`: a modality of that name."""

from __future__ import annotations

from infimed_core import Modality, hookimpl


@hookimpl
def infimed_modalities() -> dict[str, type[Modality]]:
    """The modality ``dicom``."""
    from infimed_plugins.dicom.modality import Dicom

    return {"dicom": Dicom}
