"""What the page says of scores and selections is computed from what the steps stored, and every count adds up."""

from __future__ import annotations

import numpy as np
import pytest

from infimed_core import Sample, Score, Turn
from infimed_core.records import SampleRow, ScoreTable
from infimed_core.store.dataset import Dataset, write_samples
from infimed_core.store.scores import part_path, write_part
from infimed_plugins.reporting.page.curation import correlations, describe_scores, describe_selection

NAMES = ("sharpness", "truth")


def made(number, **tags):
    turns = (Turn(role="user", content=("Why?",)), Turn(role="assistant", content=("So.",)))
    return Sample(id=f"s{number}", turns=turns, tags=tags)


def dataset(folder, num):
    write_samples(folder / "samples.jsonl", map(made, range(num)))
    return Dataset(folder / "samples.jsonl")


def test_correlation_is_spearmans_and_null_where_there_is_none(tmp_path):
    from scipy.stats import spearmanr

    chance = np.random.default_rng(0)
    first = np.round(chance.random(200), 1)
    second = np.clip(first + chance.normal(0, 0.3, 200), 0, 1)
    made = [Score(parts={"sharpness": float(a), "truth": float(b)}) for a, b in zip(first, second, strict=True)]
    write_part(part_path(tmp_path, 0), [str(n) for n in range(200)], made, NAMES)
    found = correlations(ScoreTable(tmp_path))
    assert found["matrix"][0][1] == pytest.approx(spearmanr(first, second).statistic, abs=1e-4)
    assert found["matrix"][0][0] == 1.0 and found["num_samples"] == 200
    write_part(part_path(tmp_path, 0), ["a", "b", "c"], [Score(parts={"truth": 0.5})] * 3, NAMES)
    assert correlations(ScoreTable(tmp_path))["matrix"] == [[None, None], [None, None]]


def test_the_description_counts_every_score_and_shows_both_ends(tmp_path):
    data = dataset(tmp_path, 40)
    made = [Score(value=row / 40, parts={"truth": row / 40}, reasons=("low",) * (row < 20)) for row in range(39)]
    made.append(Score(status="error", reasons=("broken",)))
    write_part(part_path(tmp_path / "scores", 0), list(data.ids), made, NAMES)
    told = describe_scores(data, ScoreTable(tmp_path / "scores"))
    assert told["reasons"] == {"low": 20, "broken": 1}
    assert sum(told["dimensions"]["composite"]["histogram"]) == 39 and told["dimensions"]["composite"]["num_null"] == 1
    assert told["dimensions"]["sharpness"] == {"histogram": [0] * 20, "num_null": 40, "mean": None}
    assert [row["sample"]["id"] for row in told["worst"]] == ["s39", *(f"s{row}" for row in range(12))]
    assert [row["sample"]["id"] for row in told["best"]] == [f"s{row}" for row in range(38, 26, -1)]


def test_the_selection_counts_every_candidate_and_says_which_dimension_found_what():
    def row(number, rejected, sharpness, judged, filtered=(), modality="CT"):
        scores = {"rules": Score(parts={"sharpness": sharpness}), "judge": Score(parts={"truth": judged})}
        return SampleRow(made(number, modality=modality), rejected is None, filtered, rejected or (), scores)

    rows = [
        row(0, None, 0.9, 0.9),
        row(1, ("low",), 0.1, 0.9),
        row(2, ("low", "odd"), 0.1, 0.2, modality="MR"),
        row(3, (), 0.9, None),
        SampleRow(made(4), False, ("seen",), (), {}),
    ]
    facts = describe_selection(rows)
    assert facts["rejected_by"] == {"low": 2, "odd": 1} and facts["rejected_by_alone"] == {"low": 1}
    assert facts["kills"] == {"sharpness": {"num": 2, "alone": 1}, "judge.truth": {"num": 1, "alone": 0}}
    assert facts["by_tag"]["modality"] == {"CT": {"in": 3, "kept": 1}, "MR": {"in": 1, "kept": 0}}
