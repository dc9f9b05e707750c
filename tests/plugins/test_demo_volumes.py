"""The demo's questions about volumes: answers that another computation gives too, and blocks that are held out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from infimed_core import Sample, load_plugins
from infimed_core.testing import check_component
from infimed_plugins.demo import sources
from infimed_plugins.demo.volumes import NUM_SLICES, DemoVolumes
from infimed_plugins.volumes.reader import Volumes

pytest.importorskip("nilearn")
LOADER = load_plugins().media_loader()


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Sample]]:
    made = {split: DemoVolumes(split=split, num_samples=120).read("") for split in ("train", "test")}
    return {split: [row for row in found if isinstance(row, Sample)] for split, found in made.items()}


def test_answers_are_asked_equally_often_and_the_same_twice(rows: dict[str, list[Sample]]) -> None:
    check_component(DemoVolumes())
    assert list(DemoVolumes(num_samples=120).read("")) == rows["train"]
    for kind, num_answers in (("count", 8), ("end", 3), ("higher", 2), ("both", 2)):
        counts = Counter(row.turns[1].text for row in rows["train"] if row.tags["kind"] == kind)
        assert sum(counts.values()) == 30 and len(counts) == num_answers
        assert max(counts.values()) - min(counts.values()) <= 2


def test_no_block_or_pair_of_a_held_out_split_is_trained_on(rows: dict[str, list[Sample]]) -> None:
    def shown(split: str) -> set[Any]:
        return {tuple(item.data for item in row.media) for row in rows[split]}

    assert not shown("train") & shown("test")


def test_counts_and_ends_are_those_of_the_tissue_maps(rows: dict[str, list[Sample]]) -> None:
    tissue = sources.volume("gm").astype(int) + sources.volume("wm") > 127
    blocks = [row for row in rows["train"] if row.tags["kind"] in ("count", "end")]
    reader = Volumes(reader={"use": "demo-volumes", "with": {"num_samples": 120}}, num_slices=NUM_SLICES)
    cut = {row.id: row for row in reader.read("") if isinstance(row, Sample)}
    for block in blocks:
        (told,) = cut[block.id].meta["volumes"]  # type: ignore[misc]
        axis = ("sagittal", "coronal", "axial").index(told["plane"])  # type: ignore[index, call-overload]
        positions = [round(place) for place in told["positions"]]  # type: ignore[index, call-overload]
        layers = [tissue.take(at, axis) if 0 <= at < tissue.shape[axis] else np.zeros(1) for at in positions]
        shows = [layer.mean() > 0.01 for layer in layers]
        if block.tags["kind"] == "count":
            assert block.turns[1].text == str(sum(shows))
        else:
            assert block.turns[1].text == ("first" if not shows[0] else "last" if not shows[-1] else "neither")
        for item in cut[block.id].media:
            assert LOADER.load(item).shape[:2] == LOADER.probe(item)


def test_one_slice_does_not_decide_what_is_asked(rows: dict[str, list[Sample]]) -> None:
    """Two blocks with the same middle slice and other answers: by the middle slice alone they are alike."""
    reader = Volumes(reader={"use": "demo-volumes", "with": {"num_samples": 600, "kinds": ["count"]}}, num_slices=1)
    answers: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for row in reader.read(""):
        assert isinstance(row, Sample)
        answers[bool(LOADER.load(row.media[0]).max() > 60)][row.turns[1].text] += 1
    assert all(len(counts) >= 4 for counts in answers.values())
