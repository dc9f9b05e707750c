"""What components return is checked, in a run and by `infimed_core.testing` alike: one line, plugin, method, remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from infimed_core import (
    Answer,
    DatasetFilter,
    Executor,
    FilterResult,
    Metric,
    Packer,
    Packs,
    Phase,
    PluginError,
    ResolutionScheduler,
    Sample,
    Score,
    Solver,
    load_plugins,
)
from infimed_core.contracts import checked_facts, checked_filtered
from infimed_core.testing import (
    check_executor,
    check_filter,
    check_metric,
    check_packer,
    check_scheduler,
    check_solver,
    make_sample,
)

SAMPLES = [make_sample(f"s{n}") for n in range(4)]
SCORES = [Score(value=float(n % 2)) for n in range(5)]
COSTS = np.array([[40, 0, 0], [50, 0, 0], [60, 4, 1]])


def made(kind: str, name: str, **settings: Any) -> Any:
    return load_plugins().make(kind, name, settings)


class Rejects(DatasetFilter):
    """Rejects what it is told to."""

    rejected: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def check(self, samples: Any, benchmarks: Any, media: Any, executor: Any) -> FilterResult:
        return FilterResult(rejected=self.rejected)


class Backwards(Executor):
    """Results in another order."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return reversed([function(item) for item in items])


class Swallows(Executor):
    """Loses exceptions."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        try:
            return iter([function(item) for item in items])
        except ValueError:
            return iter([])


class Half(Solver):
    """Answers half."""

    def solve(self, samples: Sequence[Sample], ask: Any, generation: Any) -> list[Answer]:
        return [Answer(sample_id=sample.id, text="A") for sample in samples[::2]]


class First(Metric):
    """Depends on the order."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        return scores[0].value


class Infinite(Metric):
    """Is no number."""

    def compute(self, scores: Sequence[Score]) -> float | None:
        return float("inf")


class Gap(ResolutionScheduler):
    """Leaves samples out."""

    def plan(self, num_samples: int) -> list[Phase]:
        return [Phase(0, 1, None), Phase(2, num_samples, None)]


class Overfull(Packer):
    """All in one row."""

    def group(self, costs: Any, budget: Any) -> Packs:
        return Packs.from_lists([range(len(costs))])


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_filter(Rejects(rejected={"s1": ("odd",)}), SAMPLES),
        lambda: check_filter(made("filter", "duplicates"), SAMPLES),
        lambda: check_executor(made("executor", "processes", num_processes=1)),
        lambda: check_solver(made("solver", "direct"), SAMPLES),
        lambda: check_metric(made("metric", "accuracy"), SCORES),
        lambda: check_scheduler(made("resolution scheduler", "native"), 7),
        lambda: check_packer(made("packer", "best-fit", row_tokens=100), COSTS),
    ],
)
def test_what_keeps_its_promises_passes(check: Callable[[], Any]) -> None:
    check()


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_filter(Rejects(rejected={"s1": ()}), SAMPLES),
        lambda: check_filter(Rejects(rejected={"s1": (" ",)}), SAMPLES),
        lambda: check_filter(Rejects(rejected={"unknown": ("odd",)}), SAMPLES),
        lambda: check_executor(Backwards()),
        lambda: check_executor(Swallows()),
        lambda: check_solver(Half(), SAMPLES),
        lambda: check_metric(First(), [Score(value=0.0), Score(value=1.0)]),
        lambda: check_metric(Infinite(), SCORES),
        lambda: check_scheduler(Gap(), 7),
        lambda: check_packer(Overfull(row_tokens=100), COSTS),
    ],
)
def test_what_breaks_them_does_not(check: Callable[[], Any]) -> None:
    with pytest.raises((AssertionError, PluginError)):
        check()


def test_a_reject_without_a_reason_names_method_sample_and_remedy() -> None:
    with pytest.raises(PluginError, match=r"Rejects.check \(.*\) rejected 's1' without a reason; give each reject one"):
        checked_filtered(Rejects(), FilterResult(rejected={"s0": ("odd",), "s1": ()}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "three"), ("tokens", None), ("loss_last", float("nan")), ("own", np.int64(3)), ("own", {"a": {1, 2}}),
        ("dropped", {"long": "many"}), ("curve", [{"loss": 1.0}]), ("evaluations", {"step": 1}),
    ],
)  # fmt: skip
def test_a_fact_that_cannot_be_recorded_is_told_and_the_others_are_kept(name: str, value: Any) -> None:
    trainer = made("trainer", "staged", stages=[{"name": "one"}])
    facts, lines = checked_facts(trainer, {"samples": 3, "anything": [1, "x"], name: value})
    assert facts == {"samples": 3, "anything": [1, "x"]}
    (line,) = lines
    assert ".train (" in line and f"'{name}'" in line and line.endswith("; it is left out")
