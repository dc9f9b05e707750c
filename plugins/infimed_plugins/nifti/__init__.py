"""The plugin `nifti`: a modality of that name."""

from __future__ import annotations

from infimed_core import Modality, hookimpl


@hookimpl
def infimed_modalities() -> dict[str, type[Modality]]:
    """The modality ``nifti``."""
    from infimed_plugins.nifti.modality import Nifti

    return {"nifti": Nifti}
