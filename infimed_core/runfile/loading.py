"""The run file: YAML in, a checked plan out; every problem told at once by file, line and path, with its remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from infimed_core.api.component import found_now
from infimed_core.errors import ConfigError, InfimedError
from infimed_core.named_files import read_named
from infimed_core.plugin_loading import place_of_code, plugin_of, told_error
from infimed_core.plugins import Group, Registry
from infimed_core.runfile.checking import Checker, Lines
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import IMAGE_BLIND, Place

_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader of libyaml where it is there: the same documents, many times faster."""
MOST_DIGITS = 400
_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(_SAFE_LOADER):  # type: ignore[misc]
    """Reads ``true`` and ``false`` alone as booleans (YAML 1.2): Yes, No, on and off are words, as an answer may be.

    A setting that is a switch still takes them: pydantic reads such a word as one.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in rows if tag != _BOOLEAN]
        for first, rows in _SAFE_LOADER.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node; a number or a date that there is not is a mistake with its line."""
        try:
            if node.tag.endswith((":int", ":float")) and len(node.value) > MOST_DIGITS:
                raise ValueError(f"a number of {len(node.value)} digits")
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise yaml.MarkedYAMLError(problem=f"cannot be read: {error}", problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def parse_value(text: str) -> Any:
    """A value as it would be read from a run file.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    return yaml.load(text, _Loader)  # a safe loader


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """``PATH=VALUE`` options as values by path.

    Raises:
        InfimedError: an option has no path, or its value is no YAML.
    """
    values: dict[str, Any] = {}
    for change in changes:
        path, sign, text = change.partition("=")
        if not sign or not path:
            raise InfimedError(f"--set {change}: write PATH=VALUE, as in run.seed=1")
        try:
            values[path] = parse_value(text)
        except yaml.YAMLError:
            raise InfimedError(f"--set {change}: the value is no YAML; put text with signs into quotes") from None
    return values


STAGES = ["training", "with", "stages"]
LEFT_OUT: Any = object()
"""The value of an override that takes its place out of the run file."""


def load_run_file(source: Path, registry: Registry, overrides: dict[str, Any] | None = None) -> Plan:
    """Read and check a run file. ``overrides`` maps dotted paths to values, or to ``LEFT_OUT`` (for sweeps).

    An item of a list is named by its position, its ``name`` or what it ``use``s.

    Raises:
        ConfigError: with every problem found, each ``file:line: path: message; remedy``.
    """
    try:
        text = read_named(source).decode()
    except FileNotFoundError:
        raise ConfigError([f"{source}: no such run file; see examples/full.yaml for one"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{source}: cannot be read: {error}"]) from None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        lines = Lines(root)
        document = loader.construct_document(root) if root is not None else None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or "is not YAML"
        raise ConfigError([f"{source}:{line}: {what}; check indentation, quotes and brackets"]) from None
    if not isinstance(document, dict):
        raise ConfigError([f"{source}:1: a run file is a mapping that begins with 'run:'; see examples/full.yaml"])
    for name in ("limit", "samples"):
        if f"evaluation.{name}" in (overrides or {}) and "evaluation" not in document:
            raise ConfigError([f"{source}: --{name} chooses questions, but the run file has no section 'evaluation:'"])
    for path, value in (overrides or {}).items():
        _override(document, path, value, source)
    document = found_now(document)
    checker = Checker(registry, lines)
    checker.load_files(document, source.parent)
    _expand_groups(document, registry, checker, source)
    _fill_defaults(document, registry)
    for path_, line in lines.duplicates:
        checker.add_at(line, path_, "is given twice; keep one")
    file, components = checker.check(document)
    if checker.problems:
        ordered = sorted(set(checker.problems), key=lambda p: (p.line, p.path, p.message))
        messages = [f"{source}:{p.line}: {p.path}: {p.message}" for p in ordered]
        raise ConfigError(registry.each_reason_once(messages))
    assert file is not None
    return Plan(source, file, components, frozenset(checker.plugins))


def _fill_defaults(document: dict[str, Any], registry: Registry) -> None:
    """Name the built-ins that are used where the run file names nothing, so that they are checked and recorded too."""
    data = document.get("data")
    places = [(data, "executor", "executor")]
    if isinstance(document.get("evaluation"), dict):
        places.append((data, "filters", "filter"))
    if "training" in document:
        places += [(document, "resolution", "resolution"), (document, "packing", "packing")]
    for section, key, purpose in places:
        if isinstance(section, dict) and section.get(key) is None:
            name = registry.default(purpose)
            if name is not None:
                section[key] = [{"use": name}] if key == "filters" else {"use": name}


def _expand_groups(document: dict[str, Any], registry: Registry, checker: Checker, source: Path) -> None:
    """Put a group's benchmarks in its place: one ``use`` of ``evaluation.benchmarks`` may stand for several."""
    section = document.get("evaluation")
    uses = section.get("benchmarks") if isinstance(section, dict) else None
    if not isinstance(uses, list) or not isinstance(section, dict):
        return
    groups = registry.benchmark_groups()
    path: Place = ("evaluation", "benchmarks")
    expanded: list[Any] = []
    line_of: dict[int, int] = {}
    for index, use in enumerate(uses):
        name = use.get("use") if isinstance(use, dict) else None
        group = groups.get(name) if isinstance(name, str) else None
        settings = use.get("with") or {} if group is not None else {}
        parts: list[Any] = [{}]
        if group is not None and isinstance(settings, dict):
            parts = _members(group, name, settings, checker, (*path, index))
        for part in parts:
            if group is not None or index != len(expanded):
                line_of[len(expanded)] = checker.lines.of((*path, index))
            expanded.append(_scored({**use, **part} if group is not None else use))
    if len(expanded) != len(uses):
        for index, line in line_of.items():
            checker.lines.put((*path, index), line)
    if uses and not expanded:
        raise ConfigError([f"{source}:{p.line}: {p.path}: {p.message}" for p in checker.problems])
    section["benchmarks"] = expanded


def _scored(use: Any) -> Any:
    """A benchmark with ``scoring: NAME`` is the benchmark NAME, which asks and scores that one in its own way."""
    if not isinstance(use, dict) or not isinstance(use.get("scoring"), str):
        return use
    inner = {key: use[key] for key in ("use", "with") if key in use}
    kept = {key: value for key, value in use.items() if key not in ("use", "with", "scoring")}
    named = {"name": f"{str(use.get('use')).rsplit('/', 1)[-1]}-{use['scoring']}"}
    return {**named, **kept, "use": use["scoring"], "with": {"benchmark": inner}}


def _members(members: Group, name: Any, settings: dict[str, Any], checker: Checker, place: Place) -> list[Any]:
    """The uses that a benchmark group stands for; a group that fails is a mistake of the run file that names it."""
    try:
        uses = members(settings)
    except InfimedError:
        raise
    except Exception as error:
        what = f"raised {told_error(error)}"
    else:
        if isinstance(uses, list) and uses and all(isinstance(use, dict) and "use" in use for use in uses):
            return uses
        what = f"returned {uses!r:.80}, not a list of {{name, use, with}}"
    plugin = plugin_of(getattr(members, "__module__", "") or "")
    checker.add(place, f"plugin '{plugin}': the benchmark group '{name}' {what} ({place_of_code(members)})")
    return []


def _override(document: dict[str, Any], path: str, value: Any, source: Path) -> None:
    target: Any = document
    parts = path.split(".")
    try:
        for part in parts[:-1]:
            target = target[_place(target, part)] if isinstance(target, list) else target.setdefault(part, {})
        last: Any = _place(target, parts[-1]) if isinstance(target, list) else parts[-1]
        if value is LEFT_OUT:
            dropped = target[last]
            del target[last]
            if parts[:-1] == STAGES and isinstance(dropped, dict):
                _forget_stage(document, str(dropped.get("name")))
        else:
            target[last] = value
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        raise ConfigError([f"{source}: --set {path}: there is no such place in the run file"]) from None


def _forget_stage(document: dict[str, Any], name: str) -> None:
    """Take a stage that was dropped out of the lists of models that are graded and compared with."""
    section = document.get("evaluation")
    for key in ("models", "compare_to"):
        names = section.get(key) if isinstance(section, dict) else None
        if isinstance(names, list):
            names[:] = [other for other in names if other not in (name, name + IMAGE_BLIND)]


def _place(items: list[Any], part: str) -> int:
    """The position of the item of a list that ``part`` names."""
    if part.lstrip("-").isdigit():
        return int(part)
    names_of = [(item.get("name"), item.get("use")) if isinstance(item, dict) else () for item in items]
    named = [index for index, names in enumerate(names_of) if part in names]
    if len(named) != 1:
        raise ValueError(part)
    return named[0]
