"""The hooks, in the order of a run: this file is the map of what happens to data.

A hook that offers components returns a table from a name to a component class, or to where the class is:
``"module:Class"`` is imported when a run file says the name. No hook takes a default and none is ``firstresult``:
installing a plugin adds names and changes no run until a run file says the name. ``infimed_run_event`` listens and
returns nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

from infimed_core.api.component import Component
from infimed_core.api.data import DatasetFilter, Executor, Modality, Reader
from infimed_core.api.evaluation import Benchmark, Metric, Solver
from infimed_core.api.models import Model
from infimed_core.api.planning import Packer, ResolutionScheduler
from infimed_core.api.quality import Scorer, Selector
from infimed_core.api.reporting import Reporter, RunEvent
from infimed_core.api.training import Trainer

hookspec = pluggy.HookspecMarker("infimed")
hookimpl = pluggy.HookimplMarker("infimed")


@hookspec
def infimed_readers() -> dict[str, type[Reader] | str]:  # type: ignore[empty-body]
    """Where samples come from (``data.sources``)."""


@hookspec
def infimed_modalities() -> dict[str, type[Modality] | str]:  # type: ignore[empty-body]
    """How a sample's media are measured and opened (``data.modalities``); the name is ``Media.kind``."""


@hookspec
def infimed_executors() -> dict[str, type[Executor] | str]:  # type: ignore[empty-body]
    """What maps work over shards (``data.executor``)."""


@hookspec
def infimed_filters() -> dict[str, type[DatasetFilter] | str]:  # type: ignore[empty-body]
    """What is kept out of a data set as a whole (``data.filters``): duplicates, overlap with benchmarks."""


@hookspec
def infimed_scorers() -> dict[str, type[Scorer] | str]:  # type: ignore[empty-body]
    """How good a sample is (``quality.scorers``)."""


@hookspec
def infimed_selectors() -> dict[str, type[Selector] | str]:  # type: ignore[empty-body]
    """Which samples are kept (``quality.select``)."""


@hookspec
def infimed_models() -> dict[str, type[Model] | str]:  # type: ignore[empty-body]
    """What is trained and asked (``model``)."""


@hookspec
def infimed_resolution_schedulers() -> dict[str, type[ResolutionScheduler] | str]:  # type: ignore[empty-body]
    """How large images may be when (``resolution``)."""


@hookspec
def infimed_packers() -> dict[str, type[Packer] | str]:  # type: ignore[empty-body]
    """Which samples share a row (``packing``)."""


@hookspec
def infimed_trainers() -> dict[str, type[Trainer] | str]:  # type: ignore[empty-body]
    """How a model learns from the rows (``training``)."""


@hookspec
def infimed_benchmarks() -> dict[str, type[Benchmark] | str]:  # type: ignore[empty-body]
    """What a model is asked (``evaluation.benchmarks``)."""


@hookspec
def infimed_benchmark_groups() -> dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]]:  # type: ignore[empty-body]
    """Names that stand for several benchmarks: a function from ``with`` to a list of ``{name, use, with}``.

    A group may have the name of a benchmark of the same plugin; its function is then given every use of that name.
    """


@hookspec
def infimed_solvers() -> dict[str, type[Solver] | str]:  # type: ignore[empty-body]
    """How a model is asked (``evaluation.benchmarks``: ``solver``)."""


@hookspec
def infimed_metrics() -> dict[str, type[Metric] | str]:  # type: ignore[empty-body]
    """What sums up the grades (``evaluation.benchmarks``: ``metrics``); the core adds the interval."""


@hookspec
def infimed_reporters() -> dict[str, type[Reporter] | str]:  # type: ignore[empty-body]
    """What is written for people about a run (``report``)."""


@hookspec
def infimed_defaults() -> dict[str, str]:  # type: ignore[empty-body]
    """The component that is used where a run file names none: from the purpose (``solver``) to the component's name.

    Only what InfiMed's own plugins return counts, so that installing a plugin changes no run.
    """


@hookspec
def infimed_run_event(event: RunEvent) -> None:
    """Listen to a run: progress bars, trackers. A listener that raises is warned about and never stops a run."""


@hookspec
def infimed_commands() -> dict[str, Callable[..., None] | str]:  # type: ignore[empty-body]
    """Subcommands of ``infimed``: functions with typer's parameters, or ``"module:function"``; docstrings are the help.

    A parameter of type ``typer.Context`` finds the ``Registry`` of installed plugins in ``context.obj``.
    """


KINDS: dict[str, tuple[str, type[Component]]] = {
    "reader": ("infimed_readers", Reader),
    "modality": ("infimed_modalities", Modality),
    "executor": ("infimed_executors", Executor),
    "filter": ("infimed_filters", DatasetFilter),
    "scorer": ("infimed_scorers", Scorer),
    "selector": ("infimed_selectors", Selector),
    "model": ("infimed_models", Model),
    "resolution scheduler": ("infimed_resolution_schedulers", ResolutionScheduler),
    "packer": ("infimed_packers", Packer),
    "trainer": ("infimed_trainers", Trainer),
    "benchmark": ("infimed_benchmarks", Benchmark),
    "solver": ("infimed_solvers", Solver),
    "metric": ("infimed_metrics", Metric),
    "reporter": ("infimed_reporters", Reporter),
}
"""Every kind of component: the hook that offers it and the class that it derives from."""
