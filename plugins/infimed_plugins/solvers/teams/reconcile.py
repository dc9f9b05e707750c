"""ReConcile: several models answer with their confidence, see one another's reasons, and vote.

Chen et al., "ReConcile: Round-Table Conference Improves Reasoning via Consensus among Diverse LLMs" (ACL 2024). The
steps and the weights of the vote are the paper's; the prompts are ours, and the convincing examples, which need
training questions, are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Sample, Solver
from infimed_plugins.solvers.asking import normalised, settings_of, tagged
from infimed_plugins.solvers.teams.case import FINAL, Case, Wanted, ask_all, final_of, roomy

SELF = "graded"
"""The name of the model that is graded, among ``models``."""
CONFIDENCE = "Then give your confidence, a number from 0 to 1, inside <confidence></confidence>."


class ReConcile(Solver):
    """A round table of ``agents``: rounds until all agree, then a vote weighed by recalibrated confidence."""

    agents: tuple[str, ...] = Field(
        default=(SELF, SELF, SELF),
        min_length=2,
        description="Who sits at the table: names in 'models:', or 'graded' for the model that is graded.",
    )
    rounds: int = Field(default=3, ge=0, description="Most rounds of discussion after the first answers.")
    temperature: float = Field(default=0.7, ge=0.0, description="Of all answers; seats of one model must differ.")
    max_opinion_tokens: int = Field(default=256, ge=1, description="Most new tokens of an answer with its reasons.")

    def models(self) -> tuple[str, ...]:
        """The other models at the table."""
        return tuple(dict.fromkeys(name for name in self.agents if name != SELF))

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; its confidence is the share of the vote."""
        settings = roomy(settings_of(generation), self.max_opinion_tokens)
        cases = [Case(sample) for sample in samples]
        still_open = list(cases)
        for number in range(self.rounds + 1):
            for seat, name in enumerate(self.agents):
                # a seat of its own draws its own answers, and a cache never gives one seat's answer to another
                update = {"temperature": self.temperature, "seed": settings.seed + seat}
                model = None if name == SELF else name
                wanted = [
                    Wanted(
                        case,
                        self._seat(seat),
                        "",
                        self._seen(case) + f"Reason step by step. {FINAL} {CONFIDENCE}",
                        model,
                    )
                    for case in still_open
                ]
                said = ask_all(ask, wanted, settings.model_copy(update=update))
                for case, text in zip(still_open, said, strict=True):
                    case.transcript[-1]["round"] = number
                    case.facts.setdefault("new", {})[seat] = text
            for case in still_open:
                case.facts["said"] = case.facts.pop("new")
            still_open = [case for case in still_open if len(self._votes(case)) > 1]
            if not still_open:
                break
        for case in cases:
            self._vote(case)
        return [case.answer() for case in cases]

    def _seat(self, seat: int) -> str:
        return f"agent {seat + 1} ({self.agents[seat]})"

    def _seen(self, case: Case) -> str:
        """The answers so far in groups, each with its reasons and confidences."""
        groups: dict[str, list[str]] = defaultdict(list)
        for seat, text in case.facts.get("said", {}).items():
            if text:
                reasons = re.sub(r"<confidence>.*?</confidence>", "", text, flags=re.DOTALL).strip()
                groups[final_of(text)].append(f"{self._seat(seat)}, confidence {confidence_of(text):.2f}: {reasons}")
        if not groups:
            return ""
        lines = [f"Answer '{answer}', given by {len(own)}:\n" + "\n".join(own) for answer, own in groups.items()]
        return "Answers of the round before:\n" + "\n".join(lines) + "\n\nConsider them. "

    @staticmethod
    def _votes(case: Case) -> dict[str, float]:
        """The weight of every answer, by what makes two alike."""
        votes: dict[str, float] = defaultdict(float)
        for text in case.facts["said"].values():
            if text:
                votes[normalised(final_of(text))] += weight(confidence_of(text))
        return votes

    def _vote(self, case: Case) -> None:
        votes = self._votes(case)
        if votes:
            best = max(votes, key=votes.__getitem__)
            texts = (final_of(text) for text in case.facts["said"].values() if text)
            case.decided = next(text for text in texts if normalised(text) == best)
            case.confidence = votes[best] / sum(votes.values())


def confidence_of(text: str) -> float:
    """The confidence that an answer states, 0 to 1; 0.5 where it states none."""
    found = re.search(r"\d+(?:\.\d+)?", tagged(text, "confidence") or "")
    value = float(found[0]) if found else 0.5
    return min(1.0, value / 100 if value > 1 else value)


def weight(confidence: float) -> float:
    """The paper's recalibration: models that say 0.8 to 0.9 are right less often than that."""
    if confidence >= 1.0:
        return 1.0
    for least, own in ((0.9, 0.8), (0.8, 0.5), (0.6, 0.3)):
        if confidence >= least:
            return own
    return 0.1
