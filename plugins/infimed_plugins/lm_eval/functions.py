"""What our task files call inside lm-eval: the questions, their images, and our grading."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from infimed_core import Answer, Benchmark, DataError, MediaLoader, Sample


@lru_cache(maxsize=64)
def _benchmark(name: str, settings: str) -> tuple[Benchmark, MediaLoader, dict[str, Sample]]:
    from infimed_core import load_plugins

    registry = load_plugins()
    benchmark = registry.find("benchmark", name).model_validate(json.loads(settings))
    assert isinstance(benchmark, Benchmark)
    questions = {row.id: row for row in benchmark.samples() if isinstance(row, Sample)}
    longer = next((sample.id for sample in questions.values() if len(sample.turns) > 1), None)
    if longer is not None:
        raise DataError(
            "several_turns",
            f"{name}: question {longer} is a conversation; an lm-eval task asks one turn: use infimed-run",
        )
    return benchmark, registry.media_loader(), questions


def load(benchmark: str, settings: str = "{}", **_: object) -> dict[str, Any]:
    """The questions of a benchmark as a data set with one split, ``test``."""
    import datasets

    rows = [
        {"benchmark": benchmark, "settings": settings, "id": sample.id, "tags": json.dumps(sample.tags)}
        for sample in _benchmark(benchmark, settings)[2].values()
    ]
    return {"test": datasets.Dataset.from_list(rows)}


def _of(doc: dict[str, Any]) -> tuple[Benchmark, MediaLoader, Sample]:
    benchmark, loader, questions = _benchmark(doc["benchmark"], doc["settings"])
    return benchmark, loader, questions[doc["id"]]


def question(doc: dict[str, Any]) -> str:
    """The last user turn, with ``<image>`` where an image stands."""
    turn = _of(doc)[2].turns[-1]
    return "".join("<image>" if isinstance(part, int) else part for part in turn.content)


def reference(doc: dict[str, Any]) -> str:
    """The first accepted answer."""
    return (*_of(doc)[2].references, "")[0]


def images(doc: dict[str, Any]) -> list[Any]:
    """The images of the last user turn, as PIL images."""
    from PIL import Image

    _, loader, sample = _of(doc)
    return [Image.fromarray(loader.load(sample.media[index])) for index in sample.turns[-1].media_indices]


def grade(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Our first scoring. An answer that cannot be read is not right, and counts in ``unscored`` too."""
    benchmark, _, sample = _of(doc)
    text = results[0][0] if isinstance(results[0], list) else results[0]
    score = benchmark.grade(sample, Answer(sample_id=doc["id"], text=text), benchmark.scorings[0])
    return {"accuracy": score.value or 0.0, "unscored": float(score.value is None)}
