"""Stored scores: every score comes back as it was, part by part, and numbers that are none are null."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import InfimedError, Sample, Score, Turn
from infimed_core.store.dataset import Dataset, write_samples
from infimed_core.store.scores import Candidates, ScoreTable, num_rows, part_path, row_digest, write_part

NAMES = ("sharpness", "truth")
numbers = st.one_of(st.none(), st.floats(0, 1))
scores = st.builds(
    Score,
    value=numbers,
    status=st.sampled_from(["ok", "unscored", "error"]),
    parts=st.dictionaries(st.sampled_from([*NAMES, "another"]), numbers),
    reasons=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=3).map(tuple),
    raw=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), st.one_of(st.none(), st.floats(-9, 9))),
    note=st.text(st.characters(codec="utf-8"), max_size=9),
)


def dataset(folder, num):
    def rows():
        for number in range(num):
            turns = (Turn(role="user", content=("Why?",)), Turn(role="assistant", content=("So.",)))
            yield Sample(id=f"s{number}", turns=turns, tags={"number": str(number)})

    write_samples(folder / "samples.jsonl", rows())
    return Dataset(folder / "samples.jsonl")


@settings(max_examples=60, deadline=None)
@given(made=st.lists(scores, min_size=1, max_size=6))
def test_every_score_comes_back_as_it_was(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("scores")
    ids = [f"id-{number}" for number in range(len(made))]
    for start in range(0, len(made), 2):
        write_part(part_path(folder, start), ids[start : start + 2], made[start : start + 2], NAMES)
    table = ScoreTable(folder)
    assert len(table) == len(made)
    assert list(table) == list(zip(ids, made, strict=True))
    assert [table[row] for row in range(len(made))] == list(table) and table[-1] == list(table)[-1]
    assert table.dimensions == NAMES
    whole = hashlib.sha256()
    for identity, score in table:
        whole.update(bytes.fromhex(row_digest(identity, score.model_dump(mode="json"))))
    assert table.finish("x", {}) == whole.hexdigest()
    status, reasons = table.counts()
    assert status == Counter(score.status for score in made)
    assert reasons == Counter(reason for score in made for reason in score.reasons)
    wanted = [math.nan if score.value is None else score.value for score in made]
    assert np.array_equal(table.values(), wanted, equal_nan=True)
    columns = table.columns(NAMES)
    for row, score in enumerate(made):
        for place, name in enumerate(NAMES):
            wanted = score.parts.get(name)
            assert columns[row, place] == wanted if wanted is not None else math.isnan(columns[row, place])
    assert np.array_equal(table.columns(NAMES, step=2), columns[::2], equal_nan=True)


def test_a_number_that_is_not_finite_is_null_and_a_lone_surrogate_costs_no_row(tmp_path):
    bad = Score(value=0.5, parts={"truth": math.nan}, raw={"x": math.inf}, note="a\ud800b")
    write_part(part_path(tmp_path, 0), ["s"], [bad], NAMES)
    (row,) = list(ScoreTable(tmp_path))
    assert row[1].parts == {"truth": None} and row[1].raw == {"x": None} and row[1].note == "a?b"


def test_the_digest_depends_on_the_rows_and_not_on_the_parts(tmp_path):
    made = [Score(value=number / 10, parts={"truth": number / 10}) for number in range(10)]
    digests = []
    for name, size in (("a", 10), ("b", 3)):
        for start in range(0, 10, size):
            rows = range(start, min(start + size, 10))
            write_part(part_path(tmp_path / name, start), [f"s{r}" for r in rows], [made[r] for r in rows], NAMES)
        digests.append(ScoreTable(tmp_path / name).finish("x", {"ok": 10}))
    assert digests[0] == digests[1]
    write_part(part_path(tmp_path / "b", 9), ["s9"], [Score(value=0.0)], NAMES)
    assert ScoreTable(tmp_path / "b").finish("x", {"ok": 10}) != digests[0]


def test_a_part_that_cannot_be_read_does_not_stand(tmp_path):
    path = part_path(tmp_path, 0)
    assert num_rows(path) is None
    write_part(path, ["a", "b"], [Score(), Score()], NAMES)
    assert num_rows(path) == 2
    path.write_bytes(path.read_bytes()[:-20])
    assert num_rows(path) is None


def test_candidates_are_the_rows_that_no_filter_left_out_in_order_by_iteration_and_by_index(tmp_path):
    data = dataset(tmp_path, 7)
    for start, stop in ((0, 4), (4, 7)):
        made = [Score(value=row / 10) for row in range(start, stop)]
        write_part(part_path(tmp_path / "scores", start), data.ids[start:stop], made, NAMES)
    candidates = Candidates(data, {"first": ScoreTable(tmp_path / "scores")}, np.isin(list(data.ids), ["s0", "s5"]))
    assert [c.id for c in candidates] == ["s1", "s2", "s3", "s4", "s6"] and len(candidates) == 5
    assert [candidates[place] for place in range(5)] == list(candidates) == candidates[:]
    assert all(c.tags == {"number": c.id[1:]} and c.score.value == int(c.id[1:]) / 10 for c in candidates)


def test_a_candidate_has_the_dimensions_of_every_scorer_those_of_later_ones_by_the_scorers_name(tmp_path):
    data = dataset(tmp_path, 3)
    scores = {"rules": Score(value=0.5, parts={"truth": 0.1}, reasons=("low",))}
    scores["judge"] = Score(status="error", parts={"truth": None, "tone": 0.9}, reasons=("low", "rude"))
    for name, score in scores.items():
        write_part(part_path(tmp_path / name, 0), list(data.ids), [score] * 3, NAMES)
    candidates = Candidates(
        data, {name: ScoreTable(tmp_path / name) for name in scores}, np.zeros(len(data), dtype=bool)
    )
    wanted = Score(
        value=0.5,
        parts={"truth": 0.1, "judge.truth": None, "judge.tone": 0.9},
        reasons=("low", "judge.low", "judge.rude"),
    )
    assert [candidate.score for candidate in candidates] == [wanted] * 3 and candidates[1].score == wanted
    write_part(part_path(tmp_path / "judge", 0), ["s0", "s2", "s1"], [Score()] * 3, NAMES)
    with pytest.raises(InfimedError, match="row 2: the sample is 's1'"):
        list(Candidates(data, {name: ScoreTable(tmp_path / name) for name in scores}, np.zeros(len(data), dtype=bool)))
    write_part(part_path(tmp_path / "judge", 0), ["s0"], [Score()], NAMES)
    with pytest.raises(InfimedError, match="'judge' has scores of 1 of 3 samples"):
        Candidates(data, {name: ScoreTable(tmp_path / name) for name in scores}, np.zeros(len(data), dtype=bool))
