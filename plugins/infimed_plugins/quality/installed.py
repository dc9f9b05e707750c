"""Readers, modalities and scorers of the installed plugins, for the commands of this package."""

from __future__ import annotations

from typing import Any

from infimed_core import MediaLoader, Reader, load_plugins


def media_loader() -> MediaLoader:
    """A loader with every installed modality at its defaults."""
    return load_plugins().media_loader()


def reader(name: str, **settings: Any) -> Reader:
    """An installed reader by name.

    Raises:
        PluginError: no installed plugin offers it.
    """
    made: Any = component("reader", name)(**settings)
    return made  # type: ignore[no-any-return]


def component(kind: str, name: str) -> Any:
    """The class of an installed scorer, reader or model by name.

    Raises:
        PluginError: no installed plugin offers it; says what there is.
    """
    return load_plugins().find(kind, name)
