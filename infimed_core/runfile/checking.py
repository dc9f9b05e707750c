"""What is wrong in a run file: every problem of it, by line and path, and the components that could be made."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from infimed_core.api.component import Component, ComponentRef
from infimed_core.api.evaluation import Benchmark, Metric
from infimed_core.api.training import Trainer
from infimed_core.contracts import wrong_stages
from infimed_core.errors import PluginError
from infimed_core.hookspecs import KINDS
from infimed_core.plugin_files import is_file
from infimed_core.plugins import Registry
from infimed_core.runfile.cross_checks import mistakes
from infimed_core.runfile.sections import BASELINE, CONSTANT_LETTER, IMAGE_BLIND, Place, RunFile
from infimed_core.texts import without_passwords

M = TypeVar("M", bound=BaseModel)

NEEDS = {"quality": ("data",), "reasoning": ("data",), "training": ("data", "model")}
"""Sections that a section cannot do without."""
_PARTS_OF_STAGE = {
    "resolution": "resolution scheduler", "packing": "packer", "objective": "objective", "optimizer": "optimizer",
    "schedule": "schedule", "augmentations": "augmentation", "curriculum": "curriculum",
}  # fmt: skip
KIND_OF_PLACE = {place: name for name, kind in KINDS.items() for place in kind.places}
"""Every place of a run file that names a component, with the kind of component."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a run file."""

    line: int
    path: str
    message: str


class Lines:
    """The line of every path of a YAML document."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._lines: dict[Place, int] = {(): 1}
        self._moved: dict[Place, int] = {}
        self.duplicates: list[tuple[Place, int]] = []
        if root is not None:
            self._walk(root, ())

    def _walk(self, node: yaml.Node, path: Place) -> None:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(self._lines) > 100_000:
            raise yaml.MarkedYAMLError(problem="more than a run file holds; its aliases stand for too much")
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                child = (*path, str(key.value))
                if str(key.value) in seen:
                    self.duplicates.append((child, key.start_mark.line + 1))
                seen.add(str(key.value))
                self._lines[child] = key.start_mark.line + 1
                self._walk(value, child)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._walk(value, (*path, index))

    def put(self, path: Place, line: int) -> None:
        """Let everything at ``path`` stand on ``line``."""
        self._moved[path] = line

    def of(self, path: Place) -> int:
        """The line of ``path`` or of the nearest place above it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._moved:
                return self._moved[path[:length]]
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines[path]


class Checker:
    """Collects every problem of a document instead of stopping at the first."""

    def __init__(self, registry: Registry, lines: Lines) -> None:
        self.registry = registry
        self.lines = lines
        self.problems: list[Problem] = []
        self.doubts: set[Place] = set()
        self.plugins: set[str] = set()
        self.files: dict[str, str] = {}
        self.has_broken_file = False

    def add(self, path: Place, message: str) -> None:
        """A problem at ``path``, on its line of the document."""
        self.add_at(self.lines.of(path), path, message)

    def add_at(self, line: int, path: Place, message: str) -> None:
        """A problem at ``path``, on a line that is known."""
        self.problems.append(Problem(line, dotted(path) or "run file", message))

    def check(self, document: dict[str, Any]) -> tuple[RunFile | None, dict[str, Component]]:
        """The file and each component that could be made, by dotted path (of a stage's own parts
        ``stages.NAME.packing``); both without the keys that are mistakes. The file is ``None`` where it is none so."""
        file: RunFile | None = None
        try:
            file = RunFile.model_validate(document)
        except ValidationError as error:
            self._add_errors(error, (), RunFile)
            file = _mended(RunFile, document, error)
            self.doubts |= {location for location, _ in _own_errors(error)}
        for section, needed in NEEDS.items():
            for name in needed if section in document else ():
                if name not in document:
                    self.add(
                        (section,), f"needs the section '{name}:', which is missing; add it (see examples/full.yaml)"
                    )
        for path, name in _plugin_names(document):
            self._check_plugin(name, path)
        made: dict[Place, Component] = {}
        names: dict[Place, str] = {}
        for path, kind, ref in _uses(document):
            component = self._make(path, kind, ref)
            if component is None:
                continue
            made[path], before = component, len(self.problems)
            for inner_path, inner_kind, inner_ref, name in self._inner_uses(path, component):
                if (inner := self._make(inner_path, inner_kind, inner_ref.model_dump(by_alias=True))) is not None:
                    made[inner_path], names[inner_path] = inner, name
            if type(component).nested and len(self.problems) > before:
                del made[path]  # asking it would fail for the reason that is told already
        for path, benchmark in list(made.items()):
            if isinstance(benchmark, Benchmark) and path[:2] == ("evaluation", "benchmarks"):
                self._check_defaults(path, benchmark, document, made)
        self.plugins |= {name for _, name in _plugin_names(document)} | set(self.files.values())
        for path, message in mistakes(document, file, made, self.doubts):
            self.add(path, message)
        return file, {names.get(path) or dotted(path): component for path, component in made.items()}

    def load_files(self, document: dict[str, Any], folder: Path) -> None:
        """Load the plugins that the run file names by their files, relative to ``folder``, its own."""
        self.registry.drop_files()
        for path, name in _plugin_names(document):
            if is_file(name):
                try:
                    self.files[name] = self.registry.add_file(folder / name)
                except PluginError as error:
                    self.has_broken_file = True
                    self.add(path, str(error))

    def _check_plugin(self, name: str, path: Place) -> None:
        if name in self.registry.plugins or is_file(name):
            return
        if name in self.registry.broken:
            self.add(path, f"plugin '{name}' cannot be loaded: {self.registry.broken[name]}")
            return
        close = difflib.get_close_matches(name, self.registry.plugins, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        installed = ", ".join(self.registry.plugins)
        self.add(path, f"plugin '{name}' is not installed; {hint}pip install its distribution (installed: {installed})")

    def _check_defaults(
        self, path: Place, benchmark: Benchmark, document: dict[str, Any], made: Mapping[Place, Component]
    ) -> None:
        """How a benchmark wants to be asked and measured must be there before it is, where the file does not say."""
        if (*path, "solver") not in made:
            wanted = benchmark.solver()
            name = wanted.use if wanted is not None else self.registry.default("solver")
            if name is not None:
                self._make(path, "solver", {"use": name, "with": wanted.settings if wanted is not None else {}})
        if (*path, "metrics") not in dict(_values_at(document, ["evaluation", "benchmarks", "*", "metrics"])):
            default = self.registry.default("metric")
            for name in benchmark.metrics or ((default,) if default is not None else ()):
                self._make(path, "metric", name)

    def _make(self, path: Place, kind: str, ref: Any) -> Component | None:
        """The component that ``{use: NAME, with: {...}}`` names, or a metric's name alone."""
        by_name = kind in ("metric", "baseline") and isinstance(ref, str)
        name = ref if by_name else ref.get("use") if isinstance(ref, dict) else None
        settings = (ref.get("with") or {}) if isinstance(ref, dict) else {}
        if not isinstance(name, str) or (kind == "baseline" and name == IMAGE_BLIND[1:]):
            return None  # told already by the section's own check, or no component
        try:
            component_class = self.registry.find(kind, name)
            self.plugins.add(self.registry.owner(kind, name))
            if not isinstance(settings, dict):
                return None
            component = self.registry.make(kind, name, settings)
        except PluginError as error:
            is_known = name.rpartition("/")[2] in self.registry.names(kind)
            if is_known or not self.has_broken_file:  # which may be what offers it
                self.add(path if by_name else (*path, "use"), str(error))
            return None
        except ValidationError as error:
            if by_name:
                needed = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
                self.add(path, f"'{name}' needs settings ({needed}); write {{use: {name}, with: {{...}}}}")
                return None
            self._add_errors(error, (*path, "with"), component_class)
            if path[0] == "quality":  # what else is said of a component's settings holds without the wrong ones
                self.doubts.add(path)
            return _mended(component_class, settings, error)
        if isinstance(component, Metric) and (problem := component.missing()):
            self.add(path, f"'{name}' {problem}")
        return component

    def _inner_uses(self, path: Place, component: Component) -> Iterator[tuple[Place, str, ComponentRef, str]]:
        """The components that another's settings name: (path, kind, reference, the name by which a stage finds it)."""
        for setting, kind in type(component).nested.items():
            if getattr(component, setting) is not None:
                yield (*path, "with", setting), kind, getattr(component, setting), ""
        if not isinstance(component, Trainer):
            return
        if wrong := wrong_stages(component):
            self.add((*path, "use"), wrong)
            return
        names = [stage.name for stage in component.stage_list]
        for index, stage in enumerate(component.stage_list):
            place = (*path, "with", "stages", index)
            if names.index(stage.name) != index or stage.name in ("base", BASELINE, CONSTANT_LETTER):
                self.add((*place, "name"), f"the name '{stage.name}' is taken; choose another")
            for part, kind in _PARTS_OF_STAGE.items():
                named = getattr(stage, part, None)
                for number, use in enumerate(named) if isinstance(named, tuple) else [(None, named)]:
                    if isinstance(use, ComponentRef):
                        own = (*place, part) if number is None else (*place, part, number)
                        yield own, kind, use, ".".join(map(str, ("stages", stage.name, *own[len(place) :])))

    def _add_errors(self, error: ValidationError, prefix: Place, model: type[BaseModel]) -> None:
        for location, item in _own_errors(error):
            path = (*prefix, *location)
            kind = item["type"]
            if kind == "extra_forbidden":
                known = _known_keys(model, location[:-1])
                close = difflib.get_close_matches(str(location[-1]), known, n=1)
                hint = f"did you mean '{close[0]}'? " if close else ""
                message = f"is not a key here; {hint}known keys: {', '.join(known)}"
            elif kind == "missing":
                message = "is missing; add it"
            else:
                given = item.get("input")
                if isinstance(given, str):  # a key that was put where its name belongs is not shown either
                    given = "***" if "api_key" in str(path[-1]) else without_passwords(given)
                shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
                message = f"{_plain(item, path)}{shown}"
            self.add(path, message)


def _own_errors(error: ValidationError) -> Iterator[tuple[Place, Any]]:
    """Every mistake with its place, without the list that is too short because what is in it has mistakes."""
    items = error.errors(include_url=False)
    for item in items:
        inside = (other["loc"] for other in items if len(other["loc"]) > len(item["loc"]))
        if item["type"] == "too_short" and any(loc[: len(item["loc"])] == item["loc"] for loc in inside):
            continue
        yield (
            tuple(part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))),
            item,
        )


def _mended(model: type[M], body: Mapping[str, Any], error: ValidationError) -> M | None:
    """The same without the keys that are mistakes, so that what else is wrong can be told with them; or ``None``."""
    mended = copy.deepcopy(body)
    for location, _ in _own_errors(error):
        target: Any = mended
        *places, last = location or ("",)
        try:
            for part in places:
                target = target[part]
            if not isinstance(target, dict):
                return None  # an item of a list: without it the others would stand elsewhere
            del target[last]
        except (KeyError, IndexError, TypeError):
            return None
    try:
        return model.model_validate(mended)
    except ValidationError:
        return None


def _plain(item: Any, path: Place) -> str:
    """What is wrong, in the words of a run file and not of the library that checks it."""
    kind, text = item["type"], str(item["msg"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "must be a mapping of keys to values, as in {use: NAME}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, as in {'[{use: NAME}]' if f'{dotted(path)}.*' in KIND_OF_PLACE else '[one, two]'}"
    if kind in ("value_error", "assertion_error"):
        return text.partition(", ")[2]
    return text.replace("Input should", "must", 1) if text.startswith("Input should") else text[0].lower() + text[1:]


def _known_keys(model: type[BaseModel], location: Place) -> list[str]:
    """The keys that the model at ``location`` inside ``model`` takes."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        field = next((f for name, f in fields.items() if name == part or f.alias == part), None)
        if field is None:
            return []
        inner = list(_models_in(field.annotation))
        if not inner:
            return []
        current = inner[0]
    return sorted(field.alias or name for name, field in getattr(current, "model_fields", {}).items())


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _plugin_names(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every plugin that a run file asks for, by name or by file."""
    for pattern in (["run", "plugins", "*"], ["plugins", "*"]):
        yield from ((path, str(name)) for path, name in _values_at(document, pattern))


def _uses(document: dict[str, Any]) -> Iterator[tuple[Place, str, Any]]:
    """Every component that a run file names: (path, kind, value)."""
    for pattern, kind in KIND_OF_PLACE.items():
        for path, value in _values_at(document, pattern.split(".")):
            yield path, kind, value
    for path, settings in _values_at(document, ["data", "modalities", "*"]):
        yield path, "modality", {"use": path[-1], "with": settings}


def _values_at(value: Any, pattern: Sequence[str], path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The values at a path of keys, where ``*`` stands for every item of a list or table."""
    if not pattern:
        if value is not None:
            yield path, value
        return
    keys: Iterable[tuple[Any, Any]] = ()
    if pattern[0] != "*":
        keys = [(pattern[0], value[pattern[0]])] if isinstance(value, dict) and pattern[0] in value else ()
    elif isinstance(value, dict):
        keys = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        keys = enumerate(value)
    for key, inner in keys:
        yield from _values_at(inner, pattern[1:], (*path, key))


def dotted(path: Place) -> str:
    """``data.sources.0``."""
    return ".".join(str(part) for part in path)
