"""What the answers cost: calls, tokens and, where prices are given, money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from infimed_core import Answer, Row


class Price(Row):
    """What a million tokens cost, in one currency."""

    prompt: float = Field(ge=0.0, description="Price of a million tokens of the prompt.")
    answer: float = Field(ge=0.0, description="Price of a million tokens of the answer.")


class Ledger:
    """Calls and tokens by model. All answers count, those that an earlier start of the run paid for as well."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, int]] = {}

    def add(self, model: str, answers: Iterable[Answer]) -> None:
        """Count answers of a model; those that failed are no calls that were paid for."""
        names = ("calls", "prompt_tokens", "answer_tokens", "calls_without_count")
        line = self._lines.setdefault(model, dict.fromkeys(names, 0))
        for answer in answers:
            if answer.error is None:
                line["calls"] += answer.num_calls
                line["prompt_tokens"] += answer.num_prompt_tokens or 0
                line["answer_tokens"] += answer.num_answer_tokens or 0
                line["calls_without_count"] += answer.num_prompt_tokens is None or answer.num_answer_tokens is None

    def facts(self, prices: Mapping[str, Price]) -> dict[str, Any]:
        """The ledger for the record; ``price`` is ``None`` where a model has no price or a call told no tokens."""
        facts: dict[str, Any] = {}
        for model, line in sorted(self._lines.items()):
            price = prices.get(model)
            known = price is not None and not line["calls_without_count"]
            money = (
                (line["prompt_tokens"] * price.prompt + line["answer_tokens"] * price.answer) / 1e6
                if known and price is not None
                else None
            )
            facts[model] = {**line, "price": None if money is None else round(money, 6)}
        return facts
