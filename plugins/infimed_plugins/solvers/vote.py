"""Self-consistency: ask several times with a temperature and take the answer most often given (Wang et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Sample, Solver
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


class Vote(Solver):
    """``num_samples`` draws per question; the answer that most draws give decides.

    On a tie it is the draw most alike to all others, then the earliest, so that free texts, of which no two are equal,
    give the one in their midst. With ``token_budget`` a question is drawn for until the next draw, at the mean cost of
    those before, would cost more than that: self-consistency at the cost of something else. A draw that fails
    abstains. The answer is an error only where all draws failed.
    """

    num_samples: int = Field(default=5, ge=1, description="Draws per question.")
    token_budget: int | None = Field(
        default=None, ge=1, description="Most tokens (prompt and answer) of all draws of a question; one draw at least."
    )
    likeness: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of words (F1) that makes two draws one answer; 1: equal text."
    )
    temperature: float = Field(default=0.7, gt=0.0, description="Temperature of the draws.")
    top_p: float = Field(default=0.95, gt=0.0, le=1.0, description="Nucleus of the draws.")
    system: str = Field(default="", description="System prompt put before the question; none where it is empty.")
    instruction: str = Field(default="", description="Added under the question; an <answer> tag in a reply is read.")
    max_new_tokens: int | None = Field(default=None, ge=1, description="Most new tokens of a draw; the benchmark's.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; the transcript holds every draw."""
        settings = settings_of(generation)
        update: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p}
        if self.max_new_tokens is not None:
            update["max_new_tokens"] = self.max_new_tokens
        turns = [with_system(question_of(sample), self.system) for sample in samples]
        if self.instruction:
            turns = [with_note(asked, self.instruction) for asked in turns]
        draws: list[list[Answer]] = [[] for _ in samples]
        # Without a budget all draws are asked at once; with one, draw by draw, because each decides about the next.
        together = self.num_samples if self.token_budget is None else 1
        for first in range(0, self.num_samples, together):
            waiting = [place for place in range(len(samples)) if self._affords(draws[place])]
            # Each draw has its own seed, so that a cache never gives one draw for another.
            requests = [
                request(samples[place], turns[place], settings.model_copy(update={**update, "seed": settings.seed + n}))
                for place in waiting
                for n in range(first, first + together)
            ]
            answers = iter(ask(requests) if requests else [])
            for place in waiting:
                draws[place] += [next(answers) for _ in range(together)]
        return [self._majority(sample, drawn) for sample, drawn in zip(samples, draws, strict=True)]

    def _affords(self, drawn: Sequence[Answer]) -> bool:
        if self.token_budget is None or not drawn:
            return True
        spent = [(answer.num_prompt_tokens, answer.num_answer_tokens) for answer in drawn]
        # A model that does not tell its tokens cannot be kept to a budget: the number of draws is the limit.
        known = [prompt + answer for prompt, answer in spent if prompt is not None and answer is not None]
        return not known or sum(known) * (1 + 1 / len(known)) <= self.token_budget

    def _majority(self, sample: Sample, draws: Sequence[Answer]) -> Answer:
        # An empty draw abstains, as one that failed: five that say nothing are not of one mind.
        texts = [tagged(draw.text, "answer") or draw.text for draw in draws if draw.text and draw.text.strip()]
        transcript: list[dict[str, Any]] = [
            {"role": f"draw {number}", "text": draw.text, "error": draw.error, **tokens(draw)}
            for number, draw in enumerate(draws, start=1)
        ]
        found = most_common(texts, self.likeness)
        if found is None:
            error = next((draw.error for draw in draws if draw.error), None)
            if error is None:  # nothing failed, and nothing was said: an empty answer, as when the model is asked once
                return Answer(sample_id=sample.id, text="", transcript=tuple(transcript), **cost(draws))
            return Answer(
                sample_id=sample.id, error=f"every draw failed: {error}", transcript=tuple(transcript), **cost(draws)
            )
        text, votes = found
        transcript.append({"role": "vote", "text": f"{votes} of {len(draws)} draws", "votes": votes})
        told: dict[str, Any] = {"confidence": votes / len(draws), "transcript": tuple(transcript), **cost(draws)}
        return Answer(sample_id=sample.id, text=text, **told)
