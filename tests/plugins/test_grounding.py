"""Boxes and points: read in every convention, measured as pycocotools measures them, drawn from real masks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimed_core import Answer, Fault, GradedAnswer, Sample, Score
from infimed_core.testing import check_benchmark, make_image, run
from infimed_plugins.demo.grounding import DemoGrounding, box_around
from infimed_plugins.metrics.grounding.benchmark import Grounding
from infimed_plugins.metrics.grounding.measures import THRESHOLDS, average_precision, overlaps
from infimed_plugins.metrics.grounding.metrics import MeanAveragePrecision
from infimed_plugins.metrics.grounding.reading import Place, read_places

SIZE = (200, 400)  # height, width
BOX = pytest.approx((0.25, 0.5, 0.75, 1.0), abs=2e-3)


@pytest.mark.parametrize(
    ("text", "convention"),
    [
        ("[250, 500, 750, 1000]", "thousandths"),
        ("The lesion is at (250,500),(750,1000).", "thousandths"),
        ('```json\n[{"bbox_2d": [250, 500, 750, 1000], "label": "lesion"}]\n```', "thousandths"),
        ("<|object_ref_start|>lesion<|object_ref_end|><|box_start|>(250,500),(750,1000)<|box_end|>", "pixels"),
        ("<ref>lesion</ref><box>[[250, 500, 750, 1000]]</box>", "shares"),
        ("<loc0512><loc0256><loc1024><loc0768> lesion", "pixels"),
        ("[0.25, 0.5, 0.75, 1.0]", "shares"),
        ("[100, 100, 300, 200]", "pixels"),
        ("<think>maybe [1, 1, 2, 2]</think>[250 500 750 1000]", "thousandths"),
    ],
)
def test_one_box_in_every_convention(text: str, convention: Any) -> None:
    (place,) = read_places(text, "box", convention, SIZE)
    assert place.shares == BOX and place.centre == pytest.approx((0.5, 0.75), abs=2e-3)


@pytest.mark.parametrize(
    "text",
    ["", "on the left", "[750, 500, 250, 1000]", "[250, 500, 750]", "[2500, 500, 7500, 1000]", "A, B, C and D", "(12)"],
)
def test_what_is_no_box_in_the_image_is_none(text: str) -> None:
    assert read_places(text, "box", "thousandths", SIZE) == []


def test_points_and_confidences_are_read() -> None:
    (point,) = read_places('{"point_2d": [500, 750]}', "point", "thousandths", SIZE)
    assert point.shares == (0.5, 0.75)
    (middle,) = read_places("[250, 500, 750, 1000]", "point", "thousandths", SIZE)
    assert middle.centre == (0.5, 0.75), "a box where a point is wanted stands for its middle"
    text = '[{"bbox_2d": [0,0,10,10], "score": 0.9}, {"bbox_2d": [0,0,20,20], "score": 0.4}]'
    assert [place.confidence for place in read_places(text, "box", "thousandths", SIZE)] == [0.9, 0.4]


def test_overlap_by_hand() -> None:
    table = overlaps([(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)], [(0.25, 0.25, 0.75, 0.75), (0.0, 0.0, 0.5, 0.5)])
    assert table == pytest.approx(np.array([[0.0625 / 0.4375, 1.0], [0.0625 / 0.4375, 0.0]]))


BY_PYCOCOTOOLS: dict[int, tuple[float, float, float]] = {
    0: (0.18475204934328354, 0.5409515484655426, 0.04734266530101285),
    1: (0.13615511551155113, 0.4422442244224422, 0.0594059405940594),
    2: (0.1307965219598883, 0.3309215536938309, 0.11089108910891088),
    3: (0.18807889192280572, 0.5496478219250497, 0.02599009900990099),
    4: (0.29658318773053777, 0.6395803866100895, 0.26559613944587734),
    5: (0.15776989463652244, 0.5460899031079578, 0.045004500450045),
}
"""AP, AP50 and AP75 that pycocotools 2.0 gives for ``drawn`` of a seed."""


def drawn(seed: int) -> tuple[dict[str, list[Any]], dict[str, list[Place]]]:
    """Wanted boxes of twelve images, and detections near most of them and elsewhere."""
    d = random.Random(seed)
    gold: dict[str, list[Any]] = {}
    found: dict[str, list[Place]] = {}
    for number in range(12):
        image = str(number)
        gold[image], found[image] = [], []
        for _ in range(d.randint(1, 3)):
            left, top = d.uniform(0, 0.6), d.uniform(0, 0.6)
            gold[image].append((left, top, left + d.uniform(0.1, 0.35), top + d.uniform(0.1, 0.35)))
        for box in gold[image]:
            if d.random() < 0.8:
                moved = tuple(max(0, min(1, value + d.gauss(0, 0.03))) for value in box)
                if moved[0] < moved[2] and moved[1] < moved[3]:
                    found[image].append(Place(moved, round(d.random(), 3)))
        if d.random() < 0.4:
            left, top = d.uniform(0, 0.6), d.uniform(0, 0.6)
            found[image].append(Place((left, top, left + 0.2, top + 0.2), round(d.random(), 3)))
    return gold, found


@pytest.mark.parametrize("seed", BY_PYCOCOTOOLS)
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    gold, found = drawn(seed)
    values = [average_precision(found, gold, threshold) or 0.0 for threshold in THRESHOLDS]
    assert (sum(values) / len(values), values[0], values[5]) == pytest.approx(BY_PYCOCOTOOLS[seed], abs=1e-9)


def asked(tmp_path: Path, **settings: Any) -> Grounding:
    (tmp_path / "a.png").write_bytes(make_image(200, 400))
    row = {
        "id": "q0",
        "turns": [
            {"role": "user", "content": [0, "Where is it?"]},
            {
                "role": "assistant",
                "content": ["<bbox>"],
                "regions": [{"name": "lesion", "box": [0.25, 0.5, 0.75, 1.0]}],
            },
        ],
        "media": [{"kind": "image", "uri": str(tmp_path / "a.png")}],
    }
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}
    return Grounding.model_validate({"reader": reader, **settings})


@pytest.mark.parametrize(
    ("said", "value", "parts"),
    [
        ("[250, 500, 750, 1000]", 1.0, {"iou": 1.0, "pointing": 1.0}),
        ("[250, 500, 500, 1000]", 1.0, {"iou": 0.5, "pointing": 1.0}),
        ("[0, 0, 100, 100]", 0.0, {"iou": 0.0, "pointing": 0.0}),
        ("[250, 500, 750, 1000] and [0, 0, 100, 100]", 2 / 3, {"iou": 0.5, "pointing": 1.0}),
        ("lower middle", None, {}),
    ],
)
def test_grading_by_hand(tmp_path: Path, said: str, value: float | None, parts: dict[str, float]) -> None:
    component = asked(tmp_path)
    (sample,) = check_benchmark(component)
    assert "in thousandths" in sample.turns[-1].text and sample.turns[-1].role == "user"
    score = component.grade(sample, Answer(sample_id="q0", text=said), "strict")
    assert score.value == (None if value is None else pytest.approx(value)) and score.parts == pytest.approx(parts)


@pytest.mark.parametrize("convention", ["thousandths", "shares", "pixels"])
def test_the_accepted_answer_is_right_in_every_convention(tmp_path: Path, convention: str) -> None:
    component = asked(tmp_path, convention=convention)
    (sample,) = check_benchmark(component)
    score = component.grade(sample, Answer(sample_id="q0", text=sample.references[0]), "strict")
    assert score.value == 1.0 and score.parts["iou"] == pytest.approx(1.0, abs=0.02), sample.references


def test_a_point_is_right_in_the_box(tmp_path: Path) -> None:
    component = asked(tmp_path, shape="point", convention="pixels")
    (sample,) = check_benchmark(component)
    inside, outside = (
        component.grade(sample, Answer(sample_id="q0", text=said), "strict") for said in ("(200, 150)", "(9, 9)")
    )
    assert (inside.value, outside.value) == (1.0, 0.0)


def test_the_metric_reads_answers_as_the_benchmark_does(tmp_path: Path) -> None:
    (sample,) = check_benchmark(asked(tmp_path))
    rows = [
        GradedAnswer(sample, Answer(sample_id="q0", text=text), Score(value=1.0))
        for text in ("[250, 500, 750, 1000]", "no")
    ]
    assert MeanAveragePrecision().compute_answers(rows[:1]) == pytest.approx(1.0)
    assert MeanAveragePrecision().compute_answers(rows) == pytest.approx(51 / 101)


def test_a_box_around_a_mask() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:5, 10:20] = True
    assert box_around(mask) == (0.5, 0.2, 1.0, 0.5) and box_around(mask & False) is None


def test_a_run_on_the_demo_masks_has_every_measure(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    rows = [row for row in DemoGrounding(max_images=6).read("") if not isinstance(row, Fault)]
    assert len(rows) >= 8 and all(isinstance(row, Sample) and row.turns[-1].regions[0].box for row in rows)
    use = {
        "use": "grounding",
        "with": {"reader": {"use": "demo-grounding", "with": {"max_images": 6}}, "tags": ["kind"]},
    }
    document = {
        "run": {"name": "boxes"},
        "models": {"whole": {"use": "constant", "with": {"text": "[150, 100, 850, 900]"}}},
        "evaluation": {"models": ["whole"], "benchmarks": [use]},
    }
    record = run(document, tmp_path)
    metrics = next(row for row in record.results if row.model == "whole" and not row.group).metrics
    assert 0.3 < (metrics["mean-iou"].value or 0) < 1 and metrics["pointing-accuracy"].value == 1.0
    assert metrics["mean-average-precision"].value is not None
