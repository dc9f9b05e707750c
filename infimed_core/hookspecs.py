"""The hooks, in the order of a run: this file is the map of what happens to data.

A hook that offers components takes no argument and returns a table from a name to a component class, or to where the
class is: ``"module:Class"`` is imported when a run file says the name. No hook takes a default and none is
``firstresult``: installing a plugin adds names and changes no run until a run file says the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pluggy

from infimed_core.api.component import Component
from infimed_core.api.data import DatasetFilter, Executor, Modality, Reader
from infimed_core.api.evaluation import Baseline, Benchmark, Metric, Solver
from infimed_core.api.learning import Augmentation, Optimizer, Schedule
from infimed_core.api.models import Model
from infimed_core.api.objectives import Objective, Reward
from infimed_core.api.planning import Packer, ResolutionScheduler
from infimed_core.api.quality import Curriculum, Scorer, Selector
from infimed_core.api.reporting import Reporter, RunEvent
from infimed_core.api.synthesis import Synthesizer
from infimed_core.api.training import Trainer

hookspec = pluggy.HookspecMarker("infimed")
hookimpl = pluggy.HookimplMarker("infimed")


@dataclass(frozen=True)
class Kind:
    """A kind of component: the hook that offers it, its class, where run files name it, and what it is."""

    hook: str
    base: type[Component]
    places: tuple[str, ...]
    what: str


KINDS = {
    "reader": Kind("infimed_readers", Reader, ("data.sources.*",), "Where samples come from."),
    "modality": Kind(
        "infimed_modalities", Modality, (), "How media whose ``kind`` is the name are measured and opened."
    ),
    "executor": Kind("infimed_executors", Executor, ("data.executor",), "What maps work over shards."),
    "filter": Kind("infimed_filters", DatasetFilter, ("data.filters.*",), "What is kept out of a data set as a whole."),
    "scorer": Kind("infimed_scorers", Scorer, ("quality.scorers.*",), "How good a sample is."),
    "selector": Kind("infimed_selectors", Selector, ("quality.select",), "Which samples are kept."),
    "synthesizer": Kind("infimed_synthesizers", Synthesizer, ("reasoning",), "What makes more samples of those kept."),
    "model": Kind("infimed_models", Model, ("model", "models.*"), "What is trained and asked."),
    "resolution scheduler": Kind(
        "infimed_resolution_schedulers", ResolutionScheduler, ("resolution",), "How large images may be when."
    ),
    "packer": Kind("infimed_packers", Packer, ("packing",), "Which samples share a row."),
    "curriculum": Kind("infimed_curricula", Curriculum, (), "In which order a stage of a training sees its samples."),
    "trainer": Kind("infimed_trainers", Trainer, ("training",), "How a model learns from the rows."),
    "objective": Kind("infimed_objectives", Objective, (), "What a stage of a training minimises."),
    "reward": Kind("infimed_rewards", Reward, (), "How good an answer is that a model drew."),
    "optimizer": Kind("infimed_optimizers", Optimizer, (), "What moves the weights in a stage of a training."),
    "schedule": Kind("infimed_schedules", Schedule, (), "How the learning rate falls in a stage of a training."),
    "augmentation": Kind("infimed_augmentations", Augmentation, (), "How the images of training samples vary."),
    "benchmark": Kind("infimed_benchmarks", Benchmark, ("evaluation.benchmarks.*",), "What a model is asked."),
    "solver": Kind("infimed_solvers", Solver, ("evaluation.benchmarks.*.solver",), "How a model is asked."),
    "baseline": Kind("infimed_baselines", Baseline, ("evaluation.baselines.*",), "What answers without a model."),
    "metric": Kind("infimed_metrics", Metric, ("evaluation.benchmarks.*.metrics.*",), "What sums up the grades."),
    "reporter": Kind("infimed_reporters", Reporter, ("report.*",), "What is written for people about a run."),
}
"""Every kind of component. A stage of ``training`` may name a scheduler and a packer of its own; the settings of
modalities are in ``data.modalities``."""


def _offers_components(kind: Kind) -> Callable[[], dict[str, type[Component] | str]]:
    def hook() -> dict[str, type[Component] | str]:
        raise NotImplementedError("a plugin implements it")

    hook.__name__, hook.__doc__ = kind.hook, kind.what
    return hookspec(hook)


globals().update({kind.hook: _offers_components(kind) for kind in KINDS.values()})


@hookspec
def infimed_benchmark_groups() -> dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]]:  # type: ignore[empty-body]
    """Names that stand for several benchmarks: a function from ``with`` to a list of ``{name, use, with}``.

    A group may have the name of a benchmark of the same plugin; its function is then given every use of that name.
    """


@hookspec
def infimed_defaults() -> dict[str, str]:  # type: ignore[empty-body]
    """The component that is used where a run file names none: from the purpose (``solver``) to the component's name.

    Only what InfiMed's own plugins return counts, so that installing a plugin changes no run.
    """


@hookspec
def infimed_model_families() -> dict[str, dict[str, Any]]:  # type: ignore[empty-body]
    """Architectures of transformers by ``config.model_type``: which parameters are the tower's, how positions count.

    The keys of each are the fields of ``Family`` in the plugin that opens such checkpoints (docs/models.md).
    """


@hookspec
def infimed_report_sections() -> dict[str, Callable[[Any], str | None]]:  # type: ignore[empty-body]
    """Sections of the report by title: from a ``Run`` to HTML without scripts, ``None`` where there is none to show."""


@hookspec
def infimed_commands() -> dict[str, Callable[..., None] | str]:  # type: ignore[empty-body]
    """Subcommands of ``infimed``: functions with typer's parameters, or ``"module:function"``; docstrings are the help.

    A parameter of type ``typer.Context`` finds the ``Registry`` of installed plugins in ``context.obj``.
    """


@hookspec
def infimed_headings() -> dict[str, str]:  # type: ignore[empty-body]
    """Under which heading ``infimed --help`` lists a command, by its name; of InfiMed's own plugins."""


@hookspec
def infimed_run_event(event: RunEvent) -> None:
    """Listen to a run: progress bars, trackers. A listener that raises is warned about and never stops a run."""
