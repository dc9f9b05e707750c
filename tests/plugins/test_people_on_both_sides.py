"""A patient in training and in a benchmark is told, and one line divides the data by patient."""

from __future__ import annotations

import pytest

from infimed_core import Sample, Turn, is_person_tag
from infimed_core.curate.read_task import split_tag
from infimed_core.runfile.sections import SplitSection
from infimed_plugins.executors.local import Serial
from infimed_plugins.filters.contamination import Contamination
from infimed_plugins.quality.installed import media_loader


def row(number: int, **tags: str) -> Sample:
    turns = (
        Turn(role="user", content=(f"Question {number}?",)),
        Turn(role="assistant", content=(f"Answer {number}.",)),
    )
    return Sample(id=str(number), turns=turns, tags=tags)


@pytest.mark.parametrize("tag", ["patient", "PatientID", "subject_id", "study", "StudyInstanceUID", "mrn"])
def test_a_patient_or_study_in_training_and_in_a_benchmark_is_told(tag):
    trained = [row(number, **{tag: f"p{number % 5}"}) for number in range(20)]
    asked = [row(100 + number, **{tag: f"p{number}"}) for number in (3, 4, 9)]
    found = Contamination().check(trained, {"held": asked}, media_loader(), Serial())
    assert found.details["on_both_sides"] == {tag: {"num_values": 2, "num_samples": 8}}
    assert not found.rejected


def test_a_tag_of_something_else_is_no_person():
    assert not any(map(is_person_tag, ("modality", "source", "task_type", "split", "image")))


def test_a_split_puts_every_value_on_one_side_and_about_the_share_asked_for():
    split = SplitSection(by="patient", held_out=0.2)
    sides = {}
    for number in range(3000):
        side = split_tag(row(number, patient=f"p{number // 3}"), split)["split"]
        assert sides.setdefault(number // 3, side) == side
    assert 0.15 < sum(side == "held-out" for side in sides.values()) / len(sides) < 0.25
    assert split_tag(row(1), split) == {"split": "train"}
    assert split_tag(row(1, patient="p1"), None) == {}


def test_a_split_without_a_tag_is_of_samples_and_another_seed_holds_out_others():
    def held(seed, **more):
        split = SplitSection(held_out=0.2, seed=seed, **more)
        return {n for n in range(2000) if split_tag(row(n, patient=f"p{n // 4}"), split)["split"] == "held-out"}

    first, other = held(0), held(7)
    assert first == held(0) and other == held(7)
    assert all(320 < len(found) < 480 for found in (first, other)) and len(first & other) < 0.35 * len(first)
    grouped = held(7, by="patient")
    assert {n // 4 for n in grouped} == {n // 4 for n in range(2000) if n in grouped} and len(grouped) % 4 == 0
    assert SplitSection(by="patient").model_dump() == {"by": "patient", "held_out": 0.1}  # what was read stands
