"""The plugin `image`: a modality of that name."""

from __future__ import annotations

from infimed_core import Modality, hookimpl


@hookimpl
def infimed_modalities() -> dict[str, type[Modality]]:
    """The modality ``image``."""
    from infimed_plugins.image.modality import Image

    return {"image": Image}
