"""The run file: YAML in, a checked plan out; every problem told at once by file, line and path, with its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infimed_core.components import Component, JudgingScorer, Metric, Solver, Trainer
from infimed_core.errors import ConfigError, PluginError
from infimed_core.plugins import Registry
from infimed_core.types import Generation, Use

_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader of libyaml where it is there: the same documents, many times faster."""

Path_ = tuple[str | int, ...]


class Section(BaseModel):
    """A section of a run file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSection(Section):
    """What the run is called and what it needs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run and of its directory.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    plugins: tuple[str, ...] = Field(default=(), description="Plugins that must be installed for this run.")
    directory: str = Field(default="runs", description="Where the run's directory is made.")


class DataSection(Section):
    """Where samples come from."""

    sources: tuple[Use, ...] = Field(min_length=1, description="Readers, in order.")
    executor: Use = Field(default=Use(use="processes"), description="What maps work over shards.")
    gates: tuple[Use, ...] | None = Field(
        default=None,
        description="Checks of the data as a whole; 'contamination' by default where the run has an evaluation.",
    )


class QualitySection(Section):
    """How samples are scored and which are kept."""

    scorers: tuple[Use, ...] = Field(min_length=1, description="Scorers; the first one's composite is selected by.")
    select: Use | None = Field(default=None, description="The selector; every sample is kept without one.")


class BenchmarkUse(Use):
    """A benchmark, and how it is asked here."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="What it is called in this run."
    )
    solver: Use | None = Field(default=None, description="Overrides the solver that the benchmark wants.")
    generation: Generation | None = Field(default=None, description="Overrides how answers are generated.")
    metrics: tuple[str, ...] | None = Field(default=None, description="Overrides the benchmark's metrics.")


class EvaluationSection(Section):
    """What every model of the run is asked."""

    benchmarks: tuple[BenchmarkUse, ...] = Field(min_length=1)
    compare_to: tuple[str, ...] = Field(default=("base", "most-common-answer"), description="Models to compare with.")
    limit: int | None = Field(default=None, ge=1, description="Only the first questions of each benchmark.")
    models: tuple[str, ...] | None = Field(default=None, description="Which of base and the stages; all by default.")
    judges: tuple[str, ...] = Field(
        default=(), description="Models of 'models:' that grade where a benchmark lets them."
    )
    samples: str | tuple[str, ...] | None = Field(
        default=None, description="Only the questions with these ids: a list, or a file with one id a line."
    )
    baselines: tuple[Literal["constant-letter", "image-blind"], ...] = Field(
        default=(),
        description="More baselines: the letter that is most often right; the same model asked without the images.",
    )


class ReportSection(Section):
    """The report page."""


class Variant(Section):
    """One change of the run file, for comparison."""

    set: dict[str, Any] = Field(default_factory=dict, description="Values by path, as in packing.with.row_tokens.")
    drop: tuple[str, ...] = Field(default=(), description="Paths left out, as in training.with.stages.pretrain.")


class SweepSection(Section):
    """What ``infimed sweep`` varies; a plain run leaves it aside."""

    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Values by path; every combination is a variant. run.seed repeats variants."
    )
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], Variant] = Field(
        default_factory=dict, description="Changes by name, each made alone; compared with the file as it is."
    )


class RunFile(Section):
    """A run file, in the order the work is done; a section left out is a step not run."""

    run: RunSection
    data: DataSection | None = None
    quality: QualitySection | None = None
    model: Use | None = None
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], Use] = Field(
        default_factory=dict, description="Further models that are asked, never trained: judges, members of a panel."
    )
    resolution: Use | None = None
    packing: Use | None = None
    training: Use | None = None
    evaluation: EvaluationSection | None = None
    report: ReportSection | None = None
    sweep: SweepSection | None = None


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


class _Lines:
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


@dataclass(frozen=True)
class Plan:
    """A checked run file: the sections with defaults filled in, and every component made."""

    source: Path
    file: RunFile
    components: dict[str, Component]
    """By dotted path of the ``Use`` in the run file: ``model``, ``data.sources.0``."""

    def component(self, path: str) -> Any:
        """The component made for the ``Use`` at ``path``."""
        return self.components[path]

    def as_json(self) -> dict[str, Any]:
        """The run file with every default filled in."""
        document = self.file.model_dump(mode="json", by_alias=True)
        for path, component in self.components.items():
            target: Any = document
            for part in path.split("."):
                target = target[int(part)] if isinstance(target, list) else target.get(part)
                if target is None:
                    break
            if isinstance(target, dict) and "use" in target:
                target["with"] = component.model_dump(mode="json", by_alias=True)
        return document


LEFT_OUT: Any = object()
"""The value of an override that takes its place out of the run file."""


def load_run_file(source: Path, registry: Registry, overrides: dict[str, Any] | None = None) -> Plan:
    """Read and check a run file. ``overrides`` maps dotted paths to values, or to ``LEFT_OUT`` (for sweeps).

    An item of a list is named by its position, its ``name`` or what it ``use``s.

    Raises:
        ConfigError: with every problem found, each ``file:line: path: message; remedy``.
    """
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{source}: no such run file; see examples/full.yaml for one"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{source}: cannot be read: {error}"]) from None
    try:
        loader = _SAFE_LOADER(text)
        root = loader.get_single_node()
        document = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or "is not YAML"
        raise ConfigError([f"{source}:{line}: {what}; check indentation, quotes and brackets"]) from None
    if not isinstance(document, dict):
        raise ConfigError([f"{source}:1: a run file is a mapping that begins with 'run:'; see examples/full.yaml"])
    lines = _Lines(root)
    for path, value in (overrides or {}).items():
        _override(document, path, value, source)
    _expand_groups(document, registry, lines)
    checker = _Checker(registry, lines)
    for path_, line in lines.duplicates:
        checker.problems.append(Problem(line, _dotted(path_), "is given twice; keep one"))
    plan = checker.check(document, source)
    if checker.problems:
        ordered = sorted(set(checker.problems), key=lambda p: (p.line, p.path))
        raise ConfigError([f"{source}:{p.line}: {p.path}: {p.message}" for p in ordered])
    assert plan is not None
    return plan


def benchmark_name(benchmarks: Sequence[Use], index: int) -> str:
    """The benchmark's name in a run, its own or its component's; a second use of one name gets its position."""
    names = [getattr(use, "name", None) or use.use.rsplit("/", 1)[-1] for use in benchmarks]
    return names[index] if names.count(names[index]) == 1 else f"{names[index]}-{index + 1}"


class _Checker:
    """Collects every problem of a document instead of stopping at the first."""

    def __init__(self, registry: Registry, lines: _Lines) -> None:
        self.registry = registry
        self.lines = lines
        self.problems: list[Problem] = []

    def add(self, path: Path_, message: str) -> None:
        self.problems.append(Problem(self.lines.of(path), _dotted(path) or "run file", message))

    def check(self, document: dict[str, Any], source: Path) -> Plan | None:
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
                components[_dotted(path)] = component
                if isinstance(component, Trainer):
                    components.update(self._make_stage_parts(path, component))
        self._check_names(document, components)
        if file is not None:
            self._check_measurements(file, components)
        return Plan(source, file, components) if file is not None else None

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


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _expand_groups(document: dict[str, Any], registry: Registry, lines: _Lines) -> None:
    """Put a group's benchmarks in its place: one ``use`` of ``evaluation.benchmarks`` may stand for several."""
    section = document.get("evaluation")
    uses = section.get("benchmarks") if isinstance(section, dict) else None
    if not isinstance(uses, list) or not isinstance(section, dict):
        return
    named = [use.get("use") if isinstance(use, dict) else None for use in uses]
    groups = registry.benchmark_groups()
    expanded: list[Any] = []
    moved: list[tuple[int, int]] = []
    for index, use in enumerate(uses):
        members = groups.get(named[index] or "")
        settings = use.get("with") or {} if members is not None else {}
        parts = members(settings) if members is not None and isinstance(settings, dict) else [use]
        for part in parts:
            moved.append((index, len(expanded)))
            expanded.append({**use, **part} if members is not None else use)
    if len(expanded) != len(uses):
        place: Path_ = ("evaluation", "benchmarks")
        starts = [(lines.of((*place, old)), new) for old, new in moved if old != new or named[old] in groups]
        for line, new in starts:
            lines.put((*place, new), line)
    section["benchmarks"] = expanded


def _override(document: dict[str, Any], path: str, value: Any, source: Path) -> None:
    target: Any = document
    parts = path.split(".")
    try:
        for part in parts[:-1]:
            target = target[_place(target, part)] if isinstance(target, list) else target.setdefault(part, {})
        last: Any = _place(target, parts[-1]) if isinstance(target, list) else parts[-1]
        if value is LEFT_OUT:
            del target[last]
        else:
            target[last] = value
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        raise ConfigError([f"{source}: --set {path}: there is no such place in the run file"]) from None


def _place(items: list[Any], part: str) -> int:
    """The position of the item of a list that ``part`` names."""
    if part.lstrip("-").isdigit():
        return int(part)
    own = [(item.get("name"), item.get("use")) if isinstance(item, dict) else () for item in items]
    named = [index for index, names in enumerate(own) if part in names]
    if len(named) != 1:
        raise ValueError(part)
    return named[0]


def run_schema() -> dict[str, Any]:
    """The JSON Schema of run files; settings of components have their own (``infimed schema KIND:NAME``)."""
    schema = RunFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "InfiMed run file"
    return schema
