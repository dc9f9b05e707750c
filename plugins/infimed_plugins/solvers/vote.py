"""Self-consistency: ask several times with a temperature and take the answer most often given (Wang et al. 2022)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Sample, Solver
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


class Vote(Solver):
    """``num_samples`` draws per question; the majority of the normalised texts decides, the earliest on a tie.

    A draw that fails abstains. The answer is an error only where all draws failed.
    """

    num_samples: int = Field(default=5, ge=1, description="Draws per question.")
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
        requests = []
        for sample in samples:
            turns = with_system(question_of(sample), self.system)
            if self.instruction:
                turns = with_note(turns, self.instruction)
            # Each draw has its own seed, so that a cache never gives one draw for another.
            requests += [
                request(sample, turns, settings.model_copy(update={**update, "seed": settings.seed + draw}))
                for draw in range(self.num_samples)
            ]
        answers = ask(requests)
        return [
            self._majority(sample, answers[place * self.num_samples : (place + 1) * self.num_samples])
            for place, sample in enumerate(samples)
        ]

    @staticmethod
    def _majority(sample: Sample, draws: Sequence[Answer]) -> Answer:
        texts = [None if draw.text is None else tagged(draw.text, "answer") or draw.text for draw in draws]
        keys = [None if text is None else normalised(text) for text in texts]
        transcript: list[dict[str, Any]] = [
            {"role": f"draw {number}", "text": draw.text, "error": draw.error}
            for number, draw in enumerate(draws, start=1)
        ]
        counts = Counter(key for key in keys if key is not None)
        if not counts:
            error = next((draw.error for draw in draws if draw.error), "no draw gave an answer")
            return Answer(
                sample_id=sample.id, error=f"every draw failed: {error}", transcript=tuple(transcript), **cost(draws)
            )
        winner, votes = counts.most_common(1)[0]
        transcript.append({"role": "vote", "text": f"{votes} of {len(draws)} draws", "votes": votes})
        text = texts[keys.index(winner)]
        return Answer(sample_id=sample.id, text=text, transcript=tuple(transcript), **cost(draws))
