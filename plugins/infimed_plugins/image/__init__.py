"""The plugin `image`: a modality of that name."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_modalities() -> dict[str, str]:
    """The modality ``image``."""
    return {"image": "infimed_plugins.image.modality:Image"}
