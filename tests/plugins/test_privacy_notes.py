"""Identity in notes as people and machines write them, and the clinical prose beside it that must stay."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from infimed_plugins.quality import identity_patterns
from infimed_plugins.quality.identity import find, redact
from infimed_plugins.quality.identity_prefilter import Index, around_digits, lowered, pieces_of
from infimed_plugins.quality.identity_rule import Rule

NOTES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "identity_in_notes.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_what_identifies_in_a_note_goes_and_the_rest_stays() -> None:
    wrong = []
    for note in NOTES:
        redacted = redact(note["text"]).text
        left = [piece for piece in note.get("gone", ()) if piece in redacted]
        cut = [piece for piece in note.get("kept", ()) if piece not in redacted]
        if left or cut or bool(find(note["text"])) != note["identity"]:
            wrong.append((note["text"], redacted, left, cut))
    assert not wrong


def test_a_share_is_no_date_and_a_day_behind_a_word_that_says_when_is_one() -> None:
    for text in ("Study 1/3: 2/3 of the vessel is occluded.", "CT 1/3, 2/3 and 3/4 of the width", "On 2/3 of slices."):
        assert not find(text), text
    for text in ("CT 11/23: no change.", "Seen on 1/3.", "Admitted 2/3 with fever.", "Tested positive 4/4."):
        assert find(text), text


@pytest.mark.parametrize("rule", identity_patterns.STRUCTURED, ids=lambda rule: rule.name)
def test_the_quick_look_misses_nothing_that_a_rule_finds(rule: Rule) -> None:
    pattern = rule.pattern
    pieces, quick = pieces_of(pattern) if rule.has_pieces else (), lowered(pattern)
    for note in NOTES:
        text, low = note["text"], note["text"].lower()
        for found in pattern.finditer(text):
            assert not pieces or Index([pieces]).found_in(low) == 1, (found, pieces)
            if quick is not None and len(low) == len(text):
                assert any(start == found.start() for start in (one.start() for one in quick.finditer(low))), found


def test_stretches_around_digits_hold_every_digit_and_cut_no_word() -> None:
    text = "word " * 60 + "MRN 4829137 " + "other " * 60 + "seen 3/27"
    stretches = around_digits(text)
    assert len(stretches) == 2
    assert all(any(start <= at.start() < stop for start, stop in stretches) for at in re.finditer(r"\d", text))
    assert all(stop == len(text) or text[stop].isspace() for _, stop in stretches)
