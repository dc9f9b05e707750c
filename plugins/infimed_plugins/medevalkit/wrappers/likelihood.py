"""The benchmark ``likelihood``: the choices of another one, scored by how likely the model holds each to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from infimed_core import Answer, Ask, ComponentRef, DataError, Sample, Score
from infimed_plugins.medevalkit.answers.named_options import LETTERS
from infimed_plugins.medevalkit.wrappers.wrapped import Wrapped

PLAIN, NORMALISED = "likelihood", "likelihood-normalised"
YES_OR_NO = ("yes", "no")


class LikelihoodScored(Wrapped):
    """Multiple choice and yes-or-no questions, answered by the likeliest choice and never by words of the model's own.

    ``likelihood`` takes the choice with the greatest log-likelihood after the question (lm-eval's ``acc``),
    ``likelihood-normalised`` that with the greatest per letter of its text (``acc_norm``). What was chosen is graded
    by the benchmark's own rules. Open questions, and those with several right letters, are left out.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "calibration-error", "refer-area")  # type: ignore[assignment]
    judging: ClassVar[str] = ""  # type: ignore[assignment]

    choices: Literal["letters", "texts"] = Field(
        default="letters", description="Whether the letters of the options are the choices, or their texts."
    )

    @property
    def scorings(self) -> tuple[str, ...]:  # type: ignore[override]
        """Two of their own."""
        return PLAIN, NORMALISED

    def solver(self) -> ComponentRef:
        """The one that asks for likelihoods."""
        return ComponentRef(use="solvers/likelihood")

    def altered(self, sample: Sample) -> Sample:
        """The question with the choices whose likelihood is asked for."""
        if len(sample.options) > 1:
            if not sample.references or sample.references[0] not in LETTERS[: len(sample.options)]:
                raise DataError("no_one_letter", f"'{sample.id}' has not one right letter")
            choices = sample.options if self.choices == "texts" else tuple(LETTERS[: len(sample.options)])
        elif sample.references and sample.references[0].strip().lower() in YES_OR_NO:
            choices = YES_OR_NO
        else:
            raise DataError("no_choices", f"'{sample.id}' is an open question: it has no choices to compare")
        return sample.model_copy(update={"meta": {**sample.meta, "choices": list(choices)}})

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """As the benchmark grades the choice that was made."""
        choices: object = sample.meta.get("choices")
        found = answer.log_likelihoods
        if not isinstance(choices, list) or len(found) != len(choices):
            if not isinstance(choices, list) or answer.text not in choices:
                return Score(status="unscored", reasons=("no_log_likelihoods",), note="no likelihoods of the choices")
            best, parts = choices.index(answer.text), {}  # a constant of a baseline, which needs no likelihoods
        else:
            weights = [len(str(text)) if scoring == NORMALISED else 1 for text in choices]
            weighed = [value / weight for value, weight in zip(found, weights, strict=True)]
            best = max(range(len(found)), key=weighed.__getitem__)
            parts = {"confidence": 1.0 / sum(math.exp(value - weighed[best]) for value in weighed)}
        said = f"{LETTERS[best]}. {choices[best]}" if choices[best] in sample.options else str(choices[best])
        own = self.inner.grade(sample, Answer(sample_id=answer.sample_id, text=said), self.inner.scorings[0])
        shown = ", ".join(f"{text} {value:.3f}" for text, value in zip(choices, found, strict=False))
        return own.model_copy(
            update={"parts": parts, "note": f"{choices[best]} ({shown})" if shown else str(choices[best])}
        )

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Nothing is left to a judge."""
        return None

    def is_open(self, sample: Sample) -> bool:
        """Never."""
        return False
