"""Resolution schedulers: phases cover a stage, caps rise, and a wrong schedule is told in its own terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infimed_core import Phase
from infimed_core.testing import check_scheduler
from infimed_plugins.resolution import infimed_resolution_schedulers
from infimed_plugins.resolution.schedulers import Fixed, LowToHigh, Native


def test_the_plugin_offers_three_schedulers():
    assert sorted(infimed_resolution_schedulers()) == ["fixed", "low-to-high", "native"]


def test_one_cap_and_no_cap():
    assert Fixed(max_visual_tokens=9).plan(7) == [Phase(0, 7, 9)]
    assert Native().plan(7) == [Phase(0, 7, None)]


@given(st.integers(0, 5000), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_phases_cover_every_sample_once_with_nearly_their_shares(num_samples, parts):
    phases = [{"share": part / sum(parts), "max_visual_tokens": 4 + n} for n, part in enumerate(parts)]
    scheduler = LowToHigh(phases=phases)
    check_scheduler(scheduler, num_samples)
    for phase, wanted in zip(scheduler.plan(num_samples), phases, strict=True):
        assert abs(phase.stop - phase.start - num_samples * wanted["share"]) <= 1
        assert phase.max_visual_tokens == wanted["max_visual_tokens"]


def test_the_default_ends_long_enough_at_native_resolution():
    check_scheduler(LowToHigh(), 1001)
    *_, last = LowToHigh().plan(1000)
    assert last.max_visual_tokens is None and last.stop - last.start >= 250


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"share": 0.7, "max_visual_tokens": 9}, {"share": 0.2, "max_visual_tokens": 36}], "add up to 0.9"),
        ([{"share": 0.5, "max_visual_tokens": 36}, {"share": 0.5, "max_visual_tokens": 9}], "goes 36, 9"),
        ([{"share": 0.5, "max_visual_tokens": None}, {"share": 0.5, "max_visual_tokens": 9}], "goes native, 9"),
        ([{"share": 1.0, "max_visual_tokens": 0}], "greater than or equal to 1"),
        ([{"share": 1.0}], "Field required"),
        ([{"share": 1.0, "max_visual_tokens": 9, "pixels": 3}], "Extra inputs"),
        ([], "at least 1 item"),
    ],
)
def test_a_wrong_schedule_is_told_in_its_own_terms(phases, message):
    with pytest.raises(ValidationError, match=message):
        LowToHigh(phases=phases)


def test_thirds_add_up_to_one():
    thirds = [{"share": 0.3333333, "max_visual_tokens": 4}] * 3
    assert LowToHigh(phases=thirds).plan(9)[-1].stop == 9
