"""What a rationale must not be, whatever its answer, and how good it is."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from infimed_core import Answer, Sample
from infimed_plugins.reasoning.languages import written_in
from infimed_plugins.reasoning.leaks import leak
from infimed_plugins.reasoning.rationales import Rationale, runs, sentences, words

CHECKS = {
    "no_final_answer": "the text has no <answer> tag",
    "several_answers": "the text gives more than one final answer",
    "cut": "the model's tokens were used up",
    "too_short": "fewer words than the setting asks for",
    "too_long": "more words than the setting allows",
    "other_language": "another language than the sample's",
    "repeats_itself": "the same runs of words again and again",
    "copies_question": "the reasoning is the question's own words",
    "answer_leak": "the text says that the answer was known beforehand",
}
"""Why a right answer's rationale is refused."""
MOST_REPEATED, MOST_COPIED, RUN = 0.5, 0.8, 4
_FLOOR = 0.05
_EMPTY = frozenset(words("""
    a an the of and to in is are that it as with this these which not be on for by at from what how many there or do
    does did was were has have answer question image picture slice following options choose
"""))  # fmt: skip
"""Words that say nothing about what is asked."""


@dataclass(frozen=True)
class Limits:
    """What a rationale is held to: its least and most words, and its languages (the sample's own where empty)."""

    least_words: int
    most_words: int
    languages: tuple[str, ...] = ()


def refused(sample: Sample, answer: Answer, rationale: Rationale, limits: Limits) -> str | None:
    """The first of ``CHECKS`` that a rationale fails; ``None`` where it passes all."""
    if rationale.final is None:
        return "no_final_answer"
    if rationale.num_answers > 1:
        return "several_answers"
    if answer.finish_reason == "length":
        return "cut"
    return refused_text(sample, rationale.reasoning, limits)


def refused_text(sample: Sample, reasoning: str, limits: Limits) -> str | None:
    """As ``refused``, of the reasoning alone."""
    said = words(reasoning)
    if len(said) < limits.least_words:
        return "too_short"
    if len(said) > limits.most_words:
        return "too_long"
    languages = limits.languages or ((sample.tags["language"],) if sample.tags.get("language") else ())
    if languages and not any(written_in(reasoning, language) for language in languages):
        return "other_language"
    if _repeated(said) > MOST_REPEATED:
        return "repeats_itself"
    if _copied(said, words(asked(sample))) > MOST_COPIED:
        return "copies_question"
    return "answer_leak" if leak(reasoning) else None


def quality(sample: Sample, rationale: Rationale, agreement: float, limits: Limits) -> tuple[float, dict[str, float]]:
    """How good a rationale is, 0 to 1, and its parts: the geometric mean of

    ``grounding`` (how much of what is asked about it speaks of), ``support`` (whether the reasoning reaches the final
    answer), ``steps`` (more than one sentence), ``variety`` (words not said again), ``brevity`` (far from the longest
    allowed) and ``agreement`` (the share of draws that gave the same verdict).
    """
    said, final = words(rationale.reasoning), set(words(rationale.final or "")) - _EMPTY
    topic = set(words(asked(sample))) - _EMPTY
    late = set(said[-max(12, len(said) // 3) :])
    parts = {
        "grounding": len(topic & set(said)) / len(topic) if topic else 1.0,
        "support": 1.0 if not final or final & late else 0.5,
        "steps": min(1.0, len(sentences(rationale.reasoning)) / 2),
        "variety": 1.0 - _repeated(said),
        "brevity": 1.0 - 0.5 * min(1.0, len(said) / limits.most_words),
        "agreement": agreement,
    }
    mean = math.exp(math.fsum(math.log(max(value, _FLOOR)) for value in parts.values()) / len(parts))
    return round(mean, 6), {name: round(value, 6) for name, value in parts.items()}


def asked(sample: Sample) -> str:
    """What the last user turn of a sample asks."""
    return next((turn.text for turn in reversed(sample.turns) if turn.role == "user"), "")


def _repeated(said: list[str]) -> float:
    """Share of the runs of words that stood before."""
    counts = Counter(runs(said, RUN))
    return 1.0 - len(counts) / counts.total() if counts else 0.0


def _copied(said: list[str], question: list[str]) -> float:
    """Share of the runs of words that are the question's."""
    own, there = runs(said, RUN), set(runs(question, RUN))
    return sum(run in there for run in own) / len(own) if own else 0.0
