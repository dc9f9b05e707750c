"""The search for structured identity tries few rules at few places, and finds what all of them find everywhere."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from infimed_plugins.quality import identity
from infimed_plugins.quality.identity_patterns import STRUCTURED
from infimed_plugins.quality.identity_prefilter import pieces_of
from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.identity_search import structured_in
from infimed_plugins.quality.reasons import Reason

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from privacy_texts import CLEAN, NAMED, cases
from privacy_texts import STRUCTURED as TEMPLATES

NOTES = [
    json.loads(line)["text"]
    for line in (Path(__file__).parent / "data" / "identity_in_notes.jsonl").read_text(encoding="utf-8").splitlines()
]
Spans = dict[Reason, list[tuple[int, int]]]


def searched(text: str) -> Spans:
    """What the search finds."""
    held, _ = identity._HELD(text.split())
    found: Spans = {}
    for reason, spans in structured_in(text, held >> identity._STRUCTURED):
        for span in spans:
            found.setdefault(reason, []).append(span)
    return found


def everywhere(text: str) -> Spans:
    """What every rule finds in the whole text."""
    found: Spans = {}
    for rule in STRUCTURED:
        for match in rule.pattern.finditer(text):
            if rule.holds is None or rule.holds(match):
                found.setdefault(rule.reason, []).append(match.span())
    return found


def pieces_of_notes(number: int, seed: int) -> list[str]:
    """Notes cut and joined at any place, with other digits, and their words in any order."""
    draw = random.Random(seed)
    words = [word for note in NOTES for word in note.split(" ")]
    made = []
    for _ in range(number):
        one, other = draw.choice(NOTES), draw.choice(NOTES)
        made.append(one[: draw.randrange(len(one) + 1)] + other[draw.randrange(len(other) + 1) :])
        made.append(re.sub(r"\d", lambda digit: str(draw.randrange(10)) if draw.random() < 0.5 else digit[0], one))
        made.append(draw.choice(" \n\t").join(draw.choice(words) for _ in range(draw.randint(2, 20))))
    return made


def drawn_from(tree: Iterable[Any], draw: random.Random) -> str:
    """A text of the form of a pattern; what looks ahead and behind is left to chance."""
    drawn = ""
    for kind, value in tree:
        if kind is kinds.LITERAL:
            drawn += chr(value)
        elif kind is kinds.IN:
            drawn += drawn_from([draw.choice(value)], draw)
        elif kind is kinds.RANGE:
            drawn += chr(draw.randint(*value))
        elif kind is kinds.CATEGORY:
            drawn += draw.choice({kinds.CATEGORY_DIGIT: "0123456789", kinds.CATEGORY_SPACE: " \n"}.get(value, "aZ5-, "))
        elif kind is kinds.SUBPATTERN:
            drawn += drawn_from(value[3], draw)
        elif kind is kinds.BRANCH:
            drawn += drawn_from(draw.choice(value[1]), draw)
        elif kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            least, most, inner = value
            drawn += "".join(drawn_from(inner, draw) for _ in range(draw.randint(least, min(most, least + 4))))
        elif kind not in (kinds.AT, kinds.ASSERT, kinds.ASSERT_NOT):
            drawn += draw.choice("aZ ,.")
    return drawn


def test_the_search_finds_in_notes_what_all_rules_find() -> None:
    made = [text for kind in (TEMPLATES, NAMED) for text, _ in cases(kind, 60, 5)]
    for text in (*NOTES, *CLEAN, *made, *pieces_of_notes(60, 0)):
        assert searched(text) == everywhere(text), text


@pytest.mark.parametrize("rule", STRUCTURED, ids=lambda rule: rule.name)
def test_the_search_finds_whatever_a_pattern_matches(rule: Rule) -> None:
    draw, tree = random.Random(rule.name), parser.parse(rule.pattern.pattern, rule.pattern.flags)
    for _ in range(12):
        drawn = drawn_from(tree, draw)
        for text in (drawn, f"Film of 3 lungs, {drawn}, was seen.", f"{drawn} {draw.choice(NOTES)}"):
            assert searched(text) == everywhere(text), text


def test_rules_have_names_of_their_own_and_pieces_where_they_say_so() -> None:
    assert len({rule.name for rule in STRUCTURED}) == len(STRUCTURED)
    for rule in STRUCTURED:
        assert not rule.has_pieces or (all(map(str.strip, pieces_of(rule.pattern))) and rule.is_near), rule.name


@pytest.mark.parametrize(
    "text",
    [
        "15 ARALIK 2021",
        "5 Mayıs 2021",
        "12 EKİM 2021",
        "Doğum 3 KASIM 1960",
        "T.C. KİMLİK No: 12345678901",
        "T.C. kimlik no 12345678901",
        "acct was ſZx_77128_9368",
    ],
)
def test_letters_that_are_one_where_case_does_not_matter_are_one_to_the_search(text: str) -> None:
    assert searched(text) == everywhere(text) != {}
