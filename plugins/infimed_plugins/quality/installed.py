"""Readers and modalities of the installed plugins, for the commands of this package."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from infimed_core import DataError, MediaLoader, Modality, PluginError, Reader


def _tables(hook: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group="infimed"), key=lambda point: point.name):
        try:
            module = point.load()
            if hasattr(module, hook):
                found.update({name: _resolved(offered) for name, offered in getattr(module, hook)().items()})
        except Exception:  # a broken plugin is told by the harness; here only what works is of use
            continue
    return found


def _resolved(offered: Any) -> Any:
    """A component, or the one that ``package.module:Name`` says."""
    if not isinstance(offered, str):
        return offered
    module, _, name = offered.partition(":")
    return getattr(import_module(module), name)


def media_loader() -> MediaLoader:
    """A loader with every installed modality at its defaults."""
    modalities: dict[str, type[Modality]] = _tables("infimed_modalities")
    return MediaLoader({name: modality() for name, modality in modalities.items()})


def reader(name: str, **settings: Any) -> Reader:
    """An installed reader by name.

    Raises:
        DataError: no installed plugin offers it.
    """
    readers: dict[str, type[Reader]] = _tables("infimed_readers")
    if name not in readers:
        raise DataError("missing_reader", f"no reader '{name}' is installed; run: pip install 'infimed[demo]'")
    return readers[name](**settings)


def component(kind: str, name: str) -> Any:
    """The class of an installed scorer, reader or model by name, or by ``plugin/name``'s last part.

    Raises:
        PluginError: no installed plugin offers it; says what there is.
    """
    offered = _tables(f"infimed_{kind}s")
    if name not in offered:
        raise PluginError(f"no {kind} '{name}' is installed; installed: {', '.join(sorted(offered)) or 'none'}")
    return offered[name]
