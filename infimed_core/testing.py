"""What a plugin's tests need: small samples and images, and checks that a component keeps its kind's promises."""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from infimed_core import contracts
from infimed_core.api.component import Component
from infimed_core.api.data import (
    DatasetFilter,
    Executor,
    FilterResult,
    Media,
    MediaLoader,
    Modality,
    Reader,
    Sample,
    Score,
    Turn,
)
from infimed_core.api.evaluation import Benchmark, GradedAnswer, Metric, Solver
from infimed_core.api.models import Answer, Generation, Request
from infimed_core.api.planning import Packer, Packs, ResolutionScheduler
from infimed_core.api.quality import Candidate, Scorer, Selector
from infimed_core.api.reporting import Reporter, RunEvent, RunRecord
from infimed_core.plugins import load_plugins
from infimed_core.records import Run, open_run
from infimed_core.reports import written_files
from infimed_core.runfile.loading import load_run_file

C = TypeVar("C", bound=Component)
R = TypeVar("R")


def make_image(height: int = 48, width: int = 64, seed: int = 0) -> bytes:
    """A PNG file of smooth seeded noise, RGB."""
    import io

    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(target, format="PNG")
    return target.getvalue()


def make_sample(
    identity: str = "sample-1",
    question: str = "Which plane is this?",
    answer: str | None = "axial",
    images: Sequence[bytes] = (),
    **tags: str,
) -> Sample:
    """A sample of one question, its images before it, and its answer (``None``: a benchmark sample without one)."""
    media = tuple(Media(data=data, sha256=hashlib.sha256(data).hexdigest()) for data in images)
    turns = [Turn(role="user", content=(*range(len(media)), question))]
    if answer is not None:
        turns.append(Turn(role="assistant", content=(answer,)))
    return Sample(id=identity, turns=tuple(turns), media=media, tags=tags, references=(answer,) if answer else ())


def run(document: dict[str, Any], directory: Path, events: list[RunEvent] | None = None) -> RunRecord:
    """Do a run file given as a dict, with the installed plugins; the run's directory is made in ``directory``."""
    from infimed_core.run import run as do_run

    file = directory / "run.yaml"
    document = {**document, "run": {"directory": str(directory / "runs"), **document["run"]}}
    file.write_text(json.dumps(document), encoding="utf-8")
    registry = load_plugins()
    listen = (lambda event: None) if events is None else events.append
    return do_run(load_run_file(file, registry), registry, listen)


def check_component(component: C) -> C:
    """A component is equal after pickling and after a round trip of its settings; returns the unpickled copy."""
    copy: C = pickle.loads(pickle.dumps(component))  # our own object, made a line above
    assert copy == component
    assert type(component).model_validate(component.model_dump()) == component
    assert copy.identity() == component.identity()
    return copy


def _twice(component: Component, call: Callable[[], R], shown: Callable[[R], Any] = lambda result: result) -> R:
    """What a component gives, the same twice."""
    check_component(component)
    result = call()
    np.testing.assert_equal(shown(call()), shown(result))
    return result


def check_reader(reader: Reader) -> list[Sample]:
    """Reading twice gives the same rows, ids are unique, and no row is anything but a sample or a fault."""
    shards = contracts.checked_shards(reader)
    rows = _twice(reader, lambda: [row for shard in shards for row in contracts.checked_rows(reader, shard)])
    samples = [row for row in rows if isinstance(row, Sample)]
    assert len({sample.id for sample in samples}) == len(samples)
    assert reader.fingerprint() == reader.fingerprint()
    return samples


def check_modality(modality: Modality, media: Media) -> NDArray[np.uint8]:
    """The header's size is the decoded size; pixels are uint8; an ``at_most`` hint never delivers less than asked."""
    check_component(modality)
    size = modality.probe(media)
    array = modality.load(media)
    assert array.dtype == np.uint8
    assert tuple(array.shape[: len(size)]) == tuple(size)
    if len(size) == 2:
        assert array.ndim == 3 and array.shape[2] == 3
        wanted = (max(1, size[0] // 4), max(1, size[1] // 4))
        smaller = modality.load(media, at_most=wanted)
        assert smaller.shape[0] >= wanted[0] and smaller.shape[1] >= wanted[1]
    return array


class _Here(Executor):
    """Maps in this process."""

    def map(self, function: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        """One after the other."""
        return map(function, items)


def check_filter(
    filter_: DatasetFilter, samples: Sequence[Sample], benchmarks: Mapping[str, Sequence[Sample]] | None = None
) -> FilterResult:
    """Every reject is a sample of the data set and has a reason, details can be recorded, and all is the same twice."""
    media = load_plugins().media_loader()
    result = _twice(
        filter_,
        lambda: contracts.checked_filtered(filter_, filter_.check(samples, benchmarks or {}, media, _Here())),
    )
    assert result.rejected.keys() <= {sample.id for sample in samples}
    return result


def _negative(number: int) -> int:
    return -number


def _failing(number: int) -> int:
    raise ValueError(number)


def check_executor(executor: Executor) -> None:
    """Results come one for each item, in order, and an exception is raised as it was."""
    check_component(executor)
    checked = contracts.CheckedExecutor(inner=executor)
    with checked.opened():
        assert list(checked.map(_negative, range(9))) == [-number for number in range(9)]
        assert list(checked.map(_negative, [])) == []
        try:
            list(checked.map(_failing, [3]))
        except ValueError as error:
            assert str(error) == "3"
        else:
            raise AssertionError("the exception of the function is lost")


def check_scorer(scorer: Scorer, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
    """One score a sample, in order; the same alone as in company; every dimension is named in every score."""
    check_component(scorer)
    scores = contracts.checked_scores(scorer, "score", scorer.score(samples, media), len(samples))
    assert [scorer.score([sample], media)[0] for sample in samples] == scores
    for score in scores:
        assert contracts.wrong_score(score, tuple(scorer.given_dimensions())) == ""
        assert score.value is not None or score.status != "ok" or score.reasons
    return scores


def check_selector(selector: Selector, candidates: Sequence[Candidate]) -> None:
    """Every candidate is kept or rejected, once, rejects say why, and the verdict is the same twice."""
    selection = _twice(selector, lambda: selector.select(candidates))
    assert sorted([*selection.kept, *selection.rejected]) == sorted(candidate.id for candidate in candidates)
    assert all(selection.rejected.values())


def check_scheduler(scheduler: ResolutionScheduler, num_samples: int) -> None:
    """Phases cover every sample once, in order."""
    _twice(scheduler, lambda: contracts.checked_phases(scheduler, scheduler.plan(num_samples), num_samples))


def check_packer(packer: Packer, costs: NDArray[np.int64]) -> Packs:
    """No index twice, no group over the budget, nothing left out that would fit a row of its own, same twice."""
    budget = packer.budget
    packs = _twice(
        packer,
        lambda: contracts.checked_packs(packer, packer.group(costs, budget), costs, budget),
        lambda packs: [packs.members, packs.offsets],
    )
    left_out = np.setdiff1d(np.arange(len(costs)), packs.members)
    assert (costs[left_out] > budget).any(axis=1).all()
    return packs


def check_benchmark(benchmark: Benchmark) -> list[Sample]:
    """Questions are the same twice, ids are unique, and grading an empty answer never gives credit."""
    rows = _twice(benchmark, lambda: list(benchmark.samples()))
    samples = [row for row in rows if isinstance(row, Sample)]
    assert len({sample.id for sample in samples}) == len(samples)
    scoring = benchmark.scorings[0]
    for sample in samples[:50]:
        assert not benchmark.grade(sample, Answer(sample_id=sample.id, text=""), scoring).value
    return samples


def check_solver(solver: Solver, samples: Sequence[Sample], reply: str = "A") -> list[Answer]:
    """One answer for each sample, in order, where every model that is asked says ``reply``."""

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        return [Answer(sample_id=request.sample_id, text=reply) for request in requests]

    identities = [sample.id for sample in samples]
    return _twice(
        solver, lambda: contracts.checked_answers(solver, solver.solve(samples, ask, Generation()), identities)
    )


def check_metric(metric: Metric, rows: Sequence[GradedAnswer | Score]) -> float | None:
    """A finite number or ``None``, the mean of ``values`` where it gives them, whatever the order; returns it.

    Of bare scores the question and the answer are made up.
    """
    graded = [
        row
        if isinstance(row, GradedAnswer)
        else GradedAnswer(make_sample(f"{n}"), Answer(sample_id=f"{n}", text="A"), row)
        for n, row in enumerate(rows)
    ]
    value = _twice(metric, lambda: metric.compute_answers(graded))
    contracts.check_metric(metric, value, metric.answer_values(graded), len(graded))
    turned = metric.compute_answers(graded[::-1])
    assert turned == value or (turned is not None and value is not None and abs(turned - value) < 1e-9)
    return value


def check_reporter(reporter: Reporter, directory: Path) -> list[Path]:
    """Writes about the run in ``directory`` and about one that failed early; what it returns is there, and the run's
    own files are as before."""
    check_component(reporter)
    run_ = open_run(directory)
    empty = {"status": "failed", "steps": (), "results": (), "comparisons": (), "error": "it failed"}
    with tempfile.TemporaryDirectory() as folder:
        written_files(reporter, Run(Path(folder), run_.record.model_copy(update=empty)))
    return written_files(reporter, run_)
