"""What our task files call inside lm-eval: the questions, their images, and our grading."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from infimed_core import Answer, Benchmark, MediaLoader, Sample


@lru_cache(maxsize=8)
def _benchmark(name: str) -> tuple[Benchmark, MediaLoader, dict[str, Sample]]:
    from infimed_core.plugins import load_plugins

    registry = load_plugins()
    benchmark = registry.find("benchmark", name).model_validate({})
    assert isinstance(benchmark, Benchmark)
    questions = {row.id: row for row in benchmark.samples() if isinstance(row, Sample)}
    return benchmark, registry.media_loader(), questions


def load(benchmark: str, **_: object) -> dict[str, Any]:
    """The questions of a benchmark as a data set with one split, ``test``."""
    import datasets

    rows = [
        {"benchmark": benchmark, "id": sample.id, "tags": json.dumps(sample.tags)}
        for sample in _benchmark(benchmark)[2].values()
    ]
    return {"test": datasets.Dataset.from_list(rows)}


def _sample(doc: dict[str, Any]) -> Sample:
    return _benchmark(doc["benchmark"])[2][doc["id"]]


def question(doc: dict[str, Any]) -> str:
    """The last user turn, with ``<image>`` where an image stands."""
    turn = _sample(doc).turns[-1]
    return "".join("<image>" if isinstance(part, int) else part for part in turn.content)


def reference(doc: dict[str, Any]) -> str:
    """The first accepted answer."""
    return (*_sample(doc).references, "")[0]


def images(doc: dict[str, Any]) -> list[Any]:
    """The images of the last user turn, as PIL images."""
    from PIL import Image

    sample = _sample(doc)
    loader = _benchmark(doc["benchmark"])[1]
    return [Image.fromarray(loader.load(sample.media[index])) for index in sample.turns[-1].media_indices]


def grade(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Our first scoring. What cannot be read counts in ``unscored``, and as 0 in lm-eval's mean, which has no null."""
    benchmark, _, _ = _benchmark(doc["benchmark"])
    text = results[0][0] if isinstance(results[0], list) else results[0]
    score = benchmark.grade(_sample(doc), Answer(sample_id=doc["id"], text=text), benchmark.scorings[0])
    return {"accuracy": score.value or 0.0, "unscored": float(score.value is None)}
