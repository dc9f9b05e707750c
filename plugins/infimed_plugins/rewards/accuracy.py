"""Whether an answer is right, by the grader of a benchmark."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import Answer, Benchmark, Component, ComponentRef, Reward, Rollout, Sample, Score, load_plugins
from infimed_plugins.rewards.tags import answers_in

_COMMAND = re.compile(r"\\[A-Za-z]+")
"""Of LaTeX, as in ``\\boxed{A}``."""


class StrictAccuracy(Reward):
    """1 for a right answer, 0 for a wrong one; what the grader cannot read is unscored, which neither gains nor loses.

    Where a text has ``<answer>`` tags, what stands between them is graded. An answer that hedges (several answer tags
    that differ, more than one of the options or of their letters) is wrong, whatever a grader could pick from it.
    """

    is_accuracy: ClassVar[bool] = True
    version: ClassVar[str] = "2"
    nested: ClassVar[Mapping[str, str]] = {"grader": "benchmark"}

    grader: ComponentRef = Field(description="The benchmark whose way of grading is used; its questions are not.")
    unreadable: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Score of an answer that cannot be read; null leaves it unscored."
    )

    @cached_property
    def _grader(self) -> Benchmark:
        made: Any = load_plugins().make("benchmark", self.grader.use, self.grader.settings)
        return made  # type: ignore[no-any-return]

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Those of the grader."""
        return {f"grader.with.{key}": text for key, text in self._grader.problems(run).items()}

    def identity(self) -> str:
        """With the grader's own."""
        return f"{super().identity()}|{self._grader.identity()}"

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """The grader's verdicts."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        question = _question_of(rollout.sample)
        given = answers_in(rollout.text)
        if len({answer.casefold() for answer in given}) > 1:
            return Score(value=0.0, reasons=("several_answers",), note=" | ".join(given)[:200])
        text = given[0] if given else rollout.text
        wants_several = any(hedges(reference, question.options) for reference in question.references)
        if not wants_several and hedges(text, question.options):
            return Score(value=0.0, reasons=("several_options",), note=text[:200])
        answer = Answer(sample_id=question.id, text=text, finish_reason="stop" if rollout.finished else "length")
        score = self._grader.grade(question, answer, self._grader.scorings[0])
        if score.value is None and self.unreadable is not None:
            return Score(value=self.unreadable, reasons=score.reasons, note=score.note)
        return score


def _question_of(sample: Sample) -> Sample:
    """The sample as a question: without its answer, which is what is accepted where nothing else is named."""
    references = sample.references or (sample.turns[-1].text,)
    return sample.model_copy(update={"turns": sample.turns[:-1], "references": references})


def hedges(text: str, options: Sequence[str]) -> bool:
    """Whether a short answer names more than one option: by their texts, or by nothing but letters.

    An option that is a part of another one (``anterior``, ``anterior cruciate``) does not count beside it. A text that
    argues is not looked at: it may name options that it rules out.
    """
    said = " ".join(re.findall(r"\w+", text.casefold()))
    named = [plain for option in options if (plain := " ".join(re.findall(r"\w+", option.casefold())))]
    found = {plain for plain in named if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", said)}
    longest = {plain for plain in found if not any(plain != other and plain in other for other in found)}
    if len(longest) > 1 and _left_over(said, longest) <= 3:
        return True
    words = re.findall(r"[^\W_]+", _COMMAND.sub(" ", unicodedata.normalize("NFKC", text)))
    words = [word for word in words if word.casefold() not in ("and", "or")]
    if len(words) == 1 and words[0].isupper() and words[0].casefold() not in named:
        words = list(words[0])  # ABC
    told = {word.upper() for word in words}
    return len(told) > 1 and told <= {chr(ord("A") + number) for number in range(len(options))}


def _left_over(said: str, options: set[str]) -> int:
    """Words of an answer besides options, letters and joining words."""
    for option in sorted(options, key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(option)}(?!\w)", " ", said)
    return sum(
        1 for word in said.split() if len(word) > 1 and word not in ("and", "or", "the", "options", "answer", "is")
    )
