"""What is wrong in a run file: every problem of it, by line and path, and the components that could be made."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from infimed_core.api.component import Component, ComponentRef
from infimed_core.api.evaluation import Benchmark, Metric
from infimed_core.api.training import Trainer
from infimed_core.contracts import wrong_stages
from infimed_core.errors import PluginError
from infimed_core.plugins import Registry
from infimed_core.runfile.cross_checks import mistakes
from infimed_core.runfile.sections import BASELINE, CONSTANT_LETTER, Place, RunFile
from infimed_core.texts import without_passwords

M = TypeVar("M", bound=BaseModel)

NEEDS = {
    "quality": ("data",),
    "training": ("data", "model"),
}
"""Sections that a section cannot do without."""
DEFAULTED = ("resolution", "packing")
"""Sections of training that have a default, declared by a built-in."""


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

    def add(self, path: Place, message: str) -> None:
        """A problem at ``path``, on its line of the document."""
        self.add_at(self.lines.of(path), path, message)

    def add_at(self, line: int, path: Place, message: str) -> None:
        """A problem at ``path``, on a line that is known."""
        self.problems.append(Problem(line, dotted(path) or "run file", message))

    def check(self, document: dict[str, Any]) -> tuple[RunFile | None, dict[str, Component]]:
        """The file and each component that could be made, by dotted path (of a stage's own parts
        ``stages.NAME.packing``); both without the keys that are mistakes. The file is ``None`` where it is none so."""
        document = self._with_defaults(self._without_old_report(document))
        file: RunFile | None = None
        try:
            file = RunFile.model_validate(document)
        except ValidationError as error:
            self._add_errors(error, (), RunFile)
            file = _mended(RunFile, document, error)
            self.doubts |= {location for location, _ in _own_errors(error)}
        for section, needed in NEEDS.items():
            if section in document:
                for name in needed:
                    if name not in document:
                        self.add(
                            (section,),
                            f"needs the section '{name}:', which is missing; add it (see examples/full.yaml)",
                        )
        run = document.get("run")
        named = run.get("plugins") if isinstance(run, dict) else None
        for index, plugin in enumerate(named if isinstance(named, list) else ()):
            self._check_plugin(str(plugin), ("run", "plugins", index))
        made: dict[Place, Component] = {}
        names: dict[Place, str] = {}
        for path, kind, use in _uses(document):
            component = self._make(path, kind, use)
            if component is not None:
                made[path] = component
                made |= self._make_nested(path, component)
                if isinstance(component, Trainer):
                    parts = self._make_stage_parts(path, component)
                    made |= {place: part for place, (_, part) in parts.items()}
                    names |= {place: name for place, (name, _) in parts.items()}
        made |= self._make_metrics(document, made)
        self._check_solvers(document, made)
        self.plugins |= set(file.run.plugins) if file is not None else set()
        for path, message in mistakes(document, file, made, self.doubts):
            self.add(path, message)
        return file, {names.get(path) or dotted(path): component for path, component in made.items()}

    def _with_defaults(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with the sections that training needs and that have one sensible answer."""
        if "training" not in document:
            return document
        missing = {name: self.registry.default(name) for name in DEFAULTED if name not in document}
        return document | {name: {"use": use} for name, use in missing.items() if use is not None}

    def _without_old_report(self, document: dict[str, Any]) -> dict[str, Any]:
        """``report:`` was a mapping in earlier versions; the remedy is one line, and the rest is checked without it."""
        if not isinstance(document.get("report"), dict):
            return document
        names = list(self.registry.names("reporter"))
        first = names[0] if names else "NAME"
        there = f"installed: {', '.join(names)}" if names else "none is installed"
        self.add(("report",), f"is a list of reporters: write 'report: [{{use: {first}}}]' ({there})")
        return {key: value for key, value in document.items() if key != "report"}

    def _check_plugin(self, name: str, path: Place) -> None:
        if name in self.registry.plugins:
            return
        if name in self.registry.broken:
            self.add(path, f"plugin '{name}' cannot be loaded: {self.registry.broken[name]}")
            return
        close = difflib.get_close_matches(name, self.registry.plugins, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        installed = ", ".join(self.registry.plugins)
        self.add(path, f"plugin '{name}' is not installed; {hint}pip install its distribution (installed: {installed})")

    def _make_metrics(self, document: dict[str, Any], made: dict[Place, Component]) -> dict[Place, Component]:
        """The metrics that the file names. What a metric needs must be installed before a model is asked for hours."""
        found: dict[Place, Component] = {}
        section = document.get("evaluation")
        benchmarks = section.get("benchmarks") if isinstance(section, dict) else None
        for index, use in enumerate(benchmarks if isinstance(benchmarks, list) else ()):
            named = use.get("metrics") if isinstance(use, dict) else None
            place: Place = ("evaluation", "benchmarks", index)
            benchmark = made.get(place)
            default = [name for name in [self.registry.default("metric")] if name is not None]
            own = (benchmark.metrics or default) if isinstance(benchmark, Benchmark) else ()
            for number, one in enumerate(named if isinstance(named, list) else own):
                inner: Place = (*place, "metrics", number) if isinstance(named, list) else place
                metric = self._make_metric(inner, one)
                if metric is not None and isinstance(named, list):
                    found[inner] = metric
        return found

    def _make_metric(self, path: Place, one: Any) -> Metric | None:
        if not isinstance(one, str):
            metric = self._make(path, "metric", one)
            name = one["use"] if metric is not None else ""
        else:
            name, metric = one, None
            try:
                metric = cast(Metric, self.registry.make("metric", one))
                self.plugins.add(self.registry.owner("metric", one))
            except PluginError as error:
                self.add(path, str(error))
            except ValidationError as error:
                needed = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
                self.add(path, f"'{one}' needs settings ({needed}); write {{use: {one}, with: {{...}}}}")
        if isinstance(metric, Metric) and (problem := metric.missing()):
            self.add(path, f"'{name}' {problem}")
        return cast(Metric | None, metric)

    def _check_solvers(self, document: dict[str, Any], made: dict[Place, Component]) -> None:
        """How a benchmark wants to be asked must be there before it is."""
        for path, benchmark in made.items():
            if path[:2] == ("evaluation", "benchmarks") and (*path, "solver") not in made:
                wanted = benchmark.solver() if isinstance(benchmark, Benchmark) else None
                name = wanted.use if wanted is not None else self.registry.default("solver")
                if name is not None:
                    self._make(path, "solver", {"use": name, "with": wanted.settings if wanted is not None else {}})

    def _make(self, path: Place, kind: str, use: Any) -> Component | None:
        if not isinstance(use, dict) or not isinstance(use.get("use"), str):
            return None  # told already by the section's own check
        settings = use.get("with") or {}
        try:
            component = self.registry.find(kind, use["use"])
            self.plugins.add(self.registry.owner(kind, use["use"]))
            if not isinstance(settings, dict):
                return None
            return self.registry.make(kind, use["use"], settings)
        except PluginError as error:
            self.add((*path, "use"), str(error))
            return None
        except ValidationError as error:
            self._add_errors(error, (*path, "with"), component)
            if path[0] == "quality":  # what else is said of a component's settings holds without the wrong ones
                self.doubts.add(path)
            return _mended(component, settings, error)

    def _make_nested(self, path: Place, component: Component) -> dict[Place, Component]:
        """The components that a component's own settings name."""
        made: dict[Place, Component] = {}
        for setting, kind in type(component).nested.items():
            use: ComponentRef | None = getattr(component, setting)
            if use is not None:
                place = (*path, "with", setting)
                inner = self._make(place, kind, {"use": use.use, "with": use.settings})
                if inner is not None:
                    made[place] = inner
        return made

    def _make_stage_parts(self, path: Place, trainer: Trainer) -> dict[Place, tuple[str, Component]]:
        """The components of single stages, each with the name by which a stage finds it."""
        made: dict[Place, tuple[str, Component]] = {}
        if wrong := wrong_stages(trainer):
            self.add((*path, "use"), wrong)
            return {}
        names = [stage.name for stage in trainer.stage_list]
        for index, stage in enumerate(trainer.stage_list):
            if names.index(stage.name) != index or stage.name in ("base", BASELINE, CONSTANT_LETTER):
                self.add((*path, "with", "stages", index, "name"), f"the name '{stage.name}' is taken; choose another")
            for part, kind in (("resolution", "resolution scheduler"), ("packing", "packer")):
                use = getattr(stage, part)
                if use is not None:
                    place = (*path, "with", "stages", index, part)
                    component = self._make(place, kind, {"use": use.use, "with": use.settings})
                    if component is not None:
                        made[place] = (f"stages.{stage.name}.{part}", component)
        return made

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
                message = f"{_plain(item)}{shown}"
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


def _plain(item: Any) -> str:
    """What is wrong, in the words of a run file and not of the library that checks it."""
    kind, text = item["type"], str(item["msg"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "must be a mapping of keys to values, as in {use: NAME}"
    if kind in ("tuple_type", "list_type"):
        return "must be a list, as in [one, two]"
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


def _uses(document: dict[str, Any]) -> Iterator[tuple[Place, str, Any]]:
    """Every place of a run file that names a component: (path, kind, value)."""

    def at(*path: str) -> Any:
        value: Any = document
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    lists: list[tuple[tuple[str, ...], str]] = [
        (("data", "sources"), "reader"),
        (("data", "filters"), "filter"),
        (("quality", "scorers"), "scorer"),
        (("evaluation", "benchmarks"), "benchmark"),
        (("report",), "reporter"),
    ]
    singles: list[tuple[tuple[str, ...], str]] = [
        (("data", "executor"), "executor"),
        (("quality", "select"), "selector"),
        (("model",), "model"),
        (("resolution",), "resolution scheduler"),
        (("packing",), "packer"),
        (("training",), "trainer"),
    ]
    for path, kind in lists:
        values = at(*path)
        for index, value in enumerate(values if isinstance(values, list) else ()):
            yield (*path, index), kind, value
            if kind == "benchmark" and isinstance(value, dict) and value.get("solver") is not None:
                yield (*path, index, "solver"), "solver", value["solver"]
    modalities = at("data", "modalities")
    for name, settings in modalities.items() if isinstance(modalities, dict) else ():
        yield ("data", "modalities", str(name)), "modality", {"use": str(name), "with": settings}
    named = at("models")
    for name, value in named.items() if isinstance(named, dict) else ():
        yield ("models", str(name)), "model", value
    for path, kind in singles:
        value = at(*path)
        if value is not None:
            yield path, kind, value


def dotted(path: Place) -> str:
    """``data.sources.0``."""
    return ".".join(str(part) for part in path)
