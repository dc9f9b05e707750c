"""Selectors: every candidate is kept or rejected with reasons, the same in any order, without scoring again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import Candidate, DataError, InfimedError, Score
from infimed_core.testing import run
from infimed_plugins.quality.budget import Budget, cells, greedy_gains
from infimed_plugins.quality.selectors import BottomShare, Quota, RandomShare, Threshold, TopShare

SELECTORS = [
    Threshold(minimum=0.5, minima={"completeness": 0.3}),
    TopShare(keep=0.6),
    TopShare(keep=0.5, per_tag="modality"),
    Quota(tag="modality", quotas={"MR": 2}, otherwise=1),
    Budget(num_samples=3),
    RandomShare(keep=0.5, hard_minimums=True),
    BottomShare(keep=0.5, hard_minimums=True),
    TopShare(keep=0.5, without=("alignment",)),
]


def candidate(identity: str, value: float | None, modality: str = "MR", status: str = "ok", reasons: tuple = ()):
    parts = dict.fromkeys(("completeness", "alignment", "compliance"), value)
    return Candidate(
        id=identity, tags={"modality": modality}, score=Score(value=value, status=status, parts=parts, reasons=reasons)
    )


rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 1)),
        st.sampled_from(["MR", "CT", "US"]),
        st.sampled_from(["ok", "error"]),
        st.sampled_from([(), ("below_minimum_compliance", "phi_email")]),
    ),
    max_size=20,
)


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
@given(made=rows)
def test_every_candidate_is_kept_or_rejected_with_reasons(selector, made):
    candidates = [
        candidate(str(n), None if status == "error" else value, modality, status, reasons)
        for n, (value, modality, status, reasons) in enumerate(made)
    ]
    selection = selector.select(candidates)
    assert sorted([*selection.kept, *selection.rejected]) == sorted(c.id for c in candidates)
    assert all(selection.rejected.values())
    assert list(selection.kept) == [c.id for c in candidates if c.id in set(selection.kept)]
    kept = {c.id: c for c in candidates if c.id in set(selection.kept)}
    assert all(c.score.status == "ok" and "below_minimum_compliance" not in c.score.reasons for c in kept.values())
    assert set(selector.select(candidates[::-1]).kept) == set(selection.kept)


@pytest.mark.parametrize("selector", [TopShare(per_tag="modalty"), Quota(tag="modalty")], ids=repr)
def test_a_tag_that_no_sample_has_is_refused(selector):
    with pytest.raises(InfimedError, match="no sample has the tag 'modalty'"):
        selector.select([candidate("a", 1.0), candidate("b", 0.5)])
    assert selector.select([]).kept == ()


def test_top_share_keeps_the_best_share_of_all():
    candidates = [candidate(str(n), n / 10) for n in range(10)]
    selection = TopShare(keep=0.7).select(candidates)
    assert selection.kept == ("3", "4", "5", "6", "7", "8", "9")
    assert selection.rejected["0"] == ("below_share",)


def test_a_share_per_tag_spares_the_weak_modality():
    candidates = [candidate(f"mr{n}", 0.9) for n in range(4)] + [candidate(f"us{n}", 0.2, "US") for n in range(4)]
    selection = TopShare(keep=0.5, per_tag="modality").select(candidates)
    assert sum(identity.startswith("us") for identity in selection.kept) == 2


def test_errors_keep_their_reasons():
    selection = TopShare(keep=1.0).select([candidate("a", None, status="error", reasons=("image_truncated",))])
    assert selection.rejected == {"a": ("image_truncated",)}


def test_without_a_value_is_kept_or_rejected_as_asked():
    candidates = [candidate("a", None), candidate("b", 0.8)]
    assert Threshold(minima={"completeness": 0.5}, on_null="keep").select(candidates).kept == ("a", "b")
    assert Threshold(minima={"completeness": 0.5}).select(candidates).kept == ("b",)


def test_a_threshold_changes_with_stored_scores_alone():
    candidates = [candidate(str(n), n / 10) for n in range(10)]
    kept = [len(Threshold(minimum=least).select(candidates).kept) for least in (0.2, 0.5, 0.9)]
    assert kept == [8, 5, 1]


def test_a_quota_keeps_the_best_of_each_value():
    candidates = [candidate("a", 0.1), candidate("b", 0.9), candidate("c", 0.5, "CT")]
    selection = Quota(quotas={"MR": 1}).select(candidates)
    assert selection.kept == ("b", "c") and selection.rejected == {"a": ("over_quota",)}


def test_a_budget_prefers_kinds_not_yet_there():
    candidates = [candidate(f"mr{n}", 0.9) for n in range(6)] + [candidate("us", 0.8, "US")]
    assert "us" in Budget(num_samples=2).select(candidates).kept
    assert "us" not in Budget(num_samples=2, diversity=0).select(candidates).kept


def dimensions(identity: str, **parts: float) -> Candidate:
    return Candidate(id=identity, tags={}, score=Score(value=0.5, parts=dict(parts)))


def test_a_dimension_left_out_takes_no_part_and_its_hard_minimum_sleeps():
    candidates = [dimensions("a", sharp=0.9, true=0.1), dimensions("b", sharp=0.2, true=0.8)]
    assert TopShare(keep=0.5, without=("true",)).select(candidates).kept == ("a",)
    assert TopShare(keep=0.5, without=("sharp",)).select(candidates).kept == ("b",)
    assert TopShare(keep=0.5, weights={"sharp": 3.0}).select(candidates).kept == ("a",)
    assert TopShare(keep=0.5, weights={"true": 3.0}).select(candidates).kept == ("b",)
    below = candidate("g", 0.9, reasons=("below_minimum_compliance", "phi_email"))
    assert TopShare(keep=1.0).select([below]).rejected == {"g": ("below_minimum_compliance", "phi_email")}
    assert TopShare(keep=1.0, without=("compliance",)).select([below]).kept == ("g",)


def test_other_scorers_dimensions_count_where_they_are_named_and_a_name_that_is_none_is_told():
    a = Candidate(id="a", tags={}, score=Score(value=0.5, parts={"sharp": 0.9, "judge.sharp": 0.1}))
    b = Candidate(id="b", tags={}, score=Score(value=0.5, parts={"sharp": 0.8, "judge.sharp": 0.7}))
    assert TopShare(keep=0.5, weights={"sharp": 1.0}).select([a, b]).kept == ("a",)
    assert TopShare(keep=0.5, weights={"judge.sharp": 1.0}).select([a, b]).kept == ("b",)
    assert Threshold(minima={"judge.sharp": 0.5}).select([a, b]).kept == ("b",)
    for selector in (Threshold(minima={"shap": 0.5}), TopShare(without=("shap",)), TopShare(weights={"shap": 1.0})):
        with pytest.raises(InfimedError, match=r"gave the dimension shap; there are sharp, judge\.sharp"):
            selector.select([a, b])


def test_the_hard_minimum_that_turned_a_sample_away_is_its_first_reason():
    below = candidate("g", 0.9, reasons=("phi_email", "below_minimum_compliance"))
    assert TopShare().select([below]).rejected == {"g": ("below_minimum_compliance", "phi_email")}


def test_the_bottom_share_is_what_the_top_share_leaves():
    candidates = [candidate(str(n), n / 10) for n in range(10)]
    top, bottom = TopShare(keep=0.5).select(candidates), BottomShare(keep=0.5).select(candidates)
    assert set(top.kept) == set(bottom.rejected) and set(bottom.kept) == set(top.rejected)
    assert bottom.rejected["9"] == ("above_share",)


def test_a_random_share_follows_its_seed_and_not_the_scores():
    candidates = [candidate(str(n), n / 1000) for n in range(1000)]
    first, again, other = (RandomShare(keep=0.5, seed=seed).select(candidates).kept for seed in (0, 0, 1))
    assert first == again != other and len(first) == 500
    assert 200 < sum(int(identity) >= 500 for identity in first) < 300
    assert 200 < len(set(first) & set(other)) < 300


def test_selectors_go_through_the_candidates_once_and_ask_for_none_twice():
    class Stream:
        def __init__(self, items):
            self.items, self.rounds = items, 0

        def __iter__(self):
            self.rounds += 1
            yield from self.items

    for selector in SELECTORS:
        stream = Stream([candidate(str(n), n / 10) for n in range(10)])
        assert selector.select(stream).kept and stream.rounds == 1, selector


def points(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    return chance.normal(size=(num, 8)).astype(np.float32), np.sort(chance.random(num))[::-1].copy()


def test_greedy_gains_are_those_of_the_greedy_choice_done_naively():
    features, values = points(60)
    gains = greedy_gains(features, values, 1.0, 10.0)
    chosen = [0]
    nearest = np.linalg.norm(features - features[0], axis=1)
    while len(chosen) < 20:
        gain = values * (np.minimum(nearest, 10.0) + 1e-5)
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[chosen[-1]], axis=1))
    assert set(np.argsort(-gains, kind="stable")[:20].tolist()) == set(chosen)


@given(num=st.integers(1, 300), most=st.integers(1, 40))
@settings(deadline=None)
def test_cells_hold_every_point_once_and_are_no_larger_than_asked(num, most):
    found = [cell.tolist() for cell in cells(points(num)[0], most)]
    assert sorted(place for cell in found for place in cell) == list(range(num))
    assert max(map(len, found)) <= most and found == [cell.tolist() for cell in cells(points(num)[0], most)]
    assert [len(cell) for cell in cells(np.zeros((num, 3), np.float32), most)] != []


def test_a_budget_in_cells_covers_nearly_as_well_as_one_greedy_choice_and_better_than_chance():
    features, values = points(1500)
    values = np.ones_like(values)

    def radius(chosen):
        squares = ((features[:, None] - features[chosen][None]) ** 2).sum(axis=2)
        return float(np.sqrt(squares.min(axis=1)).max())

    whole = np.argsort(-greedy_gains(features, values, 1.0, 20.0), kind="stable")[:150]
    gains = np.empty(1500)
    for cell in cells(features, 300):
        gains[cell] = greedy_gains(features[cell], values[cell], 1.0, 20.0)
    split = np.argsort(-gains, kind="stable")[:150]
    drawn = np.random.default_rng(1).choice(1500, 150, replace=False)
    assert radius(whole) <= radius(split) <= 1.25 * radius(whole) < radius(drawn)


def test_a_budget_takes_few_of_many_that_are_alike_and_can_use_embeddings(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    near = [[1.0, 0.0, n / 1000] for n in range(8)]
    far = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    ids = [f"s{n}" for n in range(10)]
    parquet.write_table(pa.table({"id": ids, "embedding": near + far}), tmp_path / "e.parquet")
    candidates = [candidate(identity, 0.9 if n < 8 else 0.8) for n, identity in enumerate(ids)]
    budget = Budget(num_samples=3, embeddings=str(tmp_path / "e.parquet"))
    kept = budget.select(candidates).kept
    assert {"s8", "s9"} < set(kept) and len(kept) == 3
    assert set(Budget(num_samples=3, diversity=0.0).select(candidates).kept) <= set(ids[:8])
    before = budget.identity()
    parquet.write_table(pa.table({"id": ids[:9], "embedding": (near + far)[:9]}), tmp_path / "e.parquet")
    assert budget.identity() != before
    with pytest.raises(DataError, match="no row for the sample s9"):
        Budget(num_samples=3, embeddings=str(tmp_path / "e.parquet")).select(candidates)


def test_a_share_is_of_what_the_filters_left(tmp_path):
    answers = ["A long enough answer about a lesion.", "Another answer about the left lung.", "The liver is enlarged."]
    answers += ["There is no fracture of the femur.", *["The very same answer about a kidney."] * 5]
    turns = [[{"role": "user", "content": ["What?"]}, {"role": "assistant", "content": [said]}] for said in answers]
    rows = [json.dumps({"id": f"r{number}", "turns": said}) + "\n" for number, said in enumerate(turns)]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    sources = [{"use": "jsonl", "with": {"path": str(tmp_path / "rows.jsonl")}}]
    data = {"sources": sources, "filters": [{"use": "duplicates"}]}
    select = {"use": "top-share", "with": {"keep": 0.4, "hard_minimums": False}}
    record = run(
        {"run": {"name": "share"}, "data": data, "quality": {"scorers": [{"use": "five-dimension"}], "select": select}},
        tmp_path,
    )
    (step,) = [step for step in record.steps if step.kind == "select"]
    assert (step.num_in, step.num_out) == (5, 2)  # 4 of 9 are copies; of all 9 it would be 4
