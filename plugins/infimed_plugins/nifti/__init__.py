"""The plugin `nifti`: a modality of that name."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_modalities() -> dict[str, str]:
    """The modality ``nifti``."""
    return {"nifti": "infimed_plugins.nifti.modality:Nifti"}
