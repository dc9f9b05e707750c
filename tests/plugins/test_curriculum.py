"""Curricula: a stage sees its samples in bands from easy to hard, mixed within a band, each once before any twice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "plan"))
from planning_fakes import TinyEncoder

from infimed_core import ComponentError, Curriculum, InfimedError, PlannedSample, Score, Stage, curriculum
from infimed_core.contracts import checked_bands
from infimed_core.plan.index import Index
from infimed_core.plan.mixing import mixing_warnings
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.stage_plan import StagePlan
from infimed_core.testing import check_curriculum, run
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Fixed, LowToHigh
from infimed_plugins.sft.curricula import ByLength, ByScore


def index_of(text: np.ndarray, seed: int = 0, sources: int = 3) -> Index:
    codes = np.random.default_rng(seed).integers(0, sources, len(text)).astype(np.int32)
    return Index(
        text, text // 3, np.zeros(len(text) + 1, dtype=np.int64), np.zeros((0, 2), dtype=np.int64),
        np.ones(len(text), dtype=bool), {"source": codes}, {"source": list("abc"[:sources])}, (), "index",
    )  # fmt: skip


def texts(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(4.0, 0.8, count).clip(2, 900).astype(np.int64)


def plan(index: Index, bands: np.ndarray | None, seed: int = 0, scheduler: Any = None, **stage: Any) -> StagePlan:
    given = Stage(name="s", **({"rows_per_step": 4} | stage))
    allowed = np.ones(len(index), dtype=bool)
    scheduler = scheduler or Fixed(max_visual_tokens=64)
    return plan_stage(index, given, scheduler, BestFit(row_tokens=2048), TinyEncoder(), seed, allowed, bands=bands)


def bands_by(values: np.ndarray, bands: int = 4) -> np.ndarray:
    samples = [PlannedSample(id=f"{n}", tags={}, score=Score(), num_tokens=int(v), num_images=0) for n, v in
               enumerate(values)]  # fmt: skip
    return checked_bands(ByLength(bands=bands), samples, len(values))


def steps_of(made: StagePlan) -> list[np.ndarray]:
    """The rows of the dataset in each step."""
    packs = made.packs
    return [
        made.rows[np.concatenate([packs[pack] for pack in range(made.steps[n], made.steps[n + 1])])]
        for n in range(len(made.steps) - 1)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bands", [2, 5])
def test_steps_go_from_easy_to_hard_and_none_has_samples_of_two_bands(seed: int, bands: int) -> None:
    text = texts(4000, seed)
    order = bands_by(text, bands)
    made = plan(index_of(text, seed), order, seed)
    of_steps = [np.unique(order[rows]).tolist() for rows in steps_of(made)]
    assert all(len(found) == 1 for found in of_steps)
    assert of_steps == sorted(of_steps) and [found for found, *_ in of_steps][-1] == bands - 1
    means = [text[order == band].mean() for band in range(bands)]
    assert means == sorted(means)


def test_every_sample_is_seen_once_before_any_is_seen_twice_and_each_epoch_begins_with_the_easy_ones() -> None:
    text = texts(3000)
    order = bands_by(text)
    made = plan(index_of(text), order, epochs=2.5)
    seen = np.concatenate(steps_of(made))
    first, second, rest = seen[:3000], seen[3000:6000], seen[6000:]
    assert sorted(first) == sorted(second) == list(range(3000)) and len(rest) == 1500 == len(set(rest.tolist()))
    for epoch in (first, second, rest):
        assert (np.diff(order[epoch]) >= 0).all() and len(set(order[epoch])) == 4
    assert first.tolist() != second.tolist()


def test_rows_stay_as_full_and_steps_as_mixed_within_a_band_as_without_an_order() -> None:
    text = texts(20_000)
    index = index_of(text)
    order = checked_bands(ByTag(), samples_of(index), len(index))
    plain, ordered = plan(index, None), plan(index, order)
    fills = [made.describe()["phases"][0]["fill"] for made in (plain, ordered)]
    assert fills[0] > 0.99 and fills[1] > fills[0] - 0.003
    # of one band each, and no stranger to a draw from that band than steps are to a draw from all
    assert not ordered.mixing["far"] and mixing_warnings(Stage(name="s", rows_per_step=4), ordered.mixing) == []


def test_a_plan_that_is_far_from_random_within_a_band_is_told_all_the_same() -> None:
    text = texts(4000)
    made = plan(index_of(text), bands_by(text))
    assert "length" not in made.mixing["far"]  # it was asked for
    stage, every = Stage(name="s"), np.ones(len(text), dtype=bool)
    halves, packer = (np.arange(len(text)) % 2).astype(np.int32), Sorting(row_tokens=2048)
    unasked = plan_stage(
        index_of(text), stage, Fixed(max_visual_tokens=64), packer, TinyEncoder(), 0, every, bands=halves
    )
    assert "length" in unasked.mixing["far"]


class Sorting(BestFit):
    """Puts like lengths together, as no packer should."""

    def group(self, costs: Any, budget: Any) -> Any:
        from infimed_core import Packs

        order, groups, total = np.argsort(costs[:, 0], kind="stable"), [[]], 0
        for place in order.tolist():
            if total + costs[place, 0] > budget[0]:
                groups.append([])
                total = 0
            groups[-1].append(place)
            total += costs[place, 0]
        return Packs.from_lists([group for group in groups if group])


class ByTag(Curriculum):
    """By the source, whose names are in the order that is wanted."""

    def difficulties(self, samples: Any) -> Any:
        return ["abc".index(sample.tags["source"]) for sample in samples]


def samples_of(index: Index) -> list[PlannedSample]:
    names = [index.tag_values["source"][code] for code in index.tag_codes["source"]]
    return [
        PlannedSample(id=f"{n}", tags={"source": name}, score=Score(), num_tokens=int(index.text[n]), num_images=0)
        for n, name in enumerate(names)
    ]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_in_the_same_bands() -> None:
    text = texts(2000)
    index, order = index_of(text), bands_by(text)
    one, again, other = (plan(index, order, seed) for seed in (3, 3, 4))
    assert one.plan_hash == again.plan_hash != other.plan_hash
    assert [set(order[rows]) for rows in steps_of(one)] == [set(order[rows]) for rows in steps_of(other)]


@pytest.mark.parametrize("length", [{"num_samples": 1500}, {"num_steps": 40}, {"num_tokens": 120_000}])
def test_every_length_of_a_stage_goes_through_all_bands(length: dict[str, int]) -> None:
    text = texts(4000)
    order = bands_by(text)
    made = plan(index_of(text), order, **length)
    if "num_samples" in length:
        assert made.describe()["num_drawn"] == 1500
    if "num_steps" in length:
        assert len(made.steps) - 1 == 40
    if "num_tokens" in length:
        assert abs(sum(made.tokens[made.dropped == 0]) - 120_000) < 900
    of_steps = [set(order[rows].tolist()) for rows in steps_of(made)]
    assert [min(found) for found in of_steps] == sorted(min(found) for found in of_steps)
    assert set().union(*of_steps) == {0, 1, 2, 3}


def test_a_mix_keeps_its_weights_throughout_and_every_source_its_own_epochs() -> None:
    text = texts(6000)
    index = index_of(text, sources=2)
    order = bands_by(text)
    mix = [{"where": {"source": "a"}, "weight": 3.0}, {"where": {"source": "b"}, "weight": 1.0}]
    made = plan(index, order, mix=mix, mix_epoch="longest", epochs=1.0)
    codes = index.tag_codes["source"]
    for code, passes in ((0, 3), (1, 1)):
        own = made.rows[codes[made.rows] == code]
        whole = int((codes == code).sum())
        counts = np.bincount(own, minlength=len(text))[codes == code]
        assert set(counts.tolist()) <= {passes - 1, passes, passes + 1} and counts.max() - counts.min() <= 1
        for start in range(0, len(own), whole):
            assert (np.diff(order[own[start : start + whole]]) >= 0).all()
    shares = [(codes[rows] == 0).mean() for rows in np.array_split(made.rows, 4)]
    assert all(abs(share - 0.75) < 0.03 for share in shares)
    steps = steps_of(made)
    thirds = [np.mean([order[rows[codes[rows] == 1]].mean() for rows in part]) for part in
              (steps[: len(steps) // 3], steps[-len(steps) // 3 :])]  # fmt: skip
    assert thirds[1] - thirds[0] > 1.5  # of four bands, though spans of a mix are not cut at every border


def test_resolutions_rise_with_the_bands() -> None:
    text = texts(4000)
    order = bands_by(text)
    phases = [{"share": 0.5, "max_visual_tokens": 9}, {"share": 0.5, "max_visual_tokens": 36}]
    made = plan(index_of(text), order, scheduler=LowToHigh(phases=phases))
    border = made.phases[0][1]
    assert order[made.rows[:border]].max() <= order[made.rows[border:]].min() + 0 <= 2


# -- the bands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.95])
def test_equal_difficulties_share_a_band_and_different_ones_are_told_apart_where_they_can(share: float) -> None:
    values = np.where(np.arange(1000) < share * 1000, 1, 5)
    bands = bands_by(values, bands=4)
    assert len(set(bands[values == 1])) == len(set(bands[values == 5])) == 1
    assert bands[0] < bands[-1]


def test_distinct_difficulties_make_bands_of_equal_size() -> None:
    counts = np.bincount(bands_by(np.random.default_rng(0).permutation(1000), bands=8))
    assert counts.tolist() == [125] * 8


@curriculum
def rarely(sample):
    """Of some samples it is not known."""
    return None if sample.num_tokens % 2 else sample.num_tokens


@curriculum("broken")
def not_a_number(sample):
    """No number."""
    return float("nan")


@curriculum
def worded(sample):
    """A text."""
    return "hard"


class TooFew(Curriculum):
    """The first alone."""

    def difficulties(self, samples: Any) -> Any:
        return [1.0 for _ in list(samples)[:1]]


def test_samples_without_a_difficulty_come_last() -> None:
    bands = check_curriculum(rarely())
    assert max(bands[0::2] + bands[1::2]) == 3
    unknown = [band for n, band in enumerate(bands) if (9 + n) % 2]
    assert min(unknown) >= max(band for n, band in enumerate(bands) if not (9 + n) % 2)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (not_a_number(), "gave nan at place 0; give a finite number, or None"),
        (worded(), "gave 'hard' at place 0"),
        (TooFew(), "gave 1 numbers for 10 samples; give one for each"),
    ],
)
def test_what_is_no_difficulty_is_named_with_its_place(wrong: Curriculum, told: str) -> None:
    with pytest.raises(ComponentError, match=told):
        check_curriculum(wrong)


def test_by_score_takes_the_dimension_it_is_told_and_says_which_there_are() -> None:
    samples = [
        PlannedSample(
            id=f"{n}", tags={}, score=Score(value=n / 9, parts={"a": (9 - n) / 9}), num_tokens=1, num_images=0
        )
        for n in range(10)
    ]
    high, low = (checked_bands(ByScore(bands=2, first=first), samples, 10).tolist() for first in ("high", "low"))
    assert high == [1] * 5 + [0] * 5 and low == [0] * 5 + [1] * 5
    assert checked_bands(ByScore(bands=2, dimension="a"), samples, 10).tolist() == low
    with pytest.raises(InfimedError, match="no sample of the stage has the dimension 'b'; it may be one of: a"):
        checked_bands(ByScore(dimension="b"), samples, 10)


# -- a whole run ---------------------------------------------------------------------------------------------------


PLUGIN = '''from infimed_core import curriculum, scorer


@scorer
def words_scored(sample):
    """More words, better."""
    return min(1.0, len(sample.turns[-1].text) / 100)


@curriculum
def words_first(sample):
    """Questions on an axial plane last."""
    return sample.num_tokens + 1000 * (sample.score.value or 0) + sample.num_images
'''


def document(place: Path, name: str, curriculum_: Any, **training: Any) -> dict[str, Any]:
    stage = {"name": "one", "rows_per_step": 2, "save_every": 2, "num_steps": 4, "epochs": 1.0}
    stage |= {"curriculum": curriculum_} if curriculum_ else {}
    return {
        "run": {"name": name, "seed": 3, "directory": str(place / "runs"), "plugins": [str(place / "words.py")]},
        "data": {"sources": [{"use": "demo-anatomy", "with": {"max_images": 2}}]},
        "quality": {"scorers": [{"use": "words-scored"}]},
        "model": {"use": "tiny-qwen3-vl"},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 9}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
        "training": {"use": "staged", "with": {"stages": [stage], **training}},
    }


def digest_of_weights(place: Path, name: str) -> list[str]:
    import hashlib

    files = sorted((place / "runs" / name / "checkpoints").glob("one-*/*.safetensors"))
    assert files
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.mark.slow
def test_a_curriculum_of_a_file_orders_a_run_and_a_stopped_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="needs the extra demo")
    (tmp_path / "words.py").write_text(PLUGIN)
    ordered = {"use": "words-first", "with": {"bands": 2}}
    record = run(document(tmp_path, "whole", ordered), tmp_path)
    step = next(one for one in record.steps if one.kind == "plan")
    assert len(step.details["bands"]) == 2 and sum(step.details["bands"]) > 8
    with pytest.raises(KeyboardInterrupt):
        run(document(tmp_path, "stopped", ordered, until="2"), tmp_path)
    run(document(tmp_path, "stopped", ordered), tmp_path)
    assert digest_of_weights(tmp_path, "stopped") == digest_of_weights(tmp_path, "whole")


def test_a_stage_without_a_curriculum_is_recorded_as_before() -> None:
    assert "curriculum" not in Stage(name="one").model_dump()


def test_a_name_that_is_not_known_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(PLUGIN)
    with pytest.raises(
        InfimedError, match=r"stages.0.curriculum.use: no curriculum is named 'by-lenght'; did you mean"
    ):
        run(document(tmp_path, "r", {"use": "by-lenght"}), tmp_path)
