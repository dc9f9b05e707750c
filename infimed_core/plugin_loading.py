"""Importing one plugin: whatever it does meanwhile is kept from everything else, and told in one line."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, TextIO

import pluggy

from infimed_core.errors import InfimedError, PluginError

GROUP = "infimed"
"""The entry-point group that plugins announce themselves in, and the name of our own distribution."""
RENAMED_HOOKS = {"infimed_gates": "infimed_filters"}
"""Hooks of earlier versions; a plugin that still uses one goes on working."""
SLOW_SECONDS = 2.0
"""An import that takes longer is told: every command waits for it."""
_LONGEST = 160
_owners: dict[str, str] = {}


class Output:
    """Keeps what is written to a stream while a plugin is imported; what holds on to it later writes as usual."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._open = True
        self.text = ""

    def write(self, text: str) -> int:
        """Keep the text, or pass it on once the plugin has been imported."""
        if not self._open:
            return self._target.write(text)
        self.text += text
        return len(text)

    def close_capture(self) -> None:
        """Pass on everything from here on."""
        self._open = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


@contextmanager
def captured() -> Iterator[list[Output]]:
    """Within this, what is written to standard output and error is kept: a command's own output stays whole."""
    streams = [Output(sys.stdout), Output(sys.stderr)]
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):  # type: ignore[type-var]
            yield streams
    finally:
        for stream in streams:
            stream.close_capture()


def written(streams: list[Output]) -> str:
    """The first line of what was written, "" for nothing."""
    lines = "\n".join(stream.text for stream in streams).strip().splitlines()
    return lines[0][:_LONGEST] if lines else ""


class HookManager(pluggy.PluginManager):
    """pluggy's manager; it knows the names that hooks had in earlier versions."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """The options of a hook, under its present name."""
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None and not options.get("specname") and name in RENAMED_HOOKS:
            options = {**options, "specname": RENAMED_HOOKS[name]}
        return options


def load_entry(entry: metadata.EntryPoint, manager: HookManager) -> list[str]:
    """Import and register one plugin; returns what is worth telling of it, although it works.

    Raises:
        PluginError: why it is set aside, in one line with file and remedy.
    """
    _owners[entry.module] = entry.name
    if wanted := _unmet_version(entry):
        raise PluginError(wanted)
    start = time.perf_counter()
    try:
        with captured() as streams:
            module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(_import_reason(entry, error)) from None
    notes = _notes(entry, module, time.perf_counter() - start, written(streams))
    try:
        reason = _wrong_hooks(manager, entry, module)
        if not reason:
            manager.register(module, name=entry.name)
    except Exception as error:  # an attribute that raises when it is looked at, say
        reason = told_error(error, entry.module)
        if manager.has_plugin(entry.name):
            manager.unregister(name=entry.name)
    if reason:
        raise PluginError("; ".join([reason, *notes]))
    if not manager.get_hookcallers(module) and not is_own(entry):
        notes.append(f"offers nothing: no function of {_file(module)} is marked with @hookimpl")
    for old, new in RENAMED_HOOKS.items():
        if hasattr(module, old):
            notes.append(f"the hook {old} is called {new} now ({_file(module)}); rename it")
    return notes


def distribution_of(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that announces a plugin."""
    return _name_and_version(entry.dist) if entry.dist is not None else ("unknown", "0")


def is_own(entry: metadata.EntryPoint) -> bool:
    """Whether the plugin is one of InfiMed's own."""
    return distribution_of(entry)[0] == GROUP


def told_error(error: BaseException, module: str = "") -> str:
    """An exception in one line: its type, the first line of its message, and where in ``module`` it came from."""
    text = f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    place = place_of(error, module)
    return f"{text} ({place})" if place else text


def missing_module(error: ImportError, distribution: metadata.Distribution | None) -> str:
    """What to install for a module that is missing: what the distribution says of it, and never a guess."""
    name = (error.name or str(error)).split(".")[0]
    known = _required_as(distribution, name)
    remedy = known or f"install the package that brings it: {_title(distribution)} should say which"
    return f"needs the module '{error.name or name}', which is not installed; {remedy}"


def plugin_of(module: str) -> str:
    """The plugin that a module belongs to, "" for none."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if name := _owners.get(".".join(parts[:length])):
            return name
    top = parts[0]
    if top == __name__.split(".")[0]:
        return ""
    entries = [(entry.module, entry.name) for entry in metadata.entry_points(group=GROUP)]
    fitting = [(place, name) for place, name in [*_owners.items(), *entries] if place.split(".")[0] == top]
    nearest = [(len(place), name) for place, name in fitting if module == place or module.startswith(place + ".")]
    return max(nearest)[1] if nearest else next((name for _, name in fitting), "")


def is_outside(module: str) -> bool:
    """Whether a module belongs to a plugin that is not one of ours."""
    return bool(plugin_of(module)) and module.split(".")[0] not in ("infimed_core", "infimed_plugins")


def place_of(error: BaseException, module: str) -> str:
    """``file:line`` of the innermost frame that lies in the package of ``module``, or of the syntax error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    top = module.split(".")[0]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).split(".")[0] == top
    ]
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames and top else ""


def place_of_code(thing: Any) -> str:
    """``file:line`` where a function or class is written; "" where that is unknown."""
    thing = getattr(thing, "fget", thing)
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (TypeError, OSError):
        file, line = getattr(sys.modules.get(getattr(thing, "__module__", "")), "__file__", None), 0
    return f"{file}:{line}" if line else str(file or "")


def _first_line(error: BaseException) -> str:
    """The first line of a message; of pydantic's, which say nothing in their first, the first mistake."""
    if hasattr(error, "errors") and hasattr(error, "title"):
        mistakes = error.errors(include_url=False)
        first = mistakes[0] if mistakes else {"loc": (), "msg": ""}
        return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"[:_LONGEST]
    return (str(error).strip().splitlines() or [""])[0][:_LONGEST]


def _import_reason(entry: metadata.EntryPoint, error: BaseException) -> str:
    place = place_of(error, entry.module)
    at = f" ({place})" if place else ""
    table = f"[project.entry-points.{GROUP}] of {_title(entry.dist)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if entry.module == error.name or entry.module.startswith(error.name + "."):
            return f"its entry point names the module '{entry.module}', which is not there; correct {table}"
        return missing_module(error, entry.dist) + at
    if isinstance(error, AttributeError) and not place:
        return f"its entry point names '{entry.value}', which is not there; correct {table}"
    if isinstance(error, SystemExit):
        return f"calls sys.exit({error.code!r}) when it is imported{at}; a plugin may not end the program"
    text = f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    return f"cannot be imported: {text}{at}; mend it or pip uninstall {distribution_of(entry)[0]}"


def _notes(entry: metadata.EntryPoint, module: Any, seconds: float, text: str) -> list[str]:
    notes = []
    if seconds > SLOW_SECONDS:
        notes.append(
            f"its import takes {seconds:.1f} s, which every command waits for ({_file(module)}); import what is heavy "
            "inside functions"
        )
    if text:
        notes.append(f"wrote '{text}' when it was imported ({_file(module)}); remove the output")
    return notes


def _file(module: Any) -> str:
    return getattr(module, "__file__", None) or place_of_code(module) or repr(module)


def _wrong_hooks(manager: HookManager, entry: metadata.EntryPoint, module: Any) -> str:
    """Why a plugin's hooks cannot be used, "" where they can."""
    if inspect.isclass(module) or (callable(module) and not isinstance(module, ModuleType)):
        return (
            f"its entry point names '{entry.value}', a {'class' if inspect.isclass(module) else 'function'} "
            f'({place_of_code(module)}); name the module that has the hooks: {entry.name} = "{entry.module}"'
        )
    for name in dir(module):
        value = getattr(module, name, None)
        if not inspect.isroutine(value):
            continue
        options = manager.parse_hookimpl_opts(module, name)
        if options is not None:
            if reason := _wrong_hook(manager, options.get("specname") or name, value, options):
                return reason
        elif name.startswith("infimed_") and plugin_of(getattr(value, "__module__", "") or "") == entry.name:
            return f"{name} is not marked as a hook ({place_of_code(value)}); put @hookimpl above it"
    return ""


def _wrong_hook(manager: HookManager, name: str, function: Any, options: Any) -> str:
    at = place_of_code(function)
    hook = getattr(manager.hook, name, None)
    if hook is None:
        known = {spec.removeprefix("infimed_"): spec for spec in vars(manager.hook) if spec.startswith("infimed_")}
        close = difflib.get_close_matches(name.removeprefix("infimed_"), known, n=1)
        hint = (
            f"did you mean '{known[close[0]]}'?" if close else "see infimed_core/hookspecs.py for the hooks there are"
        )
        return f"there is no hook '{name}' ({at}); {hint}"
    if options.get("wrapper") or options.get("hookwrapper"):
        return f"{name} is a wrapper ({at}); a hook returns what the plugin offers: use a plain @hookimpl"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"{name} is not a plain function ({at}); return the table instead of awaiting or yielding it"
    given = tuple(hook.spec.argnames)
    for parameter in inspect.signature(function).parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD")
        if needed and parameter.name not in given:
            takes = f"'{given[0]}' alone" if given else "no argument"
            return f"{name} has the argument '{parameter.name}' ({at}); this hook is given {takes}; take no other"
    return ""


def _title(distribution: metadata.Distribution | None) -> str:
    return " ".join(_name_and_version(distribution)) if distribution is not None else "its distribution"


@cache
def _header(distribution: metadata.Distribution) -> tuple[tuple[str, str], ...]:
    """Name, version and requirements, read once; parsing all of a METADATA file takes a millisecond."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    rows = (line.partition(": ") for line in text.partition("\n\n")[0].splitlines())
    return tuple((key, value) for key, _, value in rows if key in ("Name", "Version", "Requires-Dist"))


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    found = dict(_header(distribution))
    return found.get("Name", "unknown"), found.get("Version", "0")


def requirements(distribution: metadata.Distribution | None) -> list[tuple[str, str, str]]:
    """(normal name, requirement without its marker, extra or "") of everything that a distribution requires."""
    found = []
    for key, value in _header(distribution) if distribution is not None else ():
        if key == "Requires-Dist":
            wanted, _, marker = value.partition(";")
            name = re.match(r"[A-Za-z0-9._-]*", wanted.strip())
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            found.append((_normal(name[0] if name else ""), wanted.strip(), extra[1] if extra else ""))
    return found


def required_packages() -> list[str]:
    """What our own distribution requires, extras aside."""
    try:
        return sorted({name for name, _, extra in requirements(metadata.distribution(GROUP)) if not extra})
    except metadata.PackageNotFoundError:
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required_as(distribution: metadata.Distribution | None, module: str) -> str:
    for name, wanted, extra in requirements(distribution):
        if name == _normal(module):
            own = _name_and_version(distribution)[0] if distribution is not None else ""
            return f"pip install '{own}[{extra}]'" if extra else f"pip install '{wanted}'"
    return ""


def _unmet_version(entry: metadata.EntryPoint) -> str:
    """Why the plugin is not for this version of InfiMed, by what its distribution requires; "" where it is."""
    if is_own(entry):
        return ""
    for name, wanted, extra in requirements(entry.dist):
        if name == GROUP and not extra and re.search(r"[<>=~!]", wanted):
            from packaging.requirements import InvalidRequirement, Requirement

            try:
                installed = metadata.version(GROUP)
                fits = Requirement(wanted).specifier.contains(installed, prereleases=True)
            except (InvalidRequirement, metadata.PackageNotFoundError):
                continue
            if not fits:
                return (
                    f"{_title(entry.dist)} requires {wanted}, and {GROUP} {installed} is installed; "
                    f"pip install '{wanted}', or a version of {distribution_of(entry)[0]} for this one"
                )
    return ""


def import_component(path: str) -> Any:
    """What ``"module:Class"`` names.

    Raises:
        PluginError: it is not there, or its module cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        with captured():
            return getattr(importlib.import_module(module), name)
    except (KeyboardInterrupt, InfimedError):
        raise
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise PluginError(f"there is no module '{module}'; correct the name") from None
        raise
    except AttributeError as error:
        place = place_of(error, module)
        if place:
            raise PluginError(f"cannot be imported: {told_error(error, module)}") from None
        file = getattr(sys.modules.get(module), "__file__", module)
        raise PluginError(f"there is no '{name}' in {file}; correct the name") from None
    except BaseException as error:
        if isinstance(error, ImportError):
            raise
        raise PluginError(f"cannot be imported: {told_error(error, module)}") from None
