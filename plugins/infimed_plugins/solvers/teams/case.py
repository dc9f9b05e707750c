"""A question before a team: who said what, what it cost, and the answer that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from infimed_core import Answer, Ask, Generation, Sample
from infimed_plugins.solvers.asking import cost, question_of, request, tagged, tokens, with_note, with_system

FINAL = "Give your answer alone, in the form the question asks for, inside <answer></answer>."
"""What is added where a decision is wanted."""


@dataclass
class Case:
    """One question, everything that was said about it, and what is decided so far."""

    sample: Sample
    transcript: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Answer] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    decided: str | None = None
    confidence: float | None = None

    def hear(self, role: str, answer: Answer, model: str | None) -> str:
        """Keep a turn; its text, "" where the call failed or nothing was said."""
        self.calls.append(answer)
        entry: dict[str, Any] = {"role": role, "text": answer.text, "error": answer.error, **tokens(answer)}
        self.transcript.append(entry | ({"model": model} if model is not None else {}))
        return (answer.text or "").strip()

    def answer(self) -> Answer:
        """What the team answers; an error where every call failed."""
        if self.decided is None and all(call.text is None for call in self.calls):
            error = next((call.error for call in self.calls if call.error), "nothing was asked")
            told = {"error": f"every call failed: {error}"}
        else:
            told = {"text": self.decided or ""}
        more: dict[str, Any] = {**told, "confidence": self.confidence, "transcript": tuple(self.transcript)}
        return Answer(sample_id=self.sample.id, **more, **cost(self.calls))


@dataclass(frozen=True)
class Wanted:
    """One call: of which case, in which role, with which prompts, of which model (``None``: the one that is graded)."""

    case: Case
    role: str
    system: str
    note: str
    model: str | None = None


def ask_all(ask: Ask, wanted: Sequence[Wanted], settings: Generation) -> list[str]:
    """What each call gave, in order; all that go to one model are asked together."""
    said = [""] * len(wanted)
    for model in dict.fromkeys(one.model for one in wanted):
        places = [place for place, one in enumerate(wanted) if one.model == model]
        requests = []
        for place in places:
            one = wanted[place]
            turns = with_system(with_note(question_of(one.case.sample), one.note), one.system)
            requests.append(request(one.case.sample, turns, settings))
        answers = dict(zip(places, ask(requests, model=model), strict=True))
        for place in places:
            said[place] = wanted[place].case.hear(wanted[place].role, answers[place], model)
    return said


def ask_each(
    ask: Ask, cases: Sequence[Case], settings: Generation, role: str, system: str, note: Callable[[Case], str]
) -> list[str]:
    """One call in one role for every case."""
    return ask_all(ask, [Wanted(case, role, system, note(case)) for case in cases], settings)


def final_of(text: str) -> str:
    """The content of the last ``<answer>`` tag, else the whole text."""
    return tagged(text, "answer") or text.strip()


def roomy(settings: Generation, most: int) -> Generation:
    """As the benchmark wants, with room for an opinion."""
    return settings.model_copy(update={"max_new_tokens": max(most, settings.max_new_tokens), "stop": ()})


def named_list(text: str, most: int) -> list[str]:
    """The names of a reply that lists some, one a line or between signs; at most ``most``, no name twice."""
    lines = [part for line in (tagged(text, "list") or text).splitlines() for part in line.split(";")]
    if len(lines) == 1:
        lines = lines[0].split(",")
    names = [line.strip().lstrip("-*0123456789.) ").strip(" .:") for line in lines]
    return list(dict.fromkeys(name for name in names if name and len(name) <= 80))[:most]
