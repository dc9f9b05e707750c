"""Let the model reason first, then take its final answer from a tag or ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from infimed_core import Answer, Ask, Generation, Request, Sample, Solver, Turn
from infimed_plugins.solvers.asking import (
    cost,
    question_of,
    request,
    settings_of,
    tagged,
    tokens,
    with_note,
    with_system,
)


class ChainOfThought(Solver):
    """Reasoning, then a final answer.

    The answer is what stands in the last ``<answer>`` tag. Where there is none, ``extract: ask`` asks the model once
    more with its own reasoning in view; ``extract: tag`` hands on the whole text for the benchmark to read. A failed
    second call also hands on the reasoning: nothing that was said is lost.
    """

    system: str = Field(default="", description="System prompt put before the question; none where it is empty.")
    instruction: str = Field(
        default="Reason step by step about the findings. Then give the final answer alone inside <answer></answer>.",
        description="Added under the question.",
    )
    question: str = Field(
        default="Now state the final answer alone, in the form the question asks for.",
        description="The second call's question, where the first answer has no tag.",
    )
    extract: Literal["ask", "tag"] = Field(default="ask", description="What to do where the answer has no tag.")
    max_reasoning_tokens: int = Field(default=512, ge=1, description="Most new tokens of the reasoning call.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; the reasoning is in its transcript."""
        settings = settings_of(generation)
        roomy = settings.model_copy(
            update={"max_new_tokens": max(settings.max_new_tokens, self.max_reasoning_tokens), "stop": ()}
        )
        asked = [with_system(with_note(question_of(sample), self.instruction), self.system) for sample in samples]
        first = ask([request(sample, turns, roomy) for sample, turns in zip(samples, asked, strict=True)])
        finals = [None if answer.text is None else tagged(answer.text, "answer") for answer in first]
        second: dict[int, Answer] = {}
        if self.extract == "ask":
            missing = [i for i, answer in enumerate(first) if answer.text is not None and finals[i] is None]
            if missing:
                questions = [self._again(samples[i], asked[i], first[i].text or "", settings) for i in missing]
                second = dict(zip(missing, ask(questions), strict=True))
        return [self._answer(answer, finals[i], second.get(i)) for i, answer in enumerate(first)]

    def _again(self, sample: Sample, turns: tuple[Turn, ...], reasoning: str, settings: Generation) -> Request:
        said = Turn(role="assistant", content=(reasoning,))
        return request(sample, (*turns, said, Turn(role="user", content=(self.question,))), settings)

    @staticmethod
    def _answer(first: Answer, final: str | None, second: Answer | None) -> Answer:
        if first.text is None:
            return first
        transcript: list[dict[str, Any]] = [{"role": "reasoning", "text": first.text, **tokens(first)}]
        calls = [first]
        if second is not None:
            calls.append(second)
            transcript.append({"role": "final answer", "text": second.text, "error": second.error, **tokens(second)})
            if second.text is not None:
                final = tagged(second.text, "answer") or second.text
        # Without a final answer the whole text goes on: whether it can be read is the benchmark's judgement.
        text = first.text if final is None else final
        return Answer(sample_id=first.sample_id, text=text, transcript=tuple(transcript), **cost(calls))
