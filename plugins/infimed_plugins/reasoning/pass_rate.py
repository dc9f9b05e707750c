"""The scorer ``pass-rate``: how often a model answers a sample's question rightly, which is how hard it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Ask,
    Benchmark,
    ComponentRef,
    Generation,
    JudgingScorer,
    MediaLoader,
    Request,
    Sample,
    Score,
    load_plugins,
)
from infimed_plugins.reasoning.draws import Drawing, question_of


class PassRate(JudgingScorer):
    """The share of right answers among ``draws`` of a model (pass@1 estimated from K draws), in the part ``right``.

    ``read`` is the share that could be read. A sample without an answer that can be checked is unscored; one of whose
    draws any failed is asked again by the next run.
    """

    dimensions: ClassVar[tuple[str, ...]] = ("right", "read")
    nested: ClassVar[Mapping[str, str]] = {"grader": "benchmark"}

    grader: ComponentRef = Field(description="The benchmark by whose strict rules answers are graded.")
    draws: int = Field(default=8, ge=1, le=1000, description="Answers to every question.")
    temperature: float = Field(default=1.0, ge=0.0, description="Of the draws.")
    max_new_tokens: int = Field(default=512, ge=1, description="Longest draw.")
    instruction: str = Field(default="", description="Added under every question.")
    seed: int = Field(default=0, ge=0, description="Seed of the first draw.")

    @cached_property
    def benchmark(self) -> Benchmark:
        """The grader."""
        made: Benchmark = load_plugins().find("benchmark", self.grader.use).model_validate(self.grader.settings)  # type: ignore[assignment]
        return made

    def judge(self, samples: Sequence[Sample], media: MediaLoader, ask: Ask) -> list[Score]:
        """One score per sample, in order."""

        def ask_named(model: str, requests: Sequence[Request]) -> list[Answer]:
            return ask(requests)

        drawing = Drawing(ask_named, self.benchmark, Generation(max_new_tokens=self.max_new_tokens))
        found = [question_of(sample) for sample in samples]
        questions = [one for one in found if one is not None and drawing.is_checkable(one)]
        asked = [(question, self.instruction) for question in questions]
        draws = drawing.draw(self.model, asked, self.draws, self.temperature, self.seed)
        by_id = {question.id: own for question, own in zip(questions, draws, strict=True)}
        scores = []
        for sample in samples:
            own = by_id.get(sample.id)
            if own is None:
                scores.append(Score(status="unscored", reasons=("not_checkable",)))
            elif failed := [draw.answer.error for draw in own if draw.answer.error is not None]:
                scores.append(Score(status="error", reasons=("no_answer",), note=failed[0]))
            else:
                right = sum(draw.is_right for draw in own) / len(own)
                read = sum(draw.score.value is not None for draw in own) / len(own)
                scores.append(Score(value=right, parts={"right": right, "read": read}))
        return scores
