"""Importing one plugin: whatever it does meanwhile is kept from everything else, and told in one line."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, TextIO

import pluggy

from infimed_core.errors import InfimedError, PluginError
from infimed_core.plugin_files import PREFIX, offered_by, plugin_of_file

GROUP = "infimed"
"""The entry-point group that plugins announce themselves in, and the name of our own distribution."""
RENAMED_HOOKS = {"infimed_gates": "infimed_filters"}
"""Hooks of earlier versions; a plugin that still uses one goes on working."""
SLOW_SECONDS = 2.0
"""An import that takes longer is told: every command waits for it."""
_LONGEST = 160
_plugin_of_module: dict[str, str] = {}


class Output:
    """Keeps what is written to a stream while a plugin is imported; what holds on to it later writes as usual."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self.is_open = True
        self.text = ""

    def write(self, text: str) -> int:
        """Keep the text, or pass it on once the plugin has been imported."""
        if not self.is_open:
            return self._target.write(text)
        self.text += text
        return len(text)

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
            stream.is_open = False


def written(streams: list[Output]) -> str:
    """The first line of what was written, "" for nothing."""
    lines = "\n".join(stream.text for stream in streams).strip().splitlines()
    return lines[0][:_LONGEST] if lines else ""


class HookManager(pluggy.PluginManager):
    """pluggy's manager; it knows the names that hooks had in earlier versions."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """The options of a hook, under its present name."""
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None and not options.get("specname"):
            options["specname"] = RENAMED_HOOKS.get(name)
        return options


def load_entry(entry: metadata.EntryPoint, manager: HookManager) -> list[str]:
    """Import and register one plugin; returns what is worth telling of it, although it works.

    Raises:
        PluginError: why it is set aside, in one line with file and remedy.
    """
    _plugin_of_module[entry.module] = entry.name
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
    seconds = time.perf_counter() - start
    file = getattr(module, "__file__", None) or place_of_code(module) or repr(module)
    notes = []
    if seconds > SLOW_SECONDS:
        takes = f"its import takes {seconds:.1f} s, which every command waits for ({file})"
        notes.append(f"{takes}; import what is heavy inside functions")
    if text := written(streams):
        notes.append(f"wrote '{text}' when it was imported ({file}); remove the output")
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
    if not is_own(entry) and not manager.get_hookcallers(module) and not offered_by(module):
        notes.append(f"offers nothing: nothing in {file} is marked with @hookimpl, or with @metric or its like")
    for old, new in RENAMED_HOOKS.items():
        if hasattr(module, old):
            notes.append(f"the hook {old} is called {new} now ({file}); rename it")
    return notes


def import_named(path: str) -> Any:
    """What ``"module:name"`` names.

    Raises:
        PluginError: it is not there, or its module cannot be imported.
        ImportError: something that its module imports is missing.
    """
    module, _, name = path.partition(":")
    try:
        with captured():
            return getattr(importlib.import_module(module), name)
    except (KeyboardInterrupt, InfimedError):
        raise
    except BaseException as error:
        if isinstance(error, ImportError):
            if not _is_missing_itself(error, module):
                raise
            reason = f"there is no module '{module}'; correct the name"
        elif isinstance(error, AttributeError) and not place_of(error, module):
            reason = f"there is no '{name}' in {getattr(sys.modules.get(module), '__file__', module)}; correct the name"
        else:
            reason = f"cannot be imported: {told_error(error, module)}"
        raise PluginError(reason) from None


def _is_missing_itself(error: ImportError, module: str) -> bool:
    """Whether it is ``module``, or a package above it, that is not there: not something that it imports."""
    is_missing = isinstance(error, ModuleNotFoundError) and error.name
    return bool(is_missing) and f"{module}.".startswith(f"{error.name}.")


def _import_reason(entry: metadata.EntryPoint, error: BaseException) -> str:
    """Why an entry point cannot be loaded, and what to do."""
    place = place_of(error, entry.module)
    at = f" ({place})" if place else ""
    table = f"[project.entry-points.{GROUP}] of {_title(entry.dist)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if _is_missing_itself(error, entry.module):
            return f"its entry point names the module '{entry.module}', which is not there; correct {table}"
        return missing_module(error, entry.dist) + at
    if isinstance(error, AttributeError) and not place:
        return f"its entry point names '{entry.value}', which is not there; correct {table}"
    if isinstance(error, SystemExit):
        return f"calls sys.exit({error.code!r}) when it is imported{at}; a plugin may not end the program"
    if isinstance(error, InfimedError | ImportError) and entry.dist is None and not place:
        return str(error)
    is_alone = isinstance(error, SyntaxError) or entry.dist is None
    remedy = "mend it" if is_alone else f"mend it or pip uninstall {distribution_of(entry)[0]}"
    return f"cannot be imported: {told_error(error, entry.module)}; {remedy}"


def _wrong_hooks(manager: HookManager, entry: metadata.EntryPoint, module: Any) -> str:
    """Why a plugin's hooks cannot be used, "" where they can."""
    if inspect.isclass(module) or (callable(module) and not isinstance(module, ModuleType)):
        what = f"'{entry.value}', a {'class' if inspect.isclass(module) else 'function'} ({place_of_code(module)})"
        return f'its entry point names {what}; name the module that has the hooks: {entry.name} = "{entry.module}"'
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
        hooks = "see infimed_core/hookspecs.py for the hooks there are"
        return f"there is no hook '{name}' ({at}); " + (f"did you mean '{known[close[0]]}'?" if close else hooks)
    if options.get("wrapper") or options.get("hookwrapper"):
        return f"{name} is a wrapper ({at}); a hook returns what the plugin offers: use a plain @hookimpl"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"{name} is not a plain function ({at}); return the table instead of awaiting or yielding it"
    given = hook.spec.argnames
    for parameter in inspect.signature(function).parameters.values():
        is_needed = parameter.default is parameter.empty and parameter.kind.name not in (
            "VAR_POSITIONAL",
            "VAR_KEYWORD",
        )
        if is_needed and parameter.name not in given:
            return wrong_signature(name, given, function)
    return ""


def wrong_signature(name: str, expected: Sequence[str], function: Any) -> str:
    """That a function takes other parameters than it is called with: what is expected, and what is there."""
    there = ", ".join(inspect.signature(function).parameters)
    return f"{name} must take ({', '.join(expected)}), not ({there}): {place_of_code(function)}; correct its parameters"


def distribution_of(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that announces a plugin."""
    return _name_and_version(entry.dist) if entry.dist is not None else ("unknown", "0")


def is_own(entry: metadata.EntryPoint) -> bool:
    """Whether the plugin is one of InfiMed's own."""
    return distribution_of(entry)[0] == GROUP


def plugin_of(module: str) -> str:
    """The plugin that a module belongs to, "" for none."""
    if module.startswith(PREFIX):
        return plugin_of_file(module)
    parents = [module[: match.start()] for match in re.finditer(r"\.|$", module)]
    for parent in reversed(parents):
        if name := _plugin_of_module.get(parent):
            return name
    top = parents[0]
    if top == __name__.split(".")[0]:
        return ""
    known = _plugin_of_module.items()
    if top not in {other.split(".")[0] for other, _ in known}:
        known = _announced().items()  # a process that has loaded no plugins, for what it unpickles
    beside = {other: name for other, name in known if other.split(".")[0] == top}
    nearest = max((other for other in beside if other in parents), key=len, default=next(iter(beside), ""))
    return beside.get(nearest, "")


@cache
def _announced() -> dict[str, str]:
    """The plugin of every module that an installed entry point names; reading them all takes a while."""
    return {entry.module: entry.name for entry in metadata.entry_points(group=GROUP)}


def is_outside(module: str) -> bool:
    """Whether a module belongs to a plugin that is not one of ours."""
    own = ("infimed_core", "infimed_plugins")
    return bool(plugin_of(module)) and (module.startswith(PREFIX) or module.split(".")[0] not in own)


def _package(module: str) -> str:
    """The outermost package of a module; a plugin that is a file has none but itself."""
    return module if module.startswith(PREFIX) else module.split(".")[0]


def told_error(error: BaseException, module: str = "") -> str:
    """An exception in one line: its type, the first line of its message, and where in ``module`` it came from."""
    text = f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    place = place_of(error, module)
    return f"{text} ({place})" if place else text


def _first_line(error: BaseException) -> str:
    """The first line of a message; of pydantic's, which say nothing in their first, the first mistake."""
    if hasattr(error, "errors") and hasattr(error, "title"):
        first = next(iter(error.errors(include_url=False)), {"loc": (), "msg": ""})
        return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"[:_LONGEST]
    text = error.msg if isinstance(error, SyntaxError) and error.filename else str(error)  # its place is told beside it
    return (text.strip().splitlines() or [""])[0][:_LONGEST]


def place_of(error: BaseException, module: str) -> str:
    """``file:line`` of the innermost frame that lies in the package of ``module``, or of the syntax error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if module and _package(str(frame.f_globals.get("__name__", ""))) == _package(module)
    ]
    return frames[-1] if frames else ""


def place_of_code(thing: Any) -> str:
    """``file:line`` where a function or class is written; "" where that is unknown."""
    thing = getattr(thing, "fget", thing)
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):
        return getattr(sys.modules.get(getattr(thing, "__module__", "")), "__file__", None) or ""


@cache
def _header(distribution: metadata.Distribution) -> tuple[tuple[str, str], ...]:
    """Name, version and requirements, read once; parsing all of a METADATA file takes a millisecond."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    rows = (line.partition(": ") for line in text.partition("\n\n")[0].splitlines())
    return tuple((key, value) for key, _, value in rows if key in ("Name", "Version", "Requires-Dist"))


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    header = dict(_header(distribution))
    return header.get("Name", "unknown"), header.get("Version", "0")


def _title(distribution: metadata.Distribution | None) -> str:
    return " ".join(_name_and_version(distribution)) if distribution is not None else "its distribution"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(distribution: metadata.Distribution | None) -> list[tuple[str, str, str]]:
    """(normal name, requirement without its marker, extra or "") of everything that a distribution requires."""
    rows = []
    for key, value in _header(distribution) if distribution is not None else ():
        if key == "Requires-Dist":
            wanted, _, marker = value.partition(";")
            name = re.match(r"[A-Za-z0-9._-]*", wanted.strip())
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            rows.append((_normal(name[0] if name else ""), wanted.strip(), extra[1] if extra else ""))
    return rows


def required_packages() -> list[str]:
    """What our own distribution requires, for whatever job; its tests aside."""
    try:
        return sorted({name for name, _, extra in requirements(metadata.distribution(GROUP)) if extra != "test"})
    except metadata.PackageNotFoundError:
        return []


def missing_package(error: ImportError) -> str:
    """What to install for a module that one of our own components misses while it works."""
    return missing_module(error, next(iter(metadata.distributions(name=GROUP)), None))


def missing_module(error: ImportError, distribution: metadata.Distribution | None) -> str:
    """What to install for a module that is missing: what the distribution says of it, and never a guess."""
    name = error.name or str(error)
    remedy = "install the package that brings it"
    remedy += f": {_title(distribution)} should say which" if distribution is not None else ""
    for required, wanted, extra in requirements(distribution):
        if distribution is not None and required == _normal(name.split(".")[0]):
            package = f"{_name_and_version(distribution)[0]}[{extra}]" if extra else wanted
            remedy = f"pip install '{package}'"
            break
    return f"needs the module '{name}', which is not installed; {remedy}"


def _unmet_version(entry: metadata.EntryPoint) -> str:
    """Why the plugin is not for this version of InfiMed, by what its distribution requires; "" where it is."""
    for name, wanted, extra in requirements(entry.dist) if not is_own(entry) else ():
        if name == GROUP and not extra and re.search(r"[<>=~!]", wanted):
            from packaging.requirements import InvalidRequirement, Requirement

            try:
                installed = metadata.version(GROUP)
                fits = Requirement(wanted).specifier.contains(installed, prereleases=True)
            except (InvalidRequirement, metadata.PackageNotFoundError):
                continue
            if not fits:
                requires = f"{_title(entry.dist)} requires {wanted}, and {GROUP} {installed} is installed"
                return f"{requires}; pip install '{wanted}', or a version of {distribution_of(entry)[0]} for this one"
    return ""
