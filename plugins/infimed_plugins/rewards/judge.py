"""What another model thinks of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Component,
    ComponentRef,
    Generation,
    LoadedModel,
    MediaLoader,
    Request,
    Reward,
    Rollout,
    Score,
    Turn,
    load_plugins,
)

PROMPT = """You grade an answer to a medical question. Compare it with the reference answer.

Question: {question}
Reference answer: {reference}
Answer to grade: {answer}

Reply with one whole number from 0 (wrong or empty) to 10 (fully right), and nothing else."""
_NUMBER = re.compile(r"\s*(10|[0-9])\s*(?:/\s*10)?\s*[.]?\s*")


class Judge(Reward):
    """A grade from 0 to 10 by another model, asked with question, reference and answer, divided by 10.

    A reply that is no such number is unscored. What would break out of the prompt's lines is put on one line.
    """

    nested: ClassVar[Mapping[str, str]] = {"model": "model"}

    model: ComponentRef = Field(description="The model that is asked: one of another server, or a checkpoint.")
    prompt: str = Field(default=PROMPT, description="The prompt, with {question}, {reference} and {answer}.")

    @cached_property
    def _model(self) -> LoadedModel:
        made: Any = load_plugins().make("model", self.model.use, self.model.settings)
        opened: LoadedModel = made.load(None)
        return opened

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A prompt without a place for the answer."""
        missing = [name for name in ("question", "reference", "answer") if f"{{{name}}}" not in self.prompt]
        return {"prompt": f"has no place for {{{missing[0]}}}"} if missing else {}

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """The grades; equal texts are asked once."""
        prompts = [self._asked(rollout) for rollout in rollouts]
        requests = [
            Request(
                sample_id=str(number),
                turns=(Turn(role="user", content=(prompt,)),),
                generation=Generation(max_new_tokens=8),
            )
            for number, prompt in enumerate(dict.fromkeys(prompts))
        ]
        answers = {answer.sample_id: answer for answer in self._model.answer(requests, MediaLoader({}))}
        by_prompt = {request.turns[0].text: answers.get(request.sample_id) for request in requests}
        return [_read(by_prompt[prompt]) for prompt in prompts]

    def _asked(self, rollout: Rollout) -> str:
        turns = [turn for turn in rollout.sample.turns[:-1] if turn.role == "user"]
        values = {
            "question": turns[-1].text if turns else "",
            "reference": rollout.sample.turns[-1].text,
            "answer": " ".join(rollout.text.split()),
        }
        return re.sub(r"\{(question|reference|answer)\}", lambda found: values[found[1]], self.prompt)


def _read(answer: Answer | None) -> Score:
    if answer is None or answer.text is None:
        error = answer.error if answer is not None else "no reply"
        return Score(value=None, status="error", reasons=("judge_failed",), note=error or "")
    found = _NUMBER.fullmatch(answer.text)
    if found is None:
        return Score(value=None, status="unscored", reasons=("unreadable_verdict",), note=answer.text[:200])
    return Score(value=int(found[1]) / 10)
