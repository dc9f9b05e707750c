"""What a plugin's tests need: small samples and images, and checks that a component keeps its kind's promises."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import Component
from infimed_core.api.data import Fault, Media, MediaLoader, Modality, Reader, Sample, Score, Turn
from infimed_core.api.evaluation import Benchmark
from infimed_core.api.models import Answer
from infimed_core.api.planning import Packer, Packs, ResolutionScheduler
from infimed_core.api.quality import Candidate, Scorer, Selector
from infimed_core.api.reporting import RunEvent, RunRecord
from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file

C = TypeVar("C", bound=Component)


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
    told = events if events is not None else []
    return do_run(load_run_file(file, registry), registry, told.append)


def check_component(component: C) -> C:
    """A component is equal after pickling and after a round trip of its settings; returns the unpickled copy."""
    copy: C = pickle.loads(pickle.dumps(component))  # our own object, made a line above
    assert copy == component
    assert type(component).model_validate(component.model_dump()) == component
    assert copy.identity() == component.identity()
    return copy


def check_reader(reader: Reader) -> list[Sample]:
    """Reading twice gives the same rows, ids are unique, and no row is anything but a sample or a fault."""
    check_component(reader)
    first = [row for shard in reader.shards() for row in reader.read(shard)]
    second = [row for shard in reader.shards() for row in reader.read(shard)]
    assert first == second
    assert all(isinstance(row, Sample | Fault) for row in first)
    samples = [row for row in first if isinstance(row, Sample)]
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


def check_scorer(scorer: Scorer, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
    """One score a sample, in order; the same alone as in company; every dimension is named in every score."""
    check_component(scorer)
    scores = scorer.score(samples, media)
    assert len(scores) == len(samples)
    assert [scorer.score([sample], media)[0] for sample in samples] == scores
    for score in scores:
        assert set(score.parts) <= set(scorer.given_dimensions())
        assert score.value is not None or score.status != "ok" or score.reasons
    return scores


def check_selector(selector: Selector, candidates: Sequence[Candidate]) -> None:
    """Every candidate is kept or rejected, once, rejects say why, and the verdict is the same twice."""
    check_component(selector)
    selection = selector.select(candidates)
    assert selection == selector.select(candidates)
    assert sorted([*selection.kept, *selection.rejected]) == sorted(candidate.id for candidate in candidates)
    assert all(selection.rejected.values())


def check_scheduler(scheduler: ResolutionScheduler, num_samples: int) -> None:
    """Phases cover every sample once, in order."""
    check_component(scheduler)
    at = 0
    for phase in scheduler.plan(num_samples):
        assert phase.start == at and phase.stop >= phase.start
        at = phase.stop
    assert at == num_samples


def check_packer(packer: Packer, costs: NDArray[np.int64]) -> Packs:
    """No index twice, no group over the budget, nothing left out that would fit a row of its own, same twice."""
    check_component(packer)
    packs = packer.group(costs, packer.budget)
    again = packer.group(costs, packer.budget)
    assert np.array_equal(packs.members, again.members) and np.array_equal(packs.offsets, again.offsets)
    assert len(np.unique(packs.members)) == len(packs.members)
    if not type(packer).padded:
        for index in range(len(packs)):
            assert (costs[packs[index]].sum(axis=0) <= packer.budget).all()
    left_out = np.setdiff1d(np.arange(len(costs)), packs.members)
    assert (costs[left_out] > packer.budget).any(axis=1).all()
    return packs


def check_benchmark(benchmark: Benchmark) -> list[Sample]:
    """Questions are the same twice, ids are unique, and grading an empty answer never gives credit."""
    check_component(benchmark)
    samples = [row for row in benchmark.samples() if isinstance(row, Sample)]
    assert samples == [row for row in benchmark.samples() if isinstance(row, Sample)]
    assert len({sample.id for sample in samples}) == len(samples)
    scoring = benchmark.scorings[0]
    for sample in samples[:50]:
        assert not benchmark.grade(sample, Answer(sample_id=sample.id, text=""), scoring).value
    return samples
