"""Whether an answer asserts another value than the reference's: another side, lobe, organ, modality, plane or sex."""

from __future__ import annotations

from functools import lru_cache

from infimed_plugins.medevalkit.answers.sentences import Sentence
from infimed_plugins.medevalkit.answers.vocabulary import related, words_of
from infimed_plugins.medevalkit.answers.words import word_set

FILLERS = word_set(
    "the a an of in on at to for with and or is are was were be by it this that there be as from into "
    "side plane view section slice scan image imaging picture area type patient patient's part body which "
    "what where how its their his her cavity zone located position modality"
)
"""Words that say nothing of what an answer is about."""


def conflict(reference: str, sentences: list[Sentence], question: str) -> str:
    """ "other" where another value of the reference's kind is asserted and its own is not; "both" where both are."""
    wanted = _values_named(reference)
    if not wanted:
        return ""
    kept = _about(sentences, question, wanted)
    outcome = ""
    for kind, own in wanted.items():
        said: set[str] = set()
        mine = False
        for sentence in kept:
            for other_kind, value, at in sentence.values:
                if other_kind != kind or sentence.denied[at] or at >= sentence.side_clause:
                    continue
                if value in own:
                    mine = True
                elif not any(related(kind, value, one) for one in own) and not _compatible(kind, own, value):
                    said.add(value)
        if said and not mine and kind != "region":
            return "other"
        if said and not mine:
            outcome = "other" if len(wanted) == 1 or _only_values(reference) else outcome or "region"
        elif said and kind != "region":
            outcome = outcome or "both"
    return outcome


@lru_cache(maxsize=16384)
def _values_named(reference: str) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    for kind, value, _ in Sentence(tuple(words_of(reference)), (), False, False, "", 10**6).values:
        wanted.setdefault(kind, set()).add(value)
    return wanted


@lru_cache(maxsize=16384)
def _only_values(reference: str) -> bool:
    """Whether a reference says nothing but values, as a side and an organ ("left lung")."""
    words = tuple(words_of(reference))
    values = Sentence(words, (), False, False, "", 10**6).values
    return len(values) >= len([word for word in words if word not in FILLERS])


def _compatible(kind: str, own: set[str], value: str) -> bool:
    return (kind == "side" and value == "midline") or (kind == "time" and value == "subacute")


def _about(sentences: list[Sentence], question: str, wanted: dict[str, set[str]]) -> list[Sentence]:
    """The sentences about what was asked, if any of them names a value of the kind; else all."""
    question_words = {word for word in words_of(question) if word not in FILLERS and len(word) > 2}
    best, most = list(sentences), 0
    for sentence in sentences:
        if any(kind in wanted for kind, _, _ in sentence.values):
            shared = len(question_words & set(sentence.words))
            if shared > most:
                best, most = [sentence], shared
            elif shared == most and most:
                best.append(sentence)
    return best
