"""A multidisciplinary panel: specialists give opinions, see one another's, revise, and a chair decides.

The panel is an extension of InfiMed's: the papers name multidisciplinary treatment as a motivation, without a method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from infimed_core import Answer, Ask, DataError, Generation, Sample, Solver, canonical_json
from infimed_plugins.solvers.asking import (
    cost,
    most_common,
    question_of,
    request,
    settings_of,
    tagged,
    tokens,
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

    ``order: independent`` lets the first round be given blind and a revision see the previous round only; ``order:
    in-turn`` shows each specialist what was said before it. A case is closed early where the share of the panel that
    gives the same conclusion (the text in the last ``<answer>`` tag, else the whole reply, equal after normalising or
    at least ``likeness`` alike) reaches ``agreement``; its conclusion is then the answer unless ``chair_always`` is
    set. A specialist whose call fails abstains in that round. A role may name a model of the run file's ``models:``.
    """

    roles: Path | None = Field(default=None, description="YAML file with specialists and chair; the built-in panel.")
    specialists: tuple[str, ...] = Field(default=(), description="Names to take from the roles; all where it is empty.")
    role_models: dict[str, str] = Field(
        default_factory=dict,
        description="Role (the chair's too) -> name in the run file's 'models:'; wins over the file.",
    )
    order: Literal["independent", "in-turn"] = Field(default="independent", description="Who sees whom.")
    rounds: int = Field(default=1, ge=0, description="Rounds of revision after the first opinions.")
    agreement: float = Field(default=1.0, gt=0.0, le=1.0, description="Share of equal conclusions that closes a case.")
    likeness: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of words (F1) that makes two conclusions one; 1: equal text."
    )
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

    @model_validator(mode="after")
    def _roles_are_there(self) -> Panel:
        """So that ``infimed check`` tells what is wrong with the roles."""
        try:
            _ = self._roles
        except DataError as error:
            raise PydanticCustomError("bad_roles", "{told}", {"told": f"mdt-panel: {error}"}) from None
        return self

    @cached_property
    def _roles(self) -> Roles:
        roles = read_roles(self.roles)
        known = {specialist.name: specialist for specialist in roles.specialists}
        chosen = self.specialists or tuple(known)
        named = [("specialist", name) for name in chosen if name not in known]
        named += [("role", name) for name in self.role_models if name not in (*known, roles.chair.name)]
        if named:
            kind, name = named[0]
            raise DataError("unknown_specialist", f"no {kind} '{name}' (there are: {', '.join(known)})")

        def with_model(role: Specialist) -> Specialist:
            return role.model_copy(update={"model": self.role_models.get(role.name, role.model)})

        specialists = tuple(with_model(known[name]) for name in chosen)
        return Roles(specialists=specialists, chair=with_model(roles.chair))

    def models(self) -> tuple[str, ...]:
        """The models that roles name, in speaking order."""
        roles = (*self._roles.specialists, self._roles.chair)
        return tuple(dict.fromkeys(role.model for role in roles if role.model is not None))

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
        for group in self._groups():
            requests = []
            for specialist in group:
                for case, previous in zip(cases, before, strict=True):
                    seen = case.opinions if self.order == "in-turn" else previous
                    note = self._shown(seen, specialist.name)
                    requests.append(self._request(case.sample, specialist, f"{note}{self.instruction}", roomy))
            answers = iter(ask(requests, model=group[0].model))
            for specialist in group:
                for case in cases:
                    self._hear(case, specialist, number, next(answers))
        if self.order == "independent":
            for case in cases:
                self._in_speaking_order(case, number)

    def _groups(self) -> list[list[Specialist]]:
        """Who is asked in one go: one by one in turn; else all that share a model."""
        if self.order == "in-turn":
            return [[specialist] for specialist in self._roles.specialists]
        groups: dict[str | None, list[Specialist]] = {}
        for specialist in self._roles.specialists:
            groups.setdefault(specialist.model, []).append(specialist)
        return list(groups.values())

    def _in_speaking_order(self, case: _Case, number: int) -> None:
        """Opinions and transcript in the order of the roles, whichever model answered first."""
        order = {specialist.name: place for place, specialist in enumerate(self._roles.specialists)}
        case.opinions = dict(sorted(case.opinions.items(), key=lambda item: order[item[0]]))
        case.conclusions = dict(sorted(case.conclusions.items(), key=lambda item: order[item[0]]))
        size = len(order)
        case.transcript[-size:] = sorted(case.transcript[-size:], key=lambda turn: order[turn["role"]])

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
    def _hear(case: _Case, specialist: Specialist, number: int, answer: Answer) -> None:
        name = specialist.name
        case.calls.append(answer)
        entry: dict[str, Any] = {"role": name, "round": number, "text": answer.text or ABSTAINED, **tokens(answer)}
        if specialist.model is not None:
            entry["model"] = specialist.model
        if answer.text is None or not answer.text.strip():
            # What it said in an earlier round no longer speaks for it: an abstention is not an agreement.
            case.opinions[name] = ABSTAINED
            case.conclusions.pop(name, None)
            entry["error"] = answer.error or "the reply was empty"
        else:
            case.opinions[name] = answer.text
            case.conclusions[name] = tagged(answer.text, "answer") or answer.text.strip()
            entry["conclusion"] = case.conclusions[name]
        case.transcript.append(entry)

    def _close_if_agreed(self, case: _Case, number: int) -> None:
        found = most_common(list(case.conclusions.values()), self.likeness)
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
        for case, answer in zip(waiting, ask(requests, model=chair.model) if requests else [], strict=True):
            case.calls.append(answer)
            entry: dict[str, Any] = {"role": chair.name, "text": answer.text or ABSTAINED, **tokens(answer)}
            if chair.model is not None:
                entry["model"] = chair.model
            if answer.text is None or not answer.text.strip():
                entry["error"] = answer.error or "the reply was empty"
            else:
                case.agreed = tagged(answer.text, "answer") or answer.text
            case.transcript.append(entry)

    def _answer(self, case: _Case) -> Answer:
        text = case.agreed
        if text is None:
            found = most_common(list(case.conclusions.values()), self.likeness)
            if found is not None:
                text = found[0]
                case.transcript.append({"role": "majority", "text": text, "votes": found[1]})
        transcript = tuple(case.transcript)
        if text is None:
            error = next((call.error for call in case.calls if call.error), None)
            if error is None:  # nothing failed, and nothing was said: an empty answer, as when the model is asked once
                return Answer(sample_id=case.sample.id, text="", transcript=transcript, **cost(case.calls))
            error = f"every specialist abstained: {error}"
            return Answer(sample_id=case.sample.id, error=error, transcript=transcript, **cost(case.calls))
        return Answer(sample_id=case.sample.id, text=text, transcript=transcript, **cost(case.calls))
