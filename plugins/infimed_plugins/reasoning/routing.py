"""Where a sample goes by how many of its draws are right, and what is made of it; every sample has one route."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from infimed_core import Answer, Fault, Generation, Mix, Request, Sample, SynthesisContext, Turn
from infimed_plugins.reasoning.checks import Limits, quality, refused, refused_text
from infimed_plugins.reasoning.draws import OWN, Draw, Drawing, question_of, with_note
from infimed_plugins.reasoning.rationales import Rationale, take_apart
from infimed_plugins.reasoning.reflection import attempt, is_sparse, read_templates, reflect

if TYPE_CHECKING:
    from infimed_plugins.reasoning.rejection import RejectionSampling

RECOVER = (
    "Reasoning of an expert:\n{reasoning}\n\nBy this reasoning, give the final answer alone inside <answer></answer>."
)
KEPT, ESCALATED = "kept", "escalated"
LEFT_OUT = {
    "not_chosen": "its tags are not those of 'where'",
    "not_checkable": "no short accepted answer that the grader reads as right",
    "unanswered": "a model could not be reached; the next run asks it again",
    "too_few_right": "fewer draws are right than 'escalate_at'",
    "no_stronger_teacher": "it wants a stronger teacher, and the run file names none",
    "stronger_failed": "no answer of the stronger teacher is right",
    "not_recovered": "the answer could not be found from the reasoning",
    "refused": "no right answer's rationale passes the checks",
}
"""Routes that end without a sample, with what they mean."""


@dataclass
class Case:
    """One sample on its way."""

    sample: Sample
    question: Sample
    draws: list[Draw] = field(default_factory=list)
    route: str = ""
    chosen: list[Draw] = field(default_factory=list)
    """Draws that are right and passed the checks so far."""
    told: bool = False
    """Whether the accepted answer was told to whoever wrote what was chosen."""
    num_right: int = 0
    num_first: int = 0
    """Draws of the first teacher, and how many of them are right."""


class Router:
    """Draws, routes and makes samples, batch by batch; counts everything."""

    def __init__(
        self, settings: RejectionSampling, drawing: Drawing, context: SynthesisContext, outcomes: IO[str]
    ) -> None:
        self._settings, self._drawing, self._context, self._outcomes = settings, drawing, context, outcomes
        self._routes, self._refusals, self._patterns = Counter[str](), Counter[str](), Counter[str]()
        self._right = Counter[int]()
        self._identities = {name: context.model_identity(name) for name in settings.models()}
        self._templates = read_templates(settings.reflective.templates)

    @property
    def num_unanswered(self) -> int:
        """Samples that wait for a model that could not be reached."""
        return self._routes["unanswered"]

    def facts(self) -> dict[str, Any]:
        """Counts for the record: every sample is in exactly one route."""
        return {
            "routes": dict(sorted(self._routes.items())),
            "right_draws": {str(count): number for count, number in sorted(self._right.items())},
            "refusals": dict(self._refusals.most_common()),
            "patterns": dict(sorted(self._patterns.items())),
        }

    def rows(self, samples: Sequence[Sample]) -> list[Sample | Fault]:
        """One row for each sample, in order."""
        cases = [self._case(sample) for sample in samples]
        self._draw([case for case in cases if not case.route])
        self._escalate([case for case in cases if case.route == ESCALATED])
        if self._settings.recover_with is not None:
            self._recover([case for case in cases if case.route == KEPT], self._settings.recover_with)
        return [self._finished(case) for case in cases]

    def _case(self, sample: Sample) -> Case:
        question = question_of(sample)
        case = Case(sample, question or sample)
        if not Mix(where=self._settings.where).matches(sample.tags):
            case.route = "not_chosen"
        elif question is None or not self._drawing.is_checkable(question):
            case.route = "not_checkable"
        return case

    def _draw(self, cases: Sequence[Case]) -> None:
        own = self._settings
        if own.teacher is None:
            for case in cases:
                self._judge(case, [self._drawing.own(case.sample, case.question)], keep_at=1, escalate_at=1)
            return
        asked = [(case.question, own.instruction_for(case.question, told=False)) for case in cases]
        found = self._drawing.draw(own.teacher, asked, own.draws, own.temperature, self._first_seed)
        for case, draws in zip(cases, found, strict=True):
            self._judge(case, draws, own.keep_at, own.escalate_at)

    def _judge(self, case: Case, draws: list[Draw], keep_at: int, escalate_at: int) -> None:
        """The route of a case by its first draws."""
        case.draws, case.num_first = draws, len(draws)
        case.num_right = sum(draw.is_right for draw in draws)
        if any(draw.answer.error is not None for draw in draws):
            case.route = "unanswered"  # how many are right is not known yet
            return
        self._right[case.num_right] += 1
        if case.num_right >= keep_at:
            self._choose(case, draws, KEPT)
        elif case.num_right >= escalate_at:
            case.route = ESCALATED if self._settings.stronger is not None else "no_stronger_teacher"
        else:
            case.route = "too_few_right"

    def _escalate(self, cases: Sequence[Case]) -> None:
        own = self._settings
        if not cases or own.stronger is None:
            return
        asked = [(case.question, own.instruction_for(case.question, told=own.give_answer)) for case in cases]
        first = self._first_seed + own.draws
        found = self._drawing.draw(
            own.stronger, asked, own.stronger_draws, own.temperature if own.stronger_draws > 1 else 0.0, first
        )
        for case, draws in zip(cases, found, strict=True):
            case.draws, case.told = [*case.draws, *draws], own.give_answer
            if any(draw.answer.error is not None for draw in draws):
                case.route = "unanswered"
            elif not any(draw.is_right for draw in draws):
                case.route = "stronger_failed"
            else:
                self._choose(case, draws, ESCALATED)

    def _choose(self, case: Case, draws: Sequence[Draw], route: str) -> None:
        """Keep the right draws whose rationale passes the checks."""
        case.route = route
        for draw in draws:
            if draw.is_right:
                reason = refused(case.question, draw.answer, draw.rationale, self._limits)
                if reason is not None:
                    self._refusals[reason] += 1
                elif draw.rationale.reasoning not in {one.rationale.reasoning for one in case.chosen}:
                    case.chosen.append(draw)
        if not case.chosen:
            case.route = "refused"

    def _recover(self, cases: Sequence[Case], model: str) -> None:
        """Keep the rationales from which another model finds the answer that was taken out of them."""
        pairs = [(case, draw) for case in cases for draw in case.chosen]
        requests = [
            Request(
                sample_id=case.question.id,
                turns=with_note(case.question.turns, RECOVER.replace("{reasoning}", draw.rationale.reasoning)),
                media=case.question.media,
                generation=Generation(max_new_tokens=self._settings.max_new_tokens),
                tags=case.question.tags,
            )
            for case, draw in pairs
        ]
        answers = self._context.ask(model, requests) if requests else []
        self._drawing.ledger.add(model, answers)
        recovered = [self._recovers(case, answer) for (case, _), answer in zip(pairs, answers, strict=True)]
        for case in cases:
            own = [kept for (other, _), kept in zip(pairs, recovered, strict=True) if other is case]
            failed = [answer.error for (other, _), answer in zip(pairs, answers, strict=True) if other is case]
            case.chosen = [draw for draw, kept in zip(case.chosen, own, strict=True) if kept]
            if any(error is not None for error in failed):
                case.route = "unanswered"
            elif not case.chosen:
                case.route = "not_recovered"

    def _recovers(self, case: Case, answer: Answer) -> bool:
        return self._drawing.grade(case.question, answer, take_apart(answer).final).value == 1.0

    def _finished(self, case: Case) -> Sample | Fault:
        made = self._made(case) if case.route in (KEPT, ESCALATED) else None
        self._routes[case.route] += 1
        line = {
            "id": case.sample.id,
            "route": case.route,
            "num_right": case.num_right,
            "num_draws": case.num_first,
            "draws": [draw.facts() | {"text": draw.answer.text} for draw in case.draws],
        }
        self._outcomes.write(json.dumps(line, ensure_ascii=False) + "\n")
        if made is not None:
            return made
        return Fault(sample_id=case.sample.id, code=case.route, detail=LEFT_OUT[case.route])

    def _made(self, case: Case) -> Sample:
        scored = []
        for draw in case.chosen:
            agreement = case.num_right / case.num_first if draw in case.draws[: case.num_first] else 1.0
            scored.append((draw, *quality(case.question, draw.rationale, agreement, self._limits)))
        best, value, parts = max(
            scored, key=lambda entry: (entry[1], -len(entry[0].rationale.reasoning), -entry[0].seed)
        )
        reasoning, pattern, template = self._pattern(case, best.rationale)
        self._patterns[pattern] += 1
        own, sample = self._settings, case.sample
        turns = with_note(case.question.turns, own.instruction)
        text = own.made_text(reasoning, case.question.references[0])
        provenance = {
            "route": case.route,
            "pattern": pattern,
            "template": template,
            "teacher": best.model,
            "teacher_identity": self._identities.get(best.model),
            "prompt": "" if best.model == OWN else own.instruction_for(case.question, case.told),
            "seed": best.seed,
            "num_right": case.num_right,
            "num_draws": case.num_first,
            "quality": value,
            "parts": parts,
            "outcomes": [draw.facts() for draw in case.draws],
        }
        return sample.model_copy(
            update={
                "id": f"{sample.id}/reasoning",
                "turns": (*turns, Turn(role="assistant", content=(text,))),
                "references": case.question.references,
                "tags": {**sample.tags, "reasoning": pattern},
                "meta": {**sample.meta, "reasoning": provenance},
            }
        )

    def _pattern(self, case: Case, right: Rationale) -> tuple[str, str, str | None]:
        """The reasoning, in the reflective pattern where the share asks for one more and the sample allows it."""
        own = self._settings.reflective
        num_made = self._patterns.total() + 1
        if self._patterns["reflective"] + 1 <= own.share * num_made + 1e-9:
            fits = Mix(where=own.where).matches(case.sample.tags) and is_sparse(case.sample, own)
            wrong = attempt(case.question, [draw.rationale for draw in case.draws if draw.is_wrong]) if fits else None
            found = reflect(case.question, right, wrong, self._templates) if wrong is not None else None
            # the attempt and the check of it may make the text longer than a plain rationale, not twice as long
            longer = Limits(self._limits.least_words, 2 * self._limits.most_words, self._limits.languages)
            if found is not None and refused_text(case.question, found[0], longer) is None:
                return found[0], "reflective", found[1]
        return right.reasoning, "general", None

    @property
    def _limits(self) -> Limits:
        return self._settings.limits

    @property
    def _first_seed(self) -> int:
        return 10_000 * self._context.seed
