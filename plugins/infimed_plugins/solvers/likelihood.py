"""Ask how likely each choice is as the answer, instead of letting the model write one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Generation, Sample, Solver
from infimed_plugins.solvers.asking import question_of, request, settings_of, with_system

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Likelihood(Solver):
    """The log-likelihood of every choice after the question; the answer is the likeliest one.

    The choices of a question are ``meta["choices"]`` where a benchmark puts them there, else its options' letters.
    ``confidence`` is the share of the likeliest one among all of them. A model that gives no log-probabilities answers
    with an error.
    """

    system: str = Field(default="", description="System prompt put before the question; none where it is empty.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order, with the log-likelihoods of its choices."""
        settings = one_token(settings_of(generation))
        requests = [
            request(sample, with_system(question_of(sample), self.system), settings).model_copy(
                update={"continuations": choices_of(sample)}
            )
            for sample in samples
        ]
        return [chosen(asked.continuations, answer) for asked, answer in zip(requests, ask(requests), strict=True)]


def choices_of(sample: Sample) -> tuple[str, ...]:
    """What may be the answer to a question."""
    choices = sample.meta.get("choices")
    if isinstance(choices, list | tuple) and choices:
        return tuple(map(str, choices))
    return tuple(LETTERS[: len(sample.options)])


def compares_likelihoods(sample: Sample) -> bool:
    """Whether the sample's benchmark compares how likely given choices are."""
    return bool(sample.meta.get("choices"))


def one_token(settings: Generation) -> Generation:
    """The settings of a question of which no word is written: none is drawn, and nothing stops it."""
    return settings.model_copy(update={"max_new_tokens": 1, "temperature": 0.0, "stop": ()})


def chosen(choices: Sequence[str], answer: Answer) -> Answer:
    """The likeliest choice as the answer, with its share among all; an error where the model gives no likelihoods."""
    if answer.error is not None:
        return answer
    found = answer.log_likelihoods
    if not choices or len(found) != len(choices):
        told = (
            "no_choices: the question has no choices whose likelihood could be asked for"
            if not choices
            else "no_log_likelihoods: this model gives no log-probabilities of given texts; use a local checkpoint "
            "(transformers, or vllm for letters) or a server that returns 'logprobs'"
        )
        return Answer(sample_id=answer.sample_id, error=told, num_calls=answer.num_calls)
    best = max(range(len(found)), key=found.__getitem__)
    share = 1.0 / sum(math.exp(value - found[best]) for value in found)
    return answer.model_copy(update={"text": choices[best], "confidence": share})
