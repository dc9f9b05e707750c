"""Selectors: every candidate is kept or rejected with reasons, the same in any order, without scoring again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Candidate, Score
from infimed_plugins.quality.budget import Budget
from infimed_plugins.quality.selectors import BottomShare, Quota, RandomShare, Threshold, TopShare

SELECTORS = [
    Threshold(minimum=0.5, minima={"completeness": 0.3}),
    TopShare(keep=0.6),
    TopShare(keep=0.5, per_tag="modality"),
    Quota(tag="modality", quotas={"MR": 2}, otherwise=1),
    Budget(num_samples=3),
]


def candidate(identity: str, value: float | None, modality: str = "MR", status: str = "ok", reasons: tuple = ()):
    parts = {"completeness": value}
    return Candidate(
        id=identity, tags={"modality": modality}, score=Score(value=value, status=status, parts=parts, reasons=reasons)
    )


rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 1)),
        st.sampled_from(["MR", "CT", "US"]),
        st.sampled_from(["ok", "error"]),
        st.sampled_from([(), ("gate_compliance", "phi_email")]),
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
    assert all(c.score.status == "ok" and "gate_compliance" not in c.score.reasons for c in kept.values())
    assert set(selector.select(candidates[::-1]).kept) == set(selection.kept)


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
