"""A multidisciplinary panel: specialists give opinions, see one another's, revise, and a chair decides.

The panel is an extension of InfiMed's: the papers name multidisciplinary treatment as a motivation, without a method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from infimed_core import Answer, Ask, Generation, Sample, Solver, canonical_json
from infimed_plugins.solvers.asking import (
    cost,
    normalised,
    question_of,
    request,
    settings_of,
    tagged,
    with_note,
    with_system,
)
from infimed_plugins.solvers.roles import Roles, Specialist, read_roles

ABSTAINED = "(abstained)"


@dataclass
class _Case:
    """One sample before the panel: what each specialist last said, and everything that happened."""

    sample: Sample
    opinions: dict[str, str] = field(default_factory=dict)
    conclusions: dict[str, str] = field(default_factory=dict)
    transcript: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Answer] = field(default_factory=list)
    agreed: str | None = None


class Panel(Solver):
    """Specialists, rounds of revision, a chair.

    In every round each specialist is asked about all open cases in one call of ``ask``. ``order: independent`` lets
    the first round be given blind and a revision see the previous round only; ``order: in-turn`` shows each
    specialist what was said before it. A case is closed early where the share of the panel that gives the same
    conclusion (the text in the last ``<answer>`` tag, else the whole reply, normalised) reaches ``agreement``; its
    conclusion is then the answer unless ``chair_always`` is set. A specialist whose call fails abstains in that round.
    """

    roles: Path | None = Field(default=None, description="YAML file with specialists and chair; the built-in panel.")
    specialists: tuple[str, ...] = Field(default=(), description="Names to take from the roles; all where it is empty.")
    order: Literal["independent", "in-turn"] = Field(default="independent", description="Who sees whom.")
    rounds: int = Field(default=1, ge=0, description="Rounds of revision after the first opinions.")
    agreement: float = Field(default=1.0, gt=0.0, le=1.0, description="Share of equal conclusions that closes a case.")
    chair_always: bool = Field(default=False, description="Let the chair decide where the panel agrees, too.")
    max_opinion_tokens: int = Field(default=192, ge=1, description="Most new tokens of an opinion.")
    max_shown_letters: int = Field(default=1200, ge=40, description="Letters of an opinion that the others are shown.")
    instruction: str = Field(
        default="Give your opinion in a few sentences, then your conclusion alone inside <answer></answer>.",
        description="Added under the question for every opinion.",
    )
    decision: str = Field(
        default="Reply with the final answer alone, in the form the question asks for.",
        description="Added under the question for the chair.",
    )

    @cached_property
    def _roles(self) -> Roles:
        from infimed_core import DataError

        roles = read_roles(self.roles)
        if not self.specialists:
            return roles
        known = {specialist.name: specialist for specialist in roles.specialists}
        missing = [name for name in self.specialists if name not in known]
        if missing:
            raise DataError(
                "unknown_specialist", f"mdt-panel: no specialist '{missing[0]}' (there are: {', '.join(known)})"
            )
        return Roles(specialists=tuple(known[name] for name in self.specialists), chair=roles.chair)

    def identity(self) -> str:
        """Settings and the content of the roles: an edited roles file is another solver."""
        return super().identity() + canonical_json(self._roles.model_dump(mode="json"))

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; every opinion is in its transcript."""
        settings = settings_of(generation)
        cases = [_Case(sample) for sample in samples]
        for number in range(self.rounds + 1):
            still_open = [case for case in cases if case.agreed is None]
            if not still_open:
                break
            self._round(still_open, number, ask, settings)
            for case in still_open:
                self._close_if_agreed(case, number)
        self._decide(cases, ask, settings)
        return [self._answer(case) for case in cases]

    def _round(self, cases: Sequence[_Case], number: int, ask: Ask, settings: Generation) -> None:
        roomy = settings.model_copy(update={"max_new_tokens": self.max_opinion_tokens, "stop": ()})
        before = [dict(case.opinions) for case in cases]
        for specialist in self._roles.specialists:
            requests = []
            for case, previous in zip(cases, before, strict=True):
                seen = case.opinions if self.order == "in-turn" else previous
                note = self._shown(seen, specialist.name)
                requests.append(self._request(case.sample, specialist, f"{note}{self.instruction}", roomy))
            for case, answer in zip(cases, ask(requests), strict=True):
                self._hear(case, specialist.name, number, answer)

    @staticmethod
    def _request(sample: Sample, role: Specialist, note: str, generation: Generation) -> Any:
        return request(sample, with_system(with_note(question_of(sample), note), role.prompt), generation)

    def _shown(self, opinions: dict[str, str], own: str) -> str:
        if not opinions:
            return ""
        lines = []
        for name, opinion in opinions.items():
            text = opinion if len(opinion) <= self.max_shown_letters else opinion[: self.max_shown_letters] + " …"
            lines.append(f"{name}{' (you)' if name == own else ''}: {text}")
        return "Opinions of the team so far:\n" + "\n".join(lines) + "\n\n"

    @staticmethod
    def _hear(case: _Case, name: str, number: int, answer: Answer) -> None:
        case.calls.append(answer)
        entry: dict[str, Any] = {"role": name, "round": number, "text": answer.text or ABSTAINED}
        if answer.text is None:
            # What it said in an earlier round no longer speaks for it: an abstention is not an agreement.
            case.opinions[name] = ABSTAINED
            case.conclusions.pop(name, None)
            entry["error"] = answer.error
        else:
            case.opinions[name] = answer.text
            case.conclusions[name] = tagged(answer.text, "answer") or answer.text.strip()
            entry["conclusion"] = case.conclusions[name]
        case.transcript.append(entry)

    def _close_if_agreed(self, case: _Case, number: int) -> None:
        found = _most_common(case)
        # The whole panel is the measure: those who abstain do not make agreement easier.
        if found is not None and found[1] >= self.agreement * len(self._roles.specialists) - 1e-9:
            case.agreed = found[0]
            case.transcript.append({"role": "agreement", "round": number, "text": found[0], "votes": found[1]})

    def _decide(self, cases: Sequence[_Case], ask: Ask, settings: Generation) -> None:
        waiting = [case for case in cases if case.conclusions and (self.chair_always or case.agreed is None)]
        chair = self._roles.chair
        requests = [
            self._request(case.sample, chair, self._shown(case.opinions, chair.name) + self.decision, settings)
            for case in waiting
        ]
        for case, answer in zip(waiting, ask(requests) if requests else [], strict=True):
            case.calls.append(answer)
            entry: dict[str, Any] = {"role": chair.name, "text": answer.text or ABSTAINED}
            if answer.text is None:
                entry["error"] = answer.error
            else:
                case.agreed = tagged(answer.text, "answer") or answer.text
            case.transcript.append(entry)

    @staticmethod
    def _answer(case: _Case) -> Answer:
        text = case.agreed
        if text is None:
            found = _most_common(case)
            if found is not None:
                text = found[0]
                case.transcript.append({"role": "majority", "text": text, "votes": found[1]})
        transcript = tuple(case.transcript)
        if text is None:
            error = next((call.error for call in case.calls if call.error), "nobody gave an opinion")
            error = f"every specialist abstained: {error}"
            return Answer(sample_id=case.sample.id, error=error, transcript=transcript, **cost(case.calls))
        return Answer(sample_id=case.sample.id, text=text, transcript=transcript, **cost(case.calls))


def _most_common(case: _Case) -> tuple[str, int] | None:
    """The conclusion most specialists give, in the words of the first of them, and how many; ``None`` if none did."""
    counts = Counter(normalised(conclusion) for conclusion in case.conclusions.values())
    if not counts:
        return None
    key, votes = counts.most_common(1)[0]
    return next(one for one in case.conclusions.values() if normalised(one) == key), votes
