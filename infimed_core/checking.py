"""What is wrong in a run file: every problem of it, by line and path, and the components that could be made."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from infimed_core.components import Component, JudgingScorer, Metric, Solver, Trainer
from infimed_core.errors import PluginError
from infimed_core.plugins import Registry
from infimed_core.run_file import RunFile, benchmark_name

Path_ = tuple[str | int, ...]

NEEDS = {
    "quality": ("data",),
    "training": ("data", "model", "resolution", "packing"),
    "evaluation": ("model",),
}
"""Sections that a section cannot do without."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a run file."""

    line: int
    path: str
    message: str


class Lines:
    """The line of every path of a YAML document."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._lines: dict[Path_, int] = {(): 1}
        self._moved: dict[Path_, int] = {}
        self.duplicates: list[tuple[Path_, int]] = []
        if root is not None:
            self._walk(root, ())

    def _walk(self, node: yaml.Node, path: Path_) -> None:
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

    def put(self, path: Path_, line: int) -> None:
        """Let everything at ``path`` stand on ``line``."""
        self._moved[path] = line

    def of(self, path: Path_) -> int:
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

    def add(self, path: Path_, message: str) -> None:
        """A problem at ``path``, on its line of the document."""
        self.add_at(self.lines.of(path), path, message)

    def add_at(self, line: int, path: Path_, message: str) -> None:
        """A problem at ``path``, on a line that is known."""
        self.problems.append(Problem(line, dotted(path) or "run file", message))

    def check(self, document: dict[str, Any]) -> tuple[RunFile | None, dict[str, Component]]:
        """The file, unless its sections have mistakes, and each component that could be made, by dotted path."""
        file: RunFile | None = None
        try:
            file = RunFile.model_validate(document)
        except ValidationError as error:
            self._add_errors(error, (), RunFile)
        for section, needed in NEEDS.items():
            if section in document:
                for name in needed:
                    if name not in document:
                        self.add(
                            (section,),
                            f"needs the section '{name}:', which is missing; add it (see examples/full.yaml)",
                        )
        run = document.get("run")
        for index, plugin in enumerate(run.get("plugins") or () if isinstance(run, dict) else ()):
            self._check_plugin(str(plugin), ("run", "plugins", index))
        self._check_metrics(document)
        components: dict[str, Component] = {}
        for path, kind, use in _uses(document):
            component = self._make(path, kind, use)
            if component is not None:
                components[dotted(path)] = component
                if isinstance(component, Trainer):
                    components.update(self._make_stage_parts(path, component))
        self._check_names(document, components)
        if file is not None:
            self._check_measurements(file, components)
        return file, components

    def _check_names(self, document: dict[str, Any], components: dict[str, Component]) -> None:
        """Every model that is asked by name must be in ``models:``."""
        models = document.get("models")
        known = sorted(map(str, models)) if isinstance(models, dict) else []
        asked: list[tuple[Path_, str]] = []
        section = document.get("evaluation")
        judges = section.get("judges") if isinstance(section, dict) else None
        for index, name in enumerate(judges if isinstance(judges, list) else ()):
            asked.append((("evaluation", "judges", index), str(name)))
        for dotted, component in components.items():
            path: Path_ = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
            if isinstance(component, JudgingScorer):
                asked.append(((*path, "with", "model"), component.model))
            elif isinstance(component, Solver):
                asked += [((*path, "with"), name) for name in component.models()]
        for path, name in asked:
            if name not in known:
                there = f"it has: {', '.join(known)}" if known else "there is none"
                self.add(path, f"asks a model named '{name}', but 'models:' has no such entry ({there}); add it")

    def _check_measurements(self, file: RunFile, components: dict[str, Component]) -> None:
        """Every benchmark that is asked within a stage must be one of the run's evaluation."""
        uses = file.evaluation.benchmarks if file.evaluation is not None else ()
        known = [benchmark_name(uses, index) for index in range(len(uses))]
        trainer = components.get("training")
        for index, stage in enumerate(trainer.stage_list if isinstance(trainer, Trainer) else ()):
            for name in stage.evaluate.benchmarks if stage.evaluate is not None else ():
                if name not in known:
                    place: Path_ = ("training", "with", "stages", index, "evaluate", "benchmarks")
                    there = f"it has: {', '.join(known)}" if known else "there is none"
                    self.add(place, f"'{name}' is no benchmark of 'evaluation:' ({there}); name one of these")

    def _check_plugin(self, name: str, path: Path_) -> None:
        if name in self.registry.plugins:
            return
        if name in self.registry.broken:
            self.add(path, f"plugin '{name}' cannot be loaded: {self.registry.broken[name]}")
            return
        close = difflib.get_close_matches(name, self.registry.plugins, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        installed = ", ".join(self.registry.plugins)
        self.add(path, f"plugin '{name}' is not installed; {hint}pip install its distribution (installed: {installed})")

    def _check_metrics(self, document: dict[str, Any]) -> None:
        section = document.get("evaluation")
        benchmarks = section.get("benchmarks") if isinstance(section, dict) else None
        for index, use in enumerate(benchmarks if isinstance(benchmarks, list) else ()):
            names = use.get("metrics") if isinstance(use, dict) else None
            for number, name in enumerate(names if isinstance(names, list) else ()):
                place: Path_ = ("evaluation", "benchmarks", index, "metrics", number)
                try:
                    metric = cast(Metric, self.registry.find("metric", str(name)).model_validate({}))
                    if problem := metric.missing():
                        self.add(place, f"'{name}' {problem}")
                except PluginError as error:
                    self.add(place, str(error))
                except ValidationError:
                    self.add(place, f"'{name}' needs settings, which a list of metrics cannot give; name another")

    def _make(self, path: Path_, kind: str, use: Any) -> Component | None:
        if not isinstance(use, dict) or not isinstance(use.get("use"), str):
            return None  # told already by the section's own check
        try:
            component = self.registry.find(kind, use["use"])
        except PluginError as error:
            self.add((*path, "use"), str(error))
            return None
        settings = use.get("with") or {}
        if not isinstance(settings, dict):
            return None
        try:
            return component.model_validate(settings)
        except ValidationError as error:
            self._add_errors(error, (*path, "with"), component)
            return None

    def _make_stage_parts(self, path: Path_, trainer: Trainer) -> dict[str, Component]:
        made: dict[str, Component] = {}
        names = [stage.name for stage in trainer.stage_list]
        for index, stage in enumerate(trainer.stage_list):
            if names.index(stage.name) != index or stage.name in ("base", "most-common-answer"):
                self.add((*path, "with", "stages", index, "name"), f"the name '{stage.name}' is taken; choose another")
            for part, kind in (("resolution", "resolution scheduler"), ("packing", "packer")):
                use = getattr(stage, part)
                if use is not None:
                    place = (*path, "with", "stages", index, part)
                    component = self._make(place, kind, {"use": use.use, "with": use.settings})
                    if component is not None:
                        made[f"stages.{stage.name}.{part}"] = component
        return made

    def _add_errors(self, error: ValidationError, prefix: Path_, model: type[BaseModel]) -> None:
        items = error.errors(include_url=False)
        for item in items:
            if item["type"] == "too_short" and any(
                len(other["loc"]) > len(item["loc"]) and other["loc"][: len(item["loc"])] == item["loc"]
                for other in items
            ):
                continue  # too short because what is in it has mistakes, which are told
            location = tuple(
                part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))
            )
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
                shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
                message = f"{item['msg'][0].lower()}{item['msg'][1:]}{shown}"
            self.add(path, message)


def _known_keys(model: type[BaseModel], location: Path_) -> list[str]:
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


def _uses(document: dict[str, Any]) -> Iterator[tuple[Path_, str, Any]]:
    """Every place of a run file that names a component: (path, kind, value)."""

    def at(*path: str) -> Any:
        value: Any = document
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    lists: list[tuple[tuple[str, ...], str]] = [
        (("data", "sources"), "reader"),
        (("data", "gates"), "gate"),
        (("quality", "scorers"), "scorer"),
        (("evaluation", "benchmarks"), "benchmark"),
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
    named = at("models")
    for name, value in named.items() if isinstance(named, dict) else ():
        yield ("models", str(name)), "model", value
    for path, kind in singles:
        value = at(*path)
        if value is not None:
            yield path, kind, value


def dotted(path: Path_) -> str:
    """``data.sources.0``."""
    return ".".join(str(part) for part in path)
