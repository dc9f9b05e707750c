"""Ask with examples: questions with their answers before the one that is asked, from a set that is not graded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Ask,
    Benchmark,
    ComponentRef,
    DataError,
    Media,
    Request,
    Sample,
    Solver,
    Turn,
    load_plugins,
)
from infimed_plugins.solvers.asking import question_of, settings_of
from infimed_plugins.solvers.likelihood import LETTERS, choices_of, chosen, compares_likelihoods, one_token


class FewShot(Solver):
    """``shots`` examples before every question, the same for all, drawn by ``seed``; then one call as it is worded.

    The examples are questions of another benchmark, or of the same one on another split: a question that is graded, by
    its id or its words, is never an example. Their images go with them, so the model must take several. A benchmark
    of ``scoring: likelihood`` gets how likely its choices are after the examples.
    """

    nested: ClassVar[Mapping[str, str]] = {"examples": "benchmark"}

    examples: ComponentRef = Field(description="The benchmark whose questions are examples, e.g. a training split.")
    shots: int = Field(default=5, ge=1, description="How many examples.")
    seed: int = Field(default=0, ge=0, description="Draws the examples.")

    @cached_property
    def _pool(self) -> list[Sample]:
        made: Any = load_plugins().make("benchmark", self.examples.use, self.examples.settings)
        benchmark: Benchmark = made
        return [row for row in benchmark.samples() if isinstance(row, Sample) and row.references]

    def chosen(self, samples: Sequence[Sample]) -> list[Sample]:
        """The examples for these questions.

        Raises:
            DataError: there are too few that are not graded themselves.
        """
        graded = {sample.id for sample in samples} | {_words(sample) for sample in samples}
        free = [row for row in self._pool if row.id not in graded and _words(row) not in graded]
        if len(free) < self.shots:
            raise DataError(
                "few_examples",
                f"few-shot wants {self.shots} examples, and '{self.examples.use}' has {len(free)} that are not graded; "
                "name a split that is not graded under 'examples', or ask for fewer shots",
            )
        return random.Random(self.seed).sample(free, self.shots)

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; the ids of the examples stand in its transcript."""
        examples, settings = self.chosen(samples), settings_of(generation)
        by_text = any(choices_of(sample) == tuple(sample.options) for sample in samples if compares_likelihoods(sample))
        turns, media = _shown(examples, by_text)
        requests = []
        for sample in samples:
            asked = _moved(question_of(sample), len(media))
            system = asked[:1] if asked and asked[0].role == "system" else ()
            whole = (*system, *turns, *asked[len(system) :])
            compared = compares_likelihoods(sample)
            requests.append(
                Request(
                    sample_id=sample.id,
                    turns=whole,
                    media=(*media, *sample.media),
                    generation=one_token(settings) if compared else settings,
                    continuations=choices_of(sample) if compared else (),
                )
            )
        note = {"role": "examples", "content": ", ".join(example.id for example in examples)}
        answers = [
            chosen(asked.continuations, answer) if asked.continuations else answer
            for asked, answer in zip(requests, ask(requests), strict=True)
        ]
        return [
            answer.model_copy(update={"transcript": (note, *answer.transcript)}) if answer.error is None else answer
            for answer in answers
        ]


def _shown(examples: Sequence[Sample], by_text: bool) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """The examples as a conversation: each question, then its first accepted answer, or the text of that option."""
    turns: list[Turn] = []
    media: list[Media] = []
    for example in examples:
        asked = _moved([turn for turn in question_of(example) if turn.role != "system"], len(media))
        answer = example.references[0]
        if by_text and answer in LETTERS[: len(example.options)]:
            answer = example.options[LETTERS.index(answer)]
        turns += [*asked, Turn(role="assistant", content=(answer,))]
        media += example.media
    return tuple(turns), tuple(media)


def _moved(turns: Sequence[Turn], by: int) -> tuple[Turn, ...]:
    """The turns with their media numbered from ``by``."""
    return tuple(
        turn.model_copy(
            update={"content": tuple(part if isinstance(part, str) else part + by for part in turn.content)}
        )
        for turn in turns
    )


def _words(sample: Sample) -> str:
    """What is asked, whatever its spacing and case; an image makes the same words another question."""
    text = " ".join(" ".join(turn.text for turn in question_of(sample)).split()).casefold()
    return "|".join([text, *(item.sha256 or item.uri or "" for item in sample.media)])
