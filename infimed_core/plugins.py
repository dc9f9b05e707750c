"""Finding the installed plugins and what each offers, in an order that decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, cast

import pluggy
from pydantic import ValidationError

from infimed_core import hookspecs
from infimed_core.api.component import Component
from infimed_core.api.data import MediaLoader, Modality
from infimed_core.api.reporting import PluginInfo, RunEvent
from infimed_core.errors import InfimedError, PluginError
from infimed_core.plugin_checks import wrong_class, wrong_component, wrong_table
from infimed_core.plugin_loading import (
    GROUP,
    HookManager,
    captured,
    distribution_of,
    import_component,
    is_own,
    load_entry,
    missing_module,
    place_of_code,
    plugin_of,
    told_error,
    written,
)

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
    "reporter": "infimed_reporters",
}
"""Every kind of component and the hook that offers it."""

_MOST_TOLD = 3
"""Of what is to tell of a plugin, in its line."""

Group = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""From the settings of one use of a benchmark group to the uses in its place."""


@dataclass
class Registry:
    """What the installed plugins offer: for each kind of component, every class by its qualified name.

    A kind's table is asked for when it is first needed; a component offered as ``"module:Class"`` is imported when it
    is named, so that a run pays only for what it uses. What is wrong with a plugin takes out that plugin, or the part
    of it that is wrong, and is told in one line.

    Attributes:
        broken: by plugin, the first thing that is wrong with it.
        notes: (plugin, what is worth telling of it), in the order it was found.
    """

    plugins: dict[str, PluginInfo] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: HookManager(GROUP))
    _tables: dict[str, dict[str, type[Component] | str]] = field(default_factory=dict)
    _defaults: dict[str, str] | None = None
    _usable: dict[str, set[str]] = field(default_factory=dict)
    _distributions: dict[str, metadata.Distribution | None] = field(default_factory=dict)
    _places: dict[tuple[str, str], str] = field(default_factory=dict)
    _num_told: int = 0

    def set_aside(self, plugin: str, reason: str) -> None:
        """Note what is wrong with a plugin, once."""
        if (plugin, reason) not in self.notes:
            self.broken.setdefault(plugin, reason)
            self.notes.append((plugin, reason))

    def note(self, plugin: str, text: str) -> None:
        """Note what is worth telling of a plugin that works."""
        if (plugin, text) not in self.notes:
            self.notes.append((plugin, text))

    def new_notes(self) -> list[str]:
        """One line for each plugin with something to tell since this was last asked."""
        new: dict[str, list[str]] = {}
        for plugin, text in self.notes[self._num_told :]:
            new.setdefault(plugin, []).append(text)
        self._num_told = len(self.notes)
        return [_line(plugin, texts) for plugin, texts in new.items()]

    def all_notes(self) -> list[str]:
        """One line for each plugin with something to tell."""
        self._num_told = 0
        return self.new_notes()

    def components(self, kind: str) -> dict[str, type[Component]]:
        """Every class of a kind by qualified name, sorted; one that cannot be used is set aside with its reason."""
        found = {}
        for qualified in list(self._table(kind)):
            try:
                found[qualified] = self._resolve(kind, qualified)
            except PluginError as error:
                self.set_aside(qualified.split("/", 1)[0], str(error))
        return found

    def _table(self, kind: str) -> dict[str, type[Component] | str]:
        if kind not in self._tables:
            table: dict[str, type[Component] | str] = {}
            for plugin, offered, _ in self._ask(KINDS[kind]):
                table |= {f"{plugin}/{name}": component for name, component in offered.items()}
            self._tables[kind] = dict(sorted(table.items()))
            self._note_shadows(KINDS[kind], self._tables[kind])
        return self._tables[kind]

    def _note_shadows(self, hook: str, table: dict[str, Any]) -> None:
        """Tell who offers a name that is a built-in's: nothing changes, but its author may have meant otherwise."""
        own = {name.split("/", 1)[1] for name in table if self.is_own(name.split("/", 1)[0])}
        for qualified in table:
            plugin, name = qualified.split("/", 1)
            if name in own and not self.is_own(plugin):
                at = self._places.get((plugin, hook), "")
                self.note(
                    plugin, f"{hook} offers '{name}' ({at}), which stays InfiMed's; write {qualified} for its own"
                )

    def _ask(self, hook: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """(plugin, its table, where the hook is) of every plugin whose hook can be called and returns a table."""
        for implementation in sorted(getattr(self.manager.hook, hook).get_hookimpls(), key=lambda i: i.plugin_name):
            plugin, at = implementation.plugin_name, place_of_code(implementation.function)
            self._places[plugin, hook] = at
            try:
                with captured() as streams:
                    offered = implementation.function()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                reason = self._reason(plugin, error)
                self.set_aside(plugin, f"{hook} raised {reason}; what it offers there is left out")
                continue
            if text := written(streams):
                self.note(plugin, f"{hook} wrote '{text}' ({at}); remove the output")
            if wrong := wrong_table(offered):
                self.set_aside(plugin, f"{hook} {wrong} ({at})")
                continue
            yield plugin, offered, at

    def _reason(self, plugin: str, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"ModuleNotFoundError: it {missing_module(error, self._distributions.get(plugin))}"
        module = getattr(self.manager.get_plugin(plugin), "__name__", "")
        return told_error(error, module)

    def _resolve(self, kind: str, qualified: str) -> type[Component]:
        """The class behind a name.

        Raises:
            PluginError: it cannot be imported, or is no component class of this kind.
        """
        table, hook = self._table(kind), KINDS[kind]
        found = table[qualified]
        if qualified in self._usable.setdefault(kind, set()):
            return cast(type[Component], found)
        plugin, name = qualified.split("/", 1)
        at = self._places.get((plugin, hook), "")
        if isinstance(found, str) and ":" in found:
            try:
                found = import_component(found)
            except PluginError as error:
                raise PluginError(f"{hook} offers '{name}' as '{table[qualified]}' ({at}): {error}") from None
            except ImportError as error:
                reason = self._reason(plugin, error)
                raise PluginError(f"{hook} offers '{name}' as '{table[qualified]}' ({at}): {reason}") from error
        if wrong := wrong_class(hook, hookspecs.component_bases(), found):
            raise PluginError(f"{hook} offers '{name}' ({at}), which {wrong}")
        component = cast(type[Component], found)
        if not self.is_own(plugin) and plugin_of(component.__module__) == plugin:
            component.plugin_version = self.plugins[plugin].version
        table[qualified] = component
        self._usable[kind].add(qualified)
        return component

    def is_own(self, plugin: str) -> bool:
        """Whether a plugin is one of InfiMed's own."""
        return plugin in self.plugins and self.plugins[plugin].distribution == GROUP

    def default(self, purpose: str) -> str | None:
        """The built-in that is used for ``purpose`` where a run file names nothing; ``None`` where none is offered."""
        if self._defaults is None:
            self._defaults = {}
            for plugin, offered, at in self._ask("infimed_defaults"):
                if self.is_own(plugin):
                    self._defaults |= offered
                else:
                    text = f"infimed_defaults is asked of InfiMed's own plugins alone ({at}); remove it"
                    self.note(plugin, text)
        return self._defaults.get(purpose)

    def commands(self) -> list[tuple[str, str, Callable[..., Any]]]:
        """(plugin, name, function) of the subcommands that plugins add to ``infimed``, InfiMed's own first."""
        found = []
        for plugin, offered, at in self._ask("infimed_commands"):
            for name, function in sorted(offered.items()):
                if callable(function):
                    found.append((plugin, name, function))
                else:
                    self.set_aside(plugin, f"infimed_commands offers '{name}', which is no function ({at})")
        return sorted(found, key=lambda row: (not self.is_own(row[0]), row[1], row[0]))

    def benchmark_groups(self) -> dict[str, Group]:
        """Names that stand for several benchmarks: from the settings of one use to the uses in its place.

        A bare name is InfiMed's where it has a group or a benchmark of that name, and nobody's where two others do.
        """
        groups: dict[str, Group] = {}
        owners: dict[str, set[str]] = {}
        for qualified in self._table("benchmark"):
            plugin, name = qualified.split("/", 1)
            owners.setdefault(name, set()).add(plugin)
        for plugin, offered, at in self._ask("infimed_benchmark_groups"):
            for name, members in offered.items():
                if not callable(members):
                    self.set_aside(plugin, f"infimed_benchmark_groups offers '{name}', which is no function ({at})")
                    continue
                groups[f"{plugin}/{name}"] = members
                owners.setdefault(name, set()).add(plugin)
        for qualified, members in list(groups.items()):
            plugin, name = qualified.split("/", 1)
            own = {owner for owner in owners[name] if self.is_own(owner)} or owners[name]
            if own == {plugin}:
                groups[name] = members
        qualified_groups = {name: members for name, members in groups.items() if "/" in name}
        self._note_shadows("infimed_benchmark_groups", {**self._table("benchmark"), **qualified_groups})
        return groups

    def names(self, kind: str) -> dict[str, list[str]]:
        """Short name -> qualified names that share it, sorted."""
        table: dict[str, list[str]] = {}
        for qualified in sorted(self._table(kind)):
            table.setdefault(qualified.split("/", 1)[1], []).append(qualified)
        return table

    def find(self, kind: str, name: str) -> type[Component]:
        """The class offered as ``name`` or ``plugin/name``; a bare name that InfiMed offers is always InfiMed's.

        Raises:
            PluginError: nothing, or more than one plugin, offers that name, or what is offered cannot be used; the
                message names the remedy.
        """
        qualified = self._qualify(kind, name)
        try:
            return self._resolve(kind, qualified)
        except PluginError as error:
            plugin = qualified.split("/", 1)[0]
            raise PluginError(f"the {kind} '{name}' cannot be used: plugin '{plugin}': {error}") from error

    def make(self, kind: str, name: str, settings: Any = None) -> Component:
        """The component offered as ``name``, with its settings.

        Raises:
            PluginError: as ``find``, or the component cannot take part in a run.
            ValidationError: the settings are not those it takes.
        """
        found = self.find(kind, name)
        try:
            component = found.model_validate({} if settings is None else settings)
            wrong = wrong_component(kind, component)
        except (InfimedError, ValidationError):
            raise
        except Exception as error:
            wrong = f"{found.__name__} cannot be made: {told_error(error, found.__module__)}"
        if wrong:
            raise PluginError(f"the {kind} '{name}' cannot be used: plugin '{self.owner(kind, name)}': {wrong}")
        return component

    def owner(self, kind: str, name: str) -> str:
        """The plugin that offers ``name``."""
        return self._qualify(kind, name).split("/", 1)[0]

    def _qualify(self, kind: str, name: str) -> str:
        offered = self._table(kind)
        if "/" in name and name in offered:
            return name
        short = self.names(kind)
        matches = short.get(name, [])
        own = [qualified for qualified in matches if self.is_own(qualified.split("/", 1)[0])]
        if len(own or matches) == 1:
            return (own or matches)[0]
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

    def media_loader(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> MediaLoader:
        """A loader over every installed modality; ``settings`` by name, and defaults for the others."""
        given = {self._qualify("modality", name): own for name, own in (settings or {}).items()}
        loaders: dict[str, Modality] = {}
        for qualified in self.components("modality"):
            plugin = qualified.split("/", 1)[0]
            try:
                loaders[qualified] = cast(Modality, self.make("modality", qualified, given.get(qualified)))
            except ValidationError as error:
                found = self._table("modality")[qualified]
                reason = f"{told_error(error)} ({place_of_code(found)}); give every setting of a modality a default"
                self.set_aside(plugin, f"the modality '{qualified}' cannot be made without settings: {reason}")
            except InfimedError as error:
                self.set_aside(plugin, str(error))
        for short in self.names("modality"):
            try:
                qualified = self._qualify("modality", short)
            except PluginError:
                continue  # two third parties offer it: it must be written with its plugin
            if qualified in loaders:
                loaders[short] = loaders[qualified]
        return MediaLoader(loaders)

    def tell(self, event: RunEvent) -> list[str]:
        """Send an event to every listener; return one line for each listener that raised."""
        failures = []
        for implementation in self.manager.hook.infimed_run_event.get_hookimpls():
            try:
                implementation.function(*([event] if implementation.argnames else []))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                plugin = implementation.plugin_name
                failures.append(
                    f"plugin '{plugin}': its listener infimed_run_event raised {self._reason(plugin, error)}; "
                    "the run goes on"
                )
        return failures


def _line(plugin: str, texts: list[str]) -> str:
    """What is to tell of a plugin, in one line."""
    shown = texts[:_MOST_TOLD]
    num_more = len(texts) - len(shown)
    more = f" (and {num_more} more: `infimed plugins --json` lists all)" if num_more else ""
    return f"plugin '{plugin}': " + "; ".join(" ".join(text.split("\n")) for text in shown) + more


def load_plugins(entry_points: list[metadata.EntryPoint] | None = None) -> Registry:
    """Load every installed plugin into a manager of its own, one at a time.

    A plugin that cannot be used is set aside with its reason, in ``broken``; so is the second of two distributions
    that announce one plugin name.
    """
    found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    entries = sorted(found, key=lambda entry: (entry.name, not is_own(entry), distribution_of(entry)))
    registry = Registry()
    manager = cast(HookManager, registry.manager)
    manager.add_hookspecs(hookspecs)
    seen: dict[str, metadata.EntryPoint] = {}
    for entry in entries:
        first = seen.setdefault(entry.name, entry)
        if first is not entry:
            if (first.value, distribution_of(first)) != (entry.value, distribution_of(entry)):
                one, other = (" ".join(distribution_of(each)) for each in (first, entry))
                registry.set_aside(
                    f"{entry.name} of {distribution_of(entry)[0]}",
                    f"{other} announces a plugin named '{entry.name}' as {one} does, which comes first; "
                    f"uninstall one of them",
                )
            continue
        name, version = distribution_of(entry)
        try:
            notes = load_entry(entry, manager)
        except PluginError as error:
            registry.set_aside(entry.name, str(error))
            continue
        registry._distributions[entry.name] = entry.dist
        registry.plugins[entry.name] = PluginInfo(name=entry.name, distribution=name, version=version)
        for note in notes:
            registry.note(entry.name, note)
    return registry
