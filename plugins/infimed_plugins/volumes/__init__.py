"""The plugin `volumes`: volumes as several images of a sample, or as one."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_readers() -> dict[str, str]:
    """The reader ``volumes``, around another one."""
    return {"volumes": "infimed_plugins.volumes.reader:Volumes"}


@hookimpl
def infimed_modalities() -> dict[str, str]:
    """The modality ``montage``: several images side by side."""
    return {"montage": "infimed_plugins.volumes.montage:Montage"}
