"""Finding the installed plugins and what each offers, in an order that decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pluggy
from pydantic import ValidationError

from infimed_core import hookspecs
from infimed_core.api.component import Component
from infimed_core.api.data import MediaLoader, Modality
from infimed_core.api.reporting import RunEvent
from infimed_core.errors import InfimedError, PluginError
from infimed_core.hookspecs import KINDS
from infimed_core.plugin_checks import wrong_component, wrong_offer, wrong_table
from infimed_core.plugin_files import known_files, offered_by
from infimed_core.plugin_loading import (
    GROUP,
    captured,
    distribution_of,
    import_named,
    is_own,
    place_of_code,
    plugin_of,
    told_error,
    written,
)
from infimed_core.plugin_set import PluginSet

__all__ = ["KINDS", "Group", "Registry", "load_plugins"]

_BASES = {kind.hook: kind.base for kind in KINDS.values()}

Group = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""From the settings of one use of a benchmark group to the uses in its place."""


@dataclass
class Offer:
    """What a plugin offers under a name: a class or function, or ``"module:name"`` of one until it is resolved."""

    plugin: str
    name: str
    hook: str
    where: str
    value: Any
    is_resolved: bool = False

    @property
    def qualified(self) -> str:
        """``plugin/name``."""
        return f"{self.plugin}/{self.name}"


@dataclass
class Registry(PluginSet):
    """What the plugins in use offer: by hook, everything by its qualified name.

    A hook is called when what it offers is first needed; what is offered as ``"module:name"`` is imported when it is
    named, so that a run pays only for what it uses.
    """

    # What hooks offer

    def _offers(self, hook: str) -> dict[str, Offer]:
        """Everything that plugins offer through a hook, by qualified name, sorted."""
        if hook not in self._offered:
            implementations = getattr(self.manager.hook, hook).get_hookimpls()
            offers = [offer for implementation in implementations for offer in self._call(hook, implementation)]
            for plugin, module in self.manager.list_name_plugin():
                for name, made in ((name, made) for wanted, name, made in offered_by(module) if wanted == hook):
                    if plugin_of(made.__module__) == plugin:  # not what it imports from another
                        offers.append(Offer(plugin, name, hook, place_of_code(made), made))
            self._offered[hook] = {offer.qualified: offer for offer in sorted(offers, key=lambda o: o.qualified)}
        return self._offered[hook]

    def _call(self, hook: str, implementation: pluggy.HookImpl) -> Iterator[Offer]:
        """What one plugin offers; nothing where its hook cannot be called or returns no table."""
        plugin, where = implementation.plugin_name, place_of_code(implementation.function)
        try:
            with captured() as streams:
                table = implementation.function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = self._reason(plugin, error)
            self.set_aside(plugin, f"{hook} raised {reason}; what it offers there is left out")
            return
        if text := written(streams):
            self.note(plugin, f"{hook} wrote '{text}' ({where}); remove the output")
        if wrong := wrong_table(table):
            self.set_aside(plugin, f"{hook} {wrong} ({where})")
            return
        offered = cast(dict[str, Any], table)
        yield from (Offer(plugin, name, hook, where, value) for name, value in offered.items())

    def _resolve(self, offer: Offer) -> Any:
        """The class or function that is offered.

        Raises:
            PluginError: it cannot be imported, or is not what its hook is for.
        """
        if offer.is_resolved:
            return offer.value
        said, value = f"{offer.hook} offers '{offer.name}'", offer.value
        if isinstance(value, str) and ":" in value:
            try:
                value = import_named(value)
            except (PluginError, ImportError) as error:
                reason = str(error) if isinstance(error, PluginError) else self._reason(offer.plugin, error)
                self._import_reasons.append(reason)
                raise PluginError(f"{said} as '{offer.value}' ({offer.where}): {reason}") from error
        is_own = self.is_own(offer.plugin)
        if wrong := wrong_offer(_BASES, offer.hook, offer.name, value, is_own):
            raise PluginError(f"{said} ({offer.where}), which {wrong}")
        if isinstance(value, type) and not is_own and plugin_of(value.__module__) == offer.plugin:
            cast(type[Component], value).plugin_version = self.plugins[offer.plugin].version
        offer.value, offer.is_resolved = value, True
        return value

    def _usable(self, offers: Iterable[Offer]) -> Iterator[tuple[Offer, Any]]:
        """Each offer with what it stands for; one that cannot be used is set aside with its reason."""
        for offer in list(offers):
            try:
                yield offer, self._resolve(offer)
            except PluginError as error:
                self.set_aside(offer.plugin, str(error))

    def _note_shadows(self, offers: Iterable[Offer], others: Iterable[Offer] = ()) -> None:
        """Tell who offers a name that is a built-in's: nothing changes, but its author may have meant otherwise."""
        built_in = {offer.name for offer in [*offers, *others] if self.is_own(offer.plugin)}
        for offer in offers:
            if offer.name in built_in and not self.is_own(offer.plugin):
                stays = f"{offer.hook} offers '{offer.name}' ({offer.where}), which stays InfiMed's"
                self.note(offer.plugin, f"{stays}; write {offer.qualified} for its own")

    # Components

    def _table(self, kind: str) -> dict[str, Offer]:
        hook = KINDS[kind].hook
        is_new = hook not in self._offered
        offers = self._offers(hook)
        if is_new:
            self._note_shadows(offers.values())
        return offers

    def components(self, kind: str) -> dict[str, type[Component]]:
        """Every class of a kind by qualified name, sorted; one that cannot be used is set aside with its reason."""
        return {offer.qualified: component for offer, component in self._usable(self._table(kind).values())}

    def names(self, kind: str) -> dict[str, list[str]]:
        """Short name -> qualified names that share it, sorted."""
        table: dict[str, list[str]] = {}
        for offer in self._table(kind).values():
            table.setdefault(offer.name, []).append(offer.qualified)
        return table

    def find(self, kind: str, name: str) -> type[Component]:
        """The class offered as ``name`` or ``plugin/name``; a bare name that InfiMed offers is always InfiMed's.

        Raises:
            PluginError: nothing, or more than one plugin, offers that name, or what is offered cannot be used; the
                message names the remedy.
        """
        offer = self._pick(kind, name)
        try:
            return cast(type[Component], self._resolve(offer))
        except PluginError as error:
            raise PluginError(f"the {kind} '{name}' cannot be used: plugin '{offer.plugin}': {error}") from error

    def make(self, kind: str, name: str, settings: Any = None) -> Component:
        """The component offered as ``name``, with its settings.

        Raises:
            PluginError: as ``find``, or the component cannot take part in a run.
            ValidationError: the settings are not those it takes.
        """
        component_class = self.find(kind, name)
        try:
            component = component_class.model_validate({} if settings is None else settings)
            wrong = wrong_component(kind, component)
        except (InfimedError, ValidationError):
            raise
        except Exception as error:
            wrong = f"{component_class.__name__} cannot be made: {told_error(error, component_class.__module__)}"
        if wrong:
            raise PluginError(f"the {kind} '{name}' cannot be used: plugin '{self.owner(kind, name)}': {wrong}")
        return component

    def owner(self, kind: str, name: str) -> str:
        """The plugin that offers ``name``."""
        return self._pick(kind, name).plugin

    def _owners(self, name: str, offers: Iterable[Offer]) -> list[Offer]:
        """The offers that a bare name may mean: InfiMed's own where there is one."""
        matches = [offer for offer in offers if offer.name == name]
        return [offer for offer in matches if self.is_own(offer.plugin)] or matches

    def _pick(self, kind: str, name: str) -> Offer:
        table = self._table(kind)
        matches = [table[name]] if name in table else self._owners(name, table.values())
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = ", ".join(offer.qualified for offer in matches)
            raise PluginError(f"two plugins offer the {kind} '{name}': write one of {listed}")
        raise PluginError(f"no {kind} is named '{name}'; {self._remedy(kind, name)}")

    def _remedy(self, kind: str, name: str) -> str:
        installed = self.names(kind)
        close = difflib.get_close_matches(name, installed, n=1)
        parts = [f"did you mean '{close[0]}'?"] if close else []
        elsewhere = [other for other in KINDS if other != kind and name in self.names(other)]
        if elsewhere:
            kind = {"objective": "an objective, which a stage of training names"}.get(elsewhere[0], f"a {elsewhere[0]}")
            parts.append(f"'{name}' is {kind}.")
        parts.append(f"installed: {', '.join(sorted(installed)) or 'none'}.")
        if self.broken:
            (plugin, reason), *others = self.broken.items()
            more = f" and {len(others)} more (infimed plugins lists them)" if others else ""
            parts.append(f"set aside: {plugin} ({reason}){more}")
        elif not close:
            parts.append("A third party's component comes with `pip install` of its distribution")
        return " ".join(parts).rstrip(".")

    def media_loader(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> MediaLoader:
        """A loader over every installed modality; ``settings`` by name, and defaults for the others."""
        given = {self._pick("modality", name).qualified: values for name, values in (settings or {}).items()}
        loaders: dict[str, Modality] = {}
        for qualified, modality in self.components("modality").items():
            plugin = qualified.split("/", 1)[0]
            try:
                loaders[qualified] = cast(Modality, self.make("modality", qualified, given.get(qualified)))
            except ValidationError as error:
                reason = f"{told_error(error)} ({place_of_code(modality)}); give every setting of a modality a default"
                self.set_aside(plugin, f"the modality '{qualified}' cannot be made without settings: {reason}")
            except InfimedError as error:
                self.set_aside(plugin, str(error))
        for name in self.names("modality"):
            matches = self._owners(name, self._table("modality").values())
            if len(matches) == 1 and matches[0].qualified in loaders:  # else it must be written with its plugin
                loaders[name] = loaders[matches[0].qualified]
        return MediaLoader(loaders)

    # Everything else

    def default(self, purpose: str, hook: str = "infimed_defaults") -> str | None:
        """The built-in that is used for ``purpose`` where a run file names nothing; ``None`` where none is offered."""
        offers = self._offers(hook).values()
        for offer in offers:
            if not self.is_own(offer.plugin):
                text = f"{hook} counts for InfiMed's own plugins alone ({offer.where}); remove it"
                self.note(offer.plugin, text)
        return next((offer.value for offer in offers if offer.name == purpose and self.is_own(offer.plugin)), None)

    def commands(self, taken: Collection[str] = ()) -> dict[str, Offer]:
        """The subcommands of ``infimed`` by the name that each has: PLUGIN/NAME where NAME is taken, by ours first."""
        offers = self._offers("infimed_commands").values()
        commands: dict[str, Offer] = {}
        for offer in sorted(offers, key=lambda offer: not self.is_own(offer.plugin)):
            name = offer.name
            if name in commands or name in taken:
                name = offer.qualified
                where = f"infimed_commands offers '{offer.name}' ({offer.where})"
                self.note(offer.plugin, f"{where}, which is taken; write infimed {name}")
            commands[name] = offer
        return commands

    def functions(self, commands: Mapping[str, Offer]) -> dict[str, Callable[..., Any]]:
        """The functions of those commands that can be used; the others are set aside."""
        names = {offer.qualified: name for name, offer in commands.items()}
        return {names[offer.qualified]: function for offer, function in self._usable(commands.values())}

    def benchmark_groups(self) -> dict[str, Group]:
        """Names that stand for several benchmarks: from the settings of one use to the uses in its place.

        A bare name is InfiMed's where it has a group or a benchmark of that name, and nobody's where two others do.
        """
        benchmarks = self._table("benchmark").values()
        usable = list(self._usable(self._offers("infimed_benchmark_groups").values()))
        offers = [offer for offer, _ in usable]
        self._note_shadows(offers, benchmarks)
        groups: dict[str, Group] = {offer.qualified: members for offer, members in usable}
        for offer, members in usable:
            if {owner.plugin for owner in self._owners(offer.name, [*benchmarks, *offers])} == {offer.plugin}:
                groups[offer.name] = members
        return groups

    def table(self, hook: str) -> dict[str, Any]:
        """Everything that a hook offers by its short name, InfiMed's own first; for hooks of what is no component."""
        offers = sorted(self._offers(hook).values(), key=lambda offer: not self.is_own(offer.plugin))
        return {offer.name: offer.value for offer in reversed(offers)}

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
                reason = f"its listener infimed_run_event raised {self._reason(plugin, error)}"
                failures.append(f"plugin '{plugin}': {reason}; the run goes on")
        return failures


def load_plugins(entry_points: list[metadata.EntryPoint] | None = None) -> Registry:
    """Load every installed plugin, and every plugin file in use, into a manager of its own, one at a time.

    A plugin that cannot be used is set aside with its reason, in ``broken``; so is the second of two distributions
    that announce one plugin name.
    """
    announced = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    registry = Registry()
    registry.manager.add_hookspecs(hookspecs)
    seen: dict[str, metadata.EntryPoint] = {}
    for entry in sorted(announced, key=lambda entry: (entry.name, not is_own(entry), distribution_of(entry))):
        name, version = distribution_of(entry)
        first = seen.setdefault(entry.name, entry)
        if first is not entry:
            if (first.value, distribution_of(first)) != (entry.value, (name, version)):
                reason = f"{name} {version} announces a plugin named '{entry.name}' as "
                reason += f"{' '.join(distribution_of(first))} does, which comes first; uninstall one of them"
                registry.set_aside(f"{entry.name} of {name}", reason)
            continue
        try:
            registry.add(entry, name, version)
        except PluginError as error:
            registry.set_aside(entry.name, str(error))
    for path, always in known_files().values() if entry_points is None else ():
        with suppress(PluginError):  # told where the file was named
            registry.add_file(Path(path), always)
    return registry
