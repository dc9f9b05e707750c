"""Rewards for the form of an answer: its tags, its length, its variety."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from infimed_core import Reward, Rollout, Score
from infimed_plugins.rewards.tags import parts_of

_WORD = re.compile(r"[\u0e01-\u0e2e\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
"""A word; of scripts without spaces between words (Thai, Japanese, Chinese) and of Korean a character."""


class Format(Reward):
    """1 for ``<think>`` a thought ``</think><answer>`` an answer ``</answer>`` and nothing else, each tag once; else 0.

    A thought of fewer than ``least_words`` different words is none; numbers alone are no words.
    """

    version: ClassVar[str] = "2"

    thought: bool = Field(default=True, description="Whether a thought is asked for, or the answer tags alone.")
    least_words: int = Field(default=3, ge=0, description="Different words that a thought has at least.")

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """1 or 0, with what is missing."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        parts = parts_of(rollout.text, self.thought)
        if parts is None:
            return Score(value=0.0, reasons=("form",))
        if not parts.answer or not re.search(r"\w", parts.answer):
            return Score(value=0.0, reasons=("empty_answer",))
        words = {word for word in _WORD.findall((parts.thought or "").casefold()) if re.search(r"[^\W\d_]", word)}
        if self.thought and len(words) < self.least_words:
            return Score(value=0.0, reasons=("empty_thought",))
        return Score(value=1.0)


class Length(Reward):
    """1 up to ``most_tokens``, then falling to 0 at ``limit`` (as DAPO, arXiv 2503.14476, punishes); 0 where cut."""

    most_tokens: int = Field(ge=1, description="Longest answer that is not punished.")
    limit: int = Field(ge=1, description="Length from which an answer gets nothing.")
    least_tokens: int = Field(default=1, ge=0, description="Shorter answers get nothing.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.least_tokens <= self.most_tokens <= self.limit:
            raise ValueError("least_tokens, most_tokens and limit must come in that order")
        return self

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """From 0 to 1 by the number of tokens."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        if not rollout.finished:
            return Score(value=0.0, reasons=("cut",))
        if rollout.num_tokens < self.least_tokens:
            return Score(value=0.0, reasons=("too_short",))
        if rollout.num_tokens <= self.most_tokens:
            return Score(value=1.0)
        room = max(1, self.limit - self.most_tokens)
        value = max(0.0, 1.0 - (rollout.num_tokens - self.most_tokens) / room)
        return Score(value=value, reasons=("too_long",))


class Repetition(Reward):
    """The share of runs of ``run`` words that are not there twice; texts shorter than two runs get 1.

    Scripts without spaces are counted by character.
    """

    version: ClassVar[str] = "2"

    run: int = Field(default=4, ge=1, description="Words of a run.")

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """From 0 (the same again and again) to 1."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        words = _WORD.findall(rollout.text.casefold())
        runs = [tuple(words[i : i + self.run]) for i in range(len(words) - self.run + 1)]
        if len(words) < 2 * self.run:
            return Score(value=1.0)
        value = len(set(runs)) / len(runs)
        return Score(value=value, reasons=("repeats",) if value < 0.8 else ())
