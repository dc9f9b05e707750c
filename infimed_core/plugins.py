"""Finding the installed plugins and what each offers, in an order that decides nothing."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any, cast

import pluggy

from infimed_core import hookspecs
from infimed_core.api.component import Component
from infimed_core.api.data import MediaLoader, Modality
from infimed_core.api.reporting import PluginInfo, RunEvent
from infimed_core.errors import PluginError

GROUP = "infimed"
"""The entry-point group that plugins announce themselves in."""

KINDS = {
    "reader": "infimed_readers",
    "modality": "infimed_modalities",
    "executor": "infimed_executors",
    "filter": "infimed_filters",
    "scorer": "infimed_scorers",
    "selector": "infimed_selectors",
    "model": "infimed_models",
    "resolution scheduler": "infimed_resolution_schedulers",
    "packer": "infimed_packers",
    "trainer": "infimed_trainers",
    "benchmark": "infimed_benchmarks",
    "solver": "infimed_solvers",
    "metric": "infimed_metrics",
}
"""Every kind of component and the hook that offers it."""

EXTRAS = {"nilearn": "demo", "skimage": "demo", "pydicom_data": "demo", "ray": "ray", "peft": "lora", "openai": "serve"}
"""Which extra of our distribution brings a missing package; for remedies only."""


@dataclass
class Registry:
    """What the installed plugins offer: for each kind of component, every class by its qualified name.

    A kind's table is asked for when it is first needed; a component offered as ``"module:Class"`` is imported when it
    is named, so that a run pays only for what it uses.
    """

    plugins: dict[str, PluginInfo] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(GROUP))
    _tables: dict[str, dict[str, type[Component] | str]] = field(default_factory=dict)

    def components(self, kind: str) -> dict[str, type[Component]]:
        """Every class of a kind by qualified name, sorted; one that cannot be imported is set aside with its reason.

        Raises:
            PluginError: a plugin offers something else than component classes.
        """
        found = {}
        for qualified in list(self._table(kind)):
            try:
                found[qualified] = self._resolve(kind, qualified)
            except ImportError as error:
                self.broken[qualified.split("/", 1)[0]] = _reason(error)
        return found

    def resolved(self, kind: str) -> dict[str, type[Component]]:
        """The classes of a kind that are imported already, by qualified name."""
        return {name: found for name, found in self._table(kind).items() if not isinstance(found, str)}

    def _table(self, kind: str) -> dict[str, type[Component] | str]:
        if kind not in self._tables:
            self._tables[kind] = _offered(self, kind)
        return self._tables[kind]

    def _resolve(self, kind: str, qualified: str) -> type[Component]:
        table = self._table(kind)
        found = table[qualified]
        if isinstance(found, str):
            module, _, name = found.partition(":")
            plugin = qualified.split("/", 1)[0]
            try:
                found = getattr(importlib.import_module(module), name)
            except AttributeError:
                raise PluginError(f"plugin '{plugin}': {KINDS[kind]} names '{found}', which is not there") from None
            table[qualified] = _checked(kind, qualified, found)
        return cast(type[Component], table[qualified])

    def commands(self) -> dict[str, Any]:
        """The subcommands that plugins add to ``infimed``."""
        found: dict[str, Any] = {}
        for implementation in self.manager.hook.infimed_commands.get_hookimpls():
            found.update(cast(dict[str, Any], implementation.function()))
        return found

    def benchmark_groups(self) -> dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]]:
        """Names that stand for several benchmarks: from the settings of one use to the uses in its place."""
        found: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {}
        for implementation in self.manager.hook.infimed_benchmark_groups.get_hookimpls():
            offered = cast(dict[str, Any], implementation.function())
            for name, members in offered.items():
                found[f"{implementation.plugin_name}/{name}"] = members
                found.setdefault(name, members)
        return found

    def names(self, kind: str) -> dict[str, list[str]]:
        """Short name -> qualified names that share it, sorted."""
        table: dict[str, list[str]] = {}
        for qualified in sorted(self._table(kind)):
            table.setdefault(qualified.split("/", 1)[1], []).append(qualified)
        return table

    def find(self, kind: str, name: str) -> type[Component]:
        """The class offered as ``name`` or ``plugin/name``.

        Raises:
            PluginError: nothing, or more than one plugin, offers that name; the message names the remedy.
        """
        qualified = self._qualify(kind, name)
        try:
            return self._resolve(kind, qualified)
        except ImportError as error:
            raise PluginError(f"the {kind} '{name}' cannot be imported: {_reason(error)}") from error

    def owner(self, kind: str, name: str) -> str:
        """The plugin that offers ``name``."""
        return self._qualify(kind, name).split("/", 1)[0]

    def _qualify(self, kind: str, name: str) -> str:
        offered = self._table(kind)
        if "/" in name and name in offered:
            return name
        short = self.names(kind)
        matches = short.get(name, [])
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise PluginError(f"two plugins offer the {kind} '{name}': write one of {', '.join(matches)}")
        raise PluginError(f"no {kind} is named '{name}'; {self._remedy(kind, name, short)}")

    def _remedy(self, kind: str, name: str, short: dict[str, list[str]]) -> str:
        close = difflib.get_close_matches(name, short, n=1)
        parts = [f"did you mean '{close[0]}'?"] if close else []
        elsewhere = [other for other in KINDS if other != kind and name in self.names(other)]
        if elsewhere:
            parts.append(f"'{name}' is a {elsewhere[0]}.")
        parts.append(f"installed: {', '.join(sorted(short)) or 'none'}.")
        if self.broken:
            first, *others = self.broken.items()
            more = f" and {len(others)} more (infimed plugins lists them)" if others else ""
            parts.append(f"set aside: {first[0]} ({first[1]}){more}")
        elif not close:
            parts.append("A third party's component comes with `pip install` of its distribution")
        return " ".join(parts).rstrip(".")

    def media_loader(self) -> MediaLoader:
        """A loader over every installed modality, with its default settings; qualified names work too."""
        loaders: dict[str, Modality] = {}
        for qualified, component in self.components("modality").items():
            loaders[qualified] = cast(Modality, component())
        for short, matches in self.names("modality").items():
            if len(matches) == 1:
                loaders[short] = loaders[matches[0]]
        return MediaLoader(loaders)

    def tell(self, event: RunEvent) -> list[str]:
        """Send an event to every listener; return one line for each listener that raised."""
        failures = []
        for implementation in self.manager.hook.infimed_run_event.get_hookimpls():
            try:
                implementation.function(event)
            except Exception as error:
                failures.append(f"listener '{implementation.plugin_name}' failed: {type(error).__name__}: {error}")
        return failures


def load_plugins(entry_points: list[metadata.EntryPoint] | None = None) -> Registry:
    """Load every installed plugin into a manager of its own.

    A plugin that fails to import is set aside, and its reason is told whenever a name is missing.

    Raises:
        PluginError: two distributions announce one plugin name; a plugin implements a hook that does not exist, or
            returns something else than component classes (told when its kind is first asked for).
    """
    found = sorted(metadata.entry_points(group=GROUP) if entry_points is None else entry_points, key=lambda e: e.name)
    registry = Registry()
    registry.manager.add_hookspecs(hookspecs)
    seen: dict[str, metadata.EntryPoint] = {}
    for entry in found:
        twin = seen.get(entry.name)
        if twin is not None:
            if (twin.value, _distribution(twin)) == (entry.value, _distribution(entry)):
                continue
            raise PluginError(
                f"two distributions announce a plugin named '{entry.name}': {_distribution(twin)[0]} and "
                f"{_distribution(entry)[0]}; uninstall one of them"
            )
        seen[entry.name] = entry
        try:
            module = entry.load()
        except Exception as error:
            registry.broken[entry.name] = _reason(error)
            continue
        registry.manager.register(module, name=entry.name)
        name, version = _distribution(entry)
        registry.plugins[entry.name] = PluginInfo(name=entry.name, distribution=name, version=version)
    try:
        registry.manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}; see infimed_core/hookspecs.py for the hooks there are") from None
    return registry


def _offered(registry: Registry, kind: str) -> dict[str, type[Component] | str]:
    """What every plugin offers of one kind, by qualified name; a plugin that fails is set aside with its reason."""
    hook = KINDS[kind]
    table: dict[str, type[Component] | str] = {}
    for implementation in getattr(registry.manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        try:
            offered = implementation.function()
        except Exception as error:
            registry.broken[plugin] = _reason(error)
            continue
        for name, component in offered.items():
            qualified = f"{plugin}/{name}"
            named = isinstance(component, str) and ":" in component
            table[qualified] = component if named else _checked(kind, qualified, component)
    return dict(sorted(table.items()))


def _checked(kind: str, qualified: str, component: Any) -> type[Component]:
    if not (inspect.isclass(component) and issubclass(component, Component)):
        plugin, name = qualified.split("/", 1)
        raise PluginError(
            f"plugin '{plugin}': {KINDS[kind]} must return component classes (or 'module:Class'), "
            f"'{name}' is {component!r}"
        )
    return component


def _reason(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = EXTRAS.get(error.name.split(".")[0])
        reason += f"; pip install 'infimed[{extra}]'" if extra else f"; pip install {error.name.split('.')[0]}"
    return reason


def _distribution(entry: metadata.EntryPoint) -> tuple[str, str]:
    return _name_and_version(entry.dist) if entry.dist is not None else ("unknown", "0")


@cache
def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    """Read once for all of a distribution's plugins: parsing it takes a millisecond."""
    found = distribution.metadata
    return str(found["Name"]), str(found["Version"])
