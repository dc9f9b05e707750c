"""What asking cost in money, where prices are given: in the run file's report, or on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from infimed_core import InfimedError, Row
from infimed_plugins.reporting.page.figures import listed, mapping

if TYPE_CHECKING:  # `infimed check` opens this file and needs no record
    from infimed_core.records import RunRecord


class Price(Row):
    """Money for a million tokens, in one currency throughout."""

    prompt: float = Field(description="Price of a million tokens of prompts.")
    answer: float = Field(description="Price of a million tokens of answers.")

    def of(self, prompt_tokens: float | None, answer_tokens: float | None) -> float | None:
        """What so many tokens cost; ``None`` where the model does not tell them."""
        if prompt_tokens is None or answer_tokens is None:
            return None
        return (prompt_tokens * self.prompt + answer_tokens * self.answer) / 1e6


def read_prices(texts: Sequence[str]) -> dict[str, Price]:
    """``MODEL=PROMPT/ANSWER`` each, as in ``gpt=1.25/10``.

    Raises:
        InfimedError: a text is not of this form.
    """
    found = {}
    for text in texts:
        name, sign, amounts = text.rpartition("=")
        prompt, slash, answer = amounts.partition("/")
        try:
            if not (name and sign and slash):
                raise ValueError
            found[name] = Price(prompt=float(prompt), answer=float(answer))
        except ValueError:
            told = "write MODEL=PROMPT/ANSWER, money for a million tokens of each, as in gpt=1.25/10"
            raise InfimedError(f"--price {text}: {told}") from None
    return found


def prices_of(record: RunRecord, given: Mapping[str, Price] | None = None) -> dict[str, Price]:
    """The prices by model: those of the run file's ``report:``, and those that are ``given`` now."""
    found: dict[str, Price] = {}
    for use in listed(record.config.get("report")):
        for name, price in mapping(mapping(mapping(use).get("with")).get("prices")).items():
            found[name] = Price.model_validate(price)
    return found | dict(given or {})
