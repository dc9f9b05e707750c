"""What a run records and tells: events, steps, the run record, and who writes for people of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

from infimed_core.api.component import Component, Row

if TYPE_CHECKING:
    from infimed_core.records import Run

RECORD_FORMAT = 2
"""The format of run.json that this version writes and reads."""


@dataclass(frozen=True)
class RunEvent:
    """Something that happened in a run, told to every ``infimed_run_event`` listener.

    ``kind``: ``run_started``, ``step_started``, ``step_skipped`` (its artifact stands), ``progress`` (payload
    ``done``, ``total``, ``unit``), ``log`` (payload: numbers of a training step), ``evaluation`` (payload: what was
    measured after a training step), ``message``, ``step_finished``, ``run_finished``. ``step`` names the step;
    ``directory`` is the run's.
    """

    kind: str
    step: str
    directory: str
    payload: Mapping[str, Any] = field(default_factory=dict)


class MetricValue(Row):
    """A metric with its 95% interval.

    ``num_scored`` answers could be read, ``num_unscored`` could not or are missing; ``value`` is over ``num_counted``
    of them. ``num_counted`` is ``None`` in records from before unread answers counted, where it equals ``num_scored``.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    num_scored: int = 0
    num_unscored: int = 0
    num_counted: int | None = None


class ResultRow(Row):
    """One model on one benchmark (or on the part of it that ``group`` names), under one scoring.

    ``model`` is ``base``, a stage's name, or a baseline: ``most-common-answer``, ``constant-letter``, or a model's name
    with ``-image-blind`` (the same model, asked without the images).
    """

    benchmark: str
    version: str
    model: str
    scoring: str
    group: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, MetricValue]


class Comparison(Row):
    """A paired difference of ``metric`` between two models on the same questions: ``model`` minus ``against``.

    ``value_model`` and ``value_against`` are the metric on the ``num_pairs`` questions that both have a result for;
    ``num_unpaired`` have one for at most one of them. ``test`` names the procedure that gives both the 95% interval and
    ``p_value`` (``infimed_core.evaluate.paired_comparison``): ``p_value`` < 0.05 exactly where the interval leaves out
    zero. ``p_adjusted`` is Holm's over the comparisons of one table. ``minimum_detectable`` is the true difference that
    the test would find with probability 0.8 on as many questions that scatter as these do.
    """

    benchmark: str
    scoring: str
    metric: str
    model: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float | None = None
    p_adjusted: float | None = None
    minimum_detectable: float | None = None
    num_pairs: int
    num_unpaired: int = 0
    num_clusters: int = 0
    value_model: float | None = None
    value_against: float | None = None
    test: Literal["mcnemar", "t", "no-spread", "bootstrap"] | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    higher_is_better: bool = True


class PluginInfo(Row):
    """A plugin that took part: its entry-point name, distribution and version."""

    name: str
    distribution: str
    version: str


class StepRecord(Row):
    """One step of a run. ``num_in == num_out + sum(dropped.values())`` wherever rows flow.

    ``kind`` says what was done and ``subject`` to what; ``name`` is for people. Kinds and the keys of their subjects:
    ``read``, ``filter`` (``filter``), ``score`` (``scorer``), ``select``, ``model``, ``index``, ``isolation``,
    ``plan``, ``measure`` and ``train`` (``stage``), ``evaluate`` and ``baseline`` (``model``, ``benchmark``),
    ``compare`` (``benchmark``), ``report`` (``reporter``).
    """

    name: str
    kind: str
    subject: dict[str, str] = Field(default_factory=dict)
    status: Literal["running", "done", "reused", "failed", "interrupted"]
    artifact: str | None = None
    num_in: int | None = None
    num_out: int | None = None
    dropped: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0
    details: dict[str, JsonValue] = Field(default_factory=dict)


class RunRecord(Row):
    """run.json: what was run, on what, with which result. Written at the start and after every step."""

    format: Literal[2] = 2
    name: str
    status: Literal["running", "done", "failed", "interrupted"]
    started: str
    finished: str | None = None
    config: dict[str, JsonValue]
    plugins: tuple[PluginInfo, ...] = ()
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int = 0
    steps: tuple[StepRecord, ...] = ()
    results: tuple[ResultRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    error: str | None = None
    checksum: str = Field(default="", exclude=True, repr=False)  # of the file: see store/files.py


class Reporter(Component):
    """Writes for people what a run did: a page, tables, a leaderboard, a model card."""

    @abstractmethod
    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """Write files about ``run`` into ``directory`` (the run's own) and return their paths.

        The run may have failed: what is not there yet has to be left out. Called again when a file that was returned is
        gone or the run's results have changed.
        """

    def summary(self, run: Run) -> Any:
        """What the terminal shows at the end of a run: text or a rich renderable; ``None`` for nothing."""
        return None

    @contextmanager
    def watch(self, quiet: bool = False) -> Iterator[Callable[[RunEvent], None]]:
        """Within this, what is called with each event of the run that goes on in this terminal.

        Asked of the default reporter alone, which also gives its summary where the run file does not name it.
        """
        yield lambda event: None
