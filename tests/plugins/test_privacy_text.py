"""Identity in text: nearly all structured identity is found where it stands, and clean medical text is left alone."""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_plugins.quality.corruptions import make_identity
from infimed_plugins.quality.identity import find, identities, redact
from infimed_plugins.quality.reasons import Reason

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from privacy_texts import CLEAN, NAMED, STRUCTURED, cases

CAPTION = "Axial MRI of the brain shows a small lesion in the left frontal lobe."


def covered(text: str, piece: str) -> bool:
    """Whether every letter and digit of ``piece`` lies in something that was found."""
    start = text.index(piece)
    found = find(text)
    return all(
        any(one.start <= at < one.stop for one in found)
        for at in range(start, start + len(piece))
        if text[at].isalnum()
    )


@pytest.mark.parametrize("kind", [STRUCTURED, NAMED], ids=["structured", "named"])
def test_made_up_identity_is_found_whole(kind):
    pytest.importorskip("faker")
    pieces = [covered(text, piece) for text, used in cases(kind, 600, seed=11) for piece in used]
    assert len(pieces) >= 600
    assert sum(pieces) / len(pieces) >= 0.99


@pytest.mark.parametrize("text", CLEAN)
def test_clean_medical_text_is_left_alone(text):
    assert find(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("张三，男，45岁", Reason.PHI_NAME),
        ("住院号：ZY123456", Reason.PHI_RECORD_NUMBER),
        ("电话 13812345678", Reason.PHI_PHONE),
        ("身份证号 11010519491231002X", Reason.PHI_NATIONAL_ID),
        ("家住北京市海淀区中关村大街27号", Reason.PHI_ADDRESS),
        ("出生日期：1961年3月14日", Reason.PHI_BIRTH_DATE),
        ("Jane Doe is a 54-year-old woman", Reason.PHI_NAME),
        ("a 93-year-old woman", Reason.PHI_AGE),
        ("imaged on 14 March 2021", Reason.PHI_DATE),
        ("uploaded from 192.168.17.4", Reason.PHI_NETWORK),
        ("DOE^JANE", Reason.PHI_NAME),
    ],
)
def test_each_kind_is_told(text, reason):
    assert reason in identities(text)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_text_without_its_identity_has_none_and_keeps_the_rest(seed, number):
    chance = random.Random(seed)
    pieces = [make_identity(chance) for _ in range(number)]
    redacted = redact(CAPTION + " " + ". ".join(pieces) + ".")
    assert find(redacted.text) == []
    assert redacted.text.startswith(CAPTION)
    assert sum(redacted.counts.values()) >= 1
    assert redact(redacted.text).text == redacted.text


@settings(max_examples=300)
@given(st.text(max_size=400))
def test_any_text_is_searched_and_cleaned(text):
    found = find(text)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(found))
    redacted = redact(text)
    assert (redacted.text == text) == (not found)
    assert find(redacted.text) == []


@pytest.mark.parametrize("piece", ["name: A ", "a-b'", "12-", "Abc, ", "1.2.", "A^", "mrn ", "市"])
def test_a_text_of_any_length_takes_time_in_proportion(piece):
    """Counted in what a search returns and not in seconds: a quadratic search would not come back."""
    long = piece * 10_000
    assert len(find(long)) <= len(long)
