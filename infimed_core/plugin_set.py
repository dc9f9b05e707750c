"""The plugins that are installed or named by their files, each loaded alone, and what is wrong with any of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pluggy

from infimed_core.api.reporting import PluginInfo
from infimed_core.errors import PluginError
from infimed_core.plugin_files import known_files, module_of, remember
from infimed_core.plugin_loading import GROUP, HookManager, load_entry, missing_module, told_error

_MOST_NOTES = 3
"""Of the notes on a plugin, in its line."""


@dataclass
class PluginSet:
    """The plugins in use. What is wrong with one takes out that plugin, or the part of it that is wrong, in one line.

    Attributes:
        broken: by plugin, the first thing that is wrong with it.
        notes: (plugin, what is worth telling of it), in the order it was found.
        files: the module of every plugin that is a file, by plugin.
        import_seconds: how long the import of each plugin took.
    """

    plugins: dict[str, PluginInfo] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    import_seconds: dict[str, float] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=lambda: HookManager(GROUP))
    _offered: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What hooks offered, asked for again when the set changes."""
    _import_reasons: list[str] = field(default_factory=list)
    _distributions: dict[str, metadata.Distribution | None] = field(default_factory=dict)
    _num_told: int = 0

    def add(self, entry: metadata.EntryPoint, distribution: str, version: str) -> None:
        """Load one plugin.

        Raises:
            PluginError: why it cannot be used, in one line with file and remedy.
        """
        start = time.perf_counter()
        notes = load_entry(entry, cast(HookManager, self.manager))
        self.import_seconds[entry.name] = time.perf_counter() - start
        self._distributions[entry.name] = entry.dist
        self.plugins[entry.name] = PluginInfo(name=entry.name, distribution=distribution, version=version)
        for text in notes:
            self.note(entry.name, text)
        self._offered.clear()

    def add_file(self, path: Path, always: bool = False) -> str:
        """Load a plugin that is one file, and return its name; ``always``: for every run file, as the command asks.

        Raises:
            PluginError: why it cannot be used, in one line with file and remedy.
        """
        name, before = path.stem, known_files()
        if name in self.plugins and name not in self.files:
            raise PluginError(f"the plugin file {path} has the name of an installed plugin, '{name}'; rename the file")
        module, version = module_of(path, always)
        if self.files.get(name, module) != module:
            remember(before)
            raise PluginError(f"two plugin files are named {path.name}; rename {path}")
        if name not in self.files:
            try:
                self.add(metadata.EntryPoint(name, module, GROUP), path.name, version)
            except PluginError as error:
                remember(before)
                self.broken[name] = f"{path}: {error}"
                raise PluginError(f"the plugin file {self.broken[name]}") from None
            self.files[name] = module
            self.broken.pop(name, None)
        return name

    def drop_files(self) -> None:
        """Let go of the plugin files that another run file named; those of the command stay."""
        remember({module: (path, always) for module, (path, always) in known_files().items() if always})
        for name, module in list(self.files.items()):
            if module not in known_files():
                self.manager.unregister(name=name)
                self._offered.clear()
                del self.files[name], self.plugins[name]

    def set_aside(self, plugin: str, reason: str) -> None:
        """Note what is wrong with a plugin."""
        self.broken.setdefault(plugin, reason)
        self.note(plugin, reason)

    def note(self, plugin: str, text: str) -> None:
        """Note what is worth telling of a plugin, once."""
        if (plugin, text) not in self.notes:
            self.notes.append((plugin, text))

    def new_notes(self, said: str = "") -> list[str]:
        """One line for each plugin with notes since the last call, without those that ``said`` holds already."""
        new: dict[str, list[str]] = {}
        for plugin, text in self.notes[self._num_told :]:
            if text not in said:
                new.setdefault(plugin, []).append(text)
        self._num_told = len(self.notes)
        return [_line(plugin, self.each_reason_once(texts)) for plugin, texts in new.items()]

    def each_reason_once(self, messages: Iterable[str]) -> list[str]:
        """The messages, with the reason why something cannot be loaded in the first alone that tells it."""
        shortened: list[str] = []
        for message in messages:
            for reason in (*self.broken.values(), *self._import_reasons):
                if any(reason in earlier for earlier in shortened):
                    message = message.replace(reason, "as told above")
            shortened.append(message)
        return shortened

    def is_own(self, plugin: str) -> bool:
        """Whether a plugin is one of InfiMed's own."""
        return plugin in self.plugins and self.plugins[plugin].distribution == GROUP

    def _reason(self, plugin: str, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"ModuleNotFoundError: it {missing_module(error, self._distributions.get(plugin))}"
        module = getattr(self.manager.get_plugin(plugin), "__name__", "")
        return told_error(error, module)


def _line(plugin: str, texts: list[str]) -> str:
    """The notes on a plugin, in one line."""
    shown = texts[:_MOST_NOTES]
    num_more = len(texts) - len(shown)
    more = f" (and {num_more} more: `infimed plugins --json` lists all)" if num_more else ""
    return f"plugin '{plugin}': " + "; ".join(" ".join(text.split("\n")) for text in shown) + more
