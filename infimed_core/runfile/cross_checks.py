"""What the sections of a run file say of one another, and what its components miss: known before a run begins."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from infimed_core.api.component import Component
from infimed_core.api.evaluation import Solver
from infimed_core.api.quality import JudgingScorer, Scorer, Selector
from infimed_core.api.synthesis import Synthesizer
from infimed_core.api.training import Trainer
from infimed_core.errors import InfimedError
from infimed_core.runfile.sections import (
    BASELINE,
    IMAGE_BLIND,
    EvaluationSection,
    Place,
    RunFile,
    baseline_label,
    benchmark_name,
    names_in_run,
)

C = TypeVar("C", bound=Component)


def mistakes(
    document: Mapping[str, Any],
    file: RunFile | None,
    components: Mapping[Place, Component],
    doubts: Collection[Place] = (),
) -> Iterator[tuple[Place, str]]:
    """(place, message) of every mistake that needs more than one section, or the disk, to be seen.

    Args:
        file: the sections without their own mistakes; ``None`` where they are none without them.
        components: those that could be made, by place.
        doubts: where ``file`` and ``components`` lack what was a mistake; what follows from there is not told.
    """
    run = {".".join(map(str, place)): component for place, component in components.items()}
    for place, component in components.items():
        if missing := component.missing_packages():
            yield place, missing
        try:
            problems = component.problems(run)
        except InfimedError as error:
            problems = {"": str(error)}
        for setting, message in problems.items():
            inner = tuple(int(part) if part.isdigit() else part for part in setting.split(".") if part)
            yield (*place, "with", *inner), message
    yield from _asked_models(document, components)
    if file is None:
        return
    unknown = any(len(place) == 1 and place[0] not in RunFile.model_fields for place in doubts)  # which may be meant
    named = ("training",), ("evaluation", "baselines")
    if file.evaluation is not None and not (_touched(doubts, *named) or (unknown and file.training is None)):
        yield from _evaluated(file, file.evaluation, components)
    if not (_touched(doubts, ("evaluation", "benchmarks")) or (unknown and file.evaluation is None)):
        yield from _measured(file, components)
    if not _touched(doubts, ("quality", "scorers")):
        yield from _dimensions(file, components)


def _touched(doubts: Collection[Place], *places: Place) -> bool:
    """Whether a doubt lies at one of the places, above it or in it."""
    return any(doubt[: len(place)] == place[: len(doubt)] for doubt in doubts for place in places)


def _asked_models(document: Mapping[str, Any], components: Mapping[Place, Component]) -> Iterator[tuple[Place, str]]:
    """Every model that is asked by name must be in ``models:``."""
    models = document.get("models")
    known = [str(name) for name in models] if isinstance(models, dict) else []
    uses: list[tuple[Place, str]] = []
    section = document.get("evaluation")
    judges = section.get("judges") if isinstance(section, dict) else None
    for index, name in enumerate(judges if isinstance(judges, list) else ()):
        uses.append((("evaluation", "judges", index), str(name)))
    for place, component in components.items():
        if isinstance(component, JudgingScorer):
            uses.append(((*place, "with", "model"), component.model))
        elif isinstance(component, Solver | Synthesizer):
            uses += [((*place, "with"), name) for name in component.models()]
    for place, name in uses:
        if name not in known:
            there = f"it has: {', '.join(sorted(known))}" if known else "there is none"
            yield place, f"asks a model named '{name}', but 'models:' has no such entry ({there}); add it"


def _evaluated(
    file: RunFile, section: EvaluationSection, components: Mapping[Place, Component]
) -> Iterator[tuple[Place, str]]:
    """The names of ``evaluation:`` must be those of models that this run has and grades."""
    trainer = components.get(("training",))
    if file.training is None or isinstance(trainer, Trainer):  # else its own mistakes come first
        stages = [stage.name for stage in trainer.stage_list] if isinstance(trainer, Trainer) else []
        made = [*(["base"] if file.model is not None else []), *stages]
        for index, name in enumerate(section.models or ()):
            if name in made and name in file.models:
                message = f"'{name}' is an entry of 'models:' and a model that this run makes; rename the entry"
                yield ("evaluation", "models", index), message
        made += [name for name in file.models if name in (section.models or ())]
        if not made:
            there = f"it has: {', '.join(sorted(file.models))}" if file.models else "there is none"
            message = f"grades no model: add the section 'model:', or name entries of 'models:' here ({there})"
            yield ("evaluation", "models"), message
        for index, name in enumerate(section.models or ()):
            if name not in made:
                close = _close(name, [*made, *file.models])
                yield ("evaluation", "models", index), f"'{name}' is no model of this run; {close}"
        # What ``models`` leaves out may stay: the same file, with fewer models graded, compares with those there are.
        known = [*made, *(name + IMAGE_BLIND for name in made if "image-blind" in section.baselines)]
        known += [BASELINE, *(baseline_label(name) for name in section.baselines if name != IMAGE_BLIND[1:])]
        for index, name in enumerate(section.compare_to if "compare_to" in section.model_fields_set else ()):
            if name not in known:
                message = f"'{name}' is no model of this run, so nothing can be compared with it; "
                yield ("evaluation", "compare_to", index), message + _close(name, known)
    if isinstance(section.samples, str) and not os.path.isfile(section.samples):
        message = f"{section.samples}: no such file; name a file with one id a line, or a list of ids"
        yield ("evaluation", "samples"), message


def _measured(file: RunFile, components: Mapping[Place, Component]) -> Iterator[tuple[Place, str]]:
    """Every benchmark that is asked within a stage must be one of the run's evaluation."""
    uses = file.evaluation.benchmarks if file.evaluation is not None else ()
    known = [benchmark_name(uses, index) for index in range(len(uses))]
    trainer = components.get(("training",))
    for index, stage in enumerate(trainer.stage_list if isinstance(trainer, Trainer) else ()):
        for name in stage.evaluate.benchmarks if stage.evaluate is not None else ():
            if name not in known:
                place: Place = ("training", "with", "stages", index, "evaluate", "benchmarks")
                there = f"it has: {', '.join(known)}" if known else "there is none"
                yield place, f"'{name}' is no benchmark of 'evaluation:' ({there}); name one of these"


def _dimensions(file: RunFile, components: Mapping[Place, Component]) -> Iterator[tuple[Place, str]]:
    """Every dimension that the selector names must be one that a scorer of the run gives."""
    selector = components.get(("quality", "select"))
    if file.quality is None or not isinstance(selector, Selector):
        return
    known: list[str] = []
    for index, name in enumerate(names_in_run(file.quality.scorers)):
        scorer = components.get(("quality", "scorers", index))
        try:
            given = scorer.given_dimensions() if isinstance(scorer, Scorer) else ()
        except InfimedError:
            return  # what it misses is told by ``problems``
        if not given:
            return
        known += [part if index == 0 else f"{name}.{part}" for part in given]
    for dimension, setting in selector.named_dimensions().items():
        if dimension not in known:
            message = f"no scorer of this run gives the dimension '{dimension}'; {_close(dimension, known)}"
            yield ("quality", "select", "with", setting, dimension), message


def _close(name: str, known: Sequence[str]) -> str:
    """What there is, and which of it was probably meant."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"there are: {', '.join(known)}"
