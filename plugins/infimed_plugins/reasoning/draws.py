"""Questions put to a teacher several times, and every answer graded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infimed_core import Answer, Benchmark, Generation, InfimedError, Request, Sample, Score, Turn
from infimed_plugins.reasoning.costs import Ledger
from infimed_plugins.reasoning.rationales import Rationale, take_apart, words

OWN = "own"
"""Stands for the model where the reasoning is the sample's own."""
MOST_ANSWER_WORDS = 12
"""Words of a last turn up to which it is an answer that can be checked, where the sample names none."""


@dataclass(frozen=True)
class Draw:
    """One answer to one question: who gave it, with which seed, its parts and its grade."""

    model: str
    seed: int
    answer: Answer
    rationale: Rationale
    score: Score

    @property
    def is_right(self) -> bool:
        """Read, and right."""
        return self.score.value == 1.0

    @property
    def is_wrong(self) -> bool:
        """Read, and not right; what could not be read is neither."""
        return self.score.value is not None and self.score.value < 1.0

    def facts(self) -> dict[str, Any]:
        """The draw for a sample's provenance."""
        return {
            "model": self.model,
            "seed": self.seed,
            "value": self.score.value,
            "reasons": list(self.score.reasons),
            "answer": self.rationale.final if self.answer.error is None else None,
            "error": self.answer.error,
        }


def question_of(sample: Sample) -> Sample | None:
    """The sample without its answer, its accepted answers in ``references``; ``None`` where none can be checked."""
    turns = list(sample.turns)
    last = turns.pop() if turns and turns[-1].role == "assistant" else None
    if not turns or turns[-1].role != "user" or sample.tools:
        return None
    accepted = tuple(text for text in sample.references if text.strip())
    if not accepted and last is not None and 0 < len(words(last.text)) <= MOST_ANSWER_WORDS:
        accepted = (last.text.strip(),)
    return sample.model_copy(update={"turns": tuple(turns), "references": accepted}) if accepted else None


def with_note(turns: Sequence[Turn], note: str) -> tuple[Turn, ...]:
    """The turns with ``note`` under the last one, as the solver ``chain-of-thought`` puts it."""
    *before, last = turns
    if not note:
        return tuple(turns)
    return (*before, last.model_copy(update={"content": (*last.content, f"\n\n{note}")}))


class Drawing:
    """Asks models and grades what they say."""

    def __init__(
        self, ask: Callable[[str, Sequence[Request]], list[Answer]], grader: Benchmark, generation: Generation
    ) -> None:
        self._ask, self._grader, self._generation = ask, grader, generation
        self.ledger = Ledger()

    def draw(
        self, model: str, questions: Sequence[tuple[Sample, str]], count: int, temperature: float, first_seed: int
    ) -> list[list[Draw]]:
        """``count`` graded draws for every question and the note under it, in order.

        Every draw has a seed of its own, so that the answers that are kept never stand for one another.
        """
        update = {"temperature": temperature}
        requests = [
            Request(
                sample_id=question.id,
                turns=with_note(question.turns, note),
                media=question.media,
                generation=self._generation.model_copy(update={**update, "seed": first_seed + number}),
                tags=question.tags,
            )
            for question, note in questions
            for number in range(count)
        ]
        answers = self._ask(model, requests) if requests else []
        self.ledger.add(model, answers)
        found = iter(zip(requests, answers, strict=True))
        draws = []
        for question, _ in questions:
            own = [next(found) for _ in range(count)]
            draws.append([self._graded(question, model, request.generation.seed, answer) for request, answer in own])
        return draws

    def own(self, sample: Sample, question: Sample) -> Draw:
        """The sample's own answer as a draw."""
        return self._graded(question, OWN, 0, Answer(sample_id=sample.id, text=sample.turns[-1].text))

    def _graded(self, question: Sample, model: str, seed: int, answer: Answer) -> Draw:
        rationale = take_apart(answer)
        return Draw(model, seed, answer, rationale, self.grade(question, answer, rationale.final))

    def grade(self, question: Sample, answer: Answer, final: str | None = None) -> Score:
        """The grade of the final answer, of the whole text where there is none; a grader that fails has not read it."""
        if answer.error is not None:
            return Score(status="error", reasons=("no_answer",), note=answer.error)
        said = answer if final is None else answer.model_copy(update={"text": final})
        try:
            return self._grader.grade(question, said, self._grader.scorings[0])
        except InfimedError as error:
            return Score(status="error", reasons=("grading_failed",), note=str(error))

    def is_checkable(self, question: Sample) -> bool:
        """Whether the grader reads the sample's own answer as right: else no draw could be told right from wrong."""
        answer = Answer(sample_id=question.id, text=question.references[0])
        return self.grade(question, answer).value == 1.0
