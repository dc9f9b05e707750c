"""MDAgents: the case's complexity decides who answers: one clinician, a team that discusses, or teams in turn.

Kim et al., "MDAgents: An Adaptive Collaboration of LLMs for Medical Decision-Making" (NeurIPS 2024). The steps are the
paper's; the prompts are ours, and the examples that the paper shows the single clinician are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from infimed_core import Answer, Ask, Generation, Sample, Solver
from infimed_plugins.solvers.asking import normalised, settings_of
from infimed_plugins.solvers.teams.case import FINAL, Case, Wanted, ask_all, ask_each, final_of, named_list, roomy

Complexity = Literal["low", "moderate", "high"]
TEAMS = ("initial assessment", "specialist", "final review")
"""The teams of a case of high complexity, in their order."""


class MDAgents(Solver):
    """Check the complexity, recruit, discuss, decide; the transcript says which way each case went.

    ``complexity: ask`` lets the model judge each case, as in the paper; a fixed one sends all cases one way.
    """

    complexity: Literal["ask", "low", "moderate", "high"] = Field(
        default="ask", description="Who judges it, or what it is."
    )
    experts: int = Field(default=3, ge=2, description="Experts of a team.")
    rounds: int = Field(default=2, ge=0, description="Most rounds of discussion of a case of moderate complexity.")
    max_opinion_tokens: int = Field(default=256, ge=1, description="Most new tokens of an opinion or a report.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order."""
        settings = roomy(settings_of(generation), self.max_opinion_tokens)
        cases = [Case(sample) for sample in samples]
        self._judge_complexity(cases, ask, settings)
        ways = {"low": self._alone, "moderate": self._discussed, "high": self._in_teams}
        for name, way in ways.items():
            chosen = [case for case in cases if case.facts["complexity"] == name]
            if chosen:
                way(chosen, ask, settings)
        return [case.answer() for case in cases]

    def _judge_complexity(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        if self.complexity != "ask":
            for case in cases:
                case.facts["complexity"] = self.complexity
            return
        note = (
            "Do not answer yet. How complex is this case? low: one clinician can answer it. moderate: several "
            "specialists should discuss it. high: several teams must work on it. Reply with one word: "
            "low, moderate or high."
        )
        replies = ask_each(
            ask, cases, settings, "complexity", "You direct cases to those who can answer them.", lambda _: note
        )
        for case, text in zip(cases, replies, strict=True):
            found = re.findall(r"\b(low|moderate|high)\b", text.lower())
            case.facts["complexity"] = found[0] if found else "moderate"

    @staticmethod
    def _alone(cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        note = f"Reason step by step. {FINAL}"
        replies = ask_each(ask, cases, settings, "primary care", "You are a primary care clinician.", lambda _: note)
        for case, text in zip(cases, replies, strict=True):
            case.decided = final_of(text) or None

    def _recruit(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        note = f"Do not answer yet. List {self.experts} specialists who should discuss this case, one a line."
        replies = ask_each(ask, cases, settings, "recruiter", "You put together a medical team.", lambda _: note)
        for case, text in zip(cases, replies, strict=True):
            names = named_list(text, self.experts)
            names += [f"clinician {number}" for number in range(len(names) + 1, self.experts + 1)]
            case.facts["experts"] = names

    def _discussed(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        self._recruit(cases, ask, settings)
        still_open = list(cases)
        for number in range(self.rounds + 1):
            wanted = [
                Wanted(
                    case, f"{name} (round {number})", f"You are a {name} in a team of specialists.",
                    self._opinions(case) + f"Give your opinion in a few sentences. {FINAL}",
                )
                for case in still_open
                for name in case.facts["experts"]
            ]  # fmt: skip
            said = iter(ask_all(ask, wanted, settings))
            for case in still_open:
                case.facts["opinions"] = {name: next(said) for name in case.facts["experts"]}
            still_open = [case for case in still_open if len(self._answers(case)) > 1]
        for case in cases:
            if len(self._answers(case)) == 1:
                case.decided = next(iter(self._answers(case).values()))
        undecided = [case for case in cases if case.decided is None]
        replies = ask_each(
            ask, undecided, settings, "moderator", "You moderate a team of specialists.",
            lambda case: self._opinions(case) + f"Weigh them and decide. {FINAL}",
        )  # fmt: skip
        for case, text in zip(undecided, replies, strict=True):
            case.decided = final_of(text) or None

    @staticmethod
    def _answers(case: Case) -> dict[str, str]:
        """The different answers of the experts, by what makes two alike."""
        return {normalised(final_of(text)): final_of(text) for text in case.facts["opinions"].values() if text}

    @staticmethod
    def _opinions(case: Case) -> str:
        said = [f"{name}: {text}" for name, text in case.facts.get("opinions", {}).items() if text]
        return "Opinions of the team:\n" + "\n".join(said) + "\n\n" if said else ""

    def _in_teams(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        for case in cases:
            case.facts["reports"] = []
        for team in TEAMS:
            self._recruit(cases, ask, settings)
            wanted = [
                Wanted(
                    case, f"{team}: {name}", f"You are a {name} in the {team} team.",
                    self._reports(case) + "Investigate the case from your field and report in a few sentences.",
                )
                for case in cases
                for name in case.facts["experts"]
            ]  # fmt: skip
            said = iter(ask_all(ask, wanted, settings))
            for case in cases:
                case.facts["opinions"] = {name: next(said) for name in case.facts["experts"]}
            reports = ask_each(
                ask, cases, settings, f"{team}: lead", f"You lead the {team} team.",
                lambda case: self._reports(case) + self._opinions(case) + "Sum up for your team in a short report.",
            )  # fmt: skip
            for case, text in zip(cases, reports, strict=True):
                case.facts["reports"].append(f"{team} team: {text}")
        replies = ask_each(
            ask, cases, settings, "decision", "You decide after all teams have reported.",
            lambda case: self._reports(case) + FINAL,
        )  # fmt: skip
        for case, text in zip(cases, replies, strict=True):
            case.decided = final_of(text) or None

    @staticmethod
    def _reports(case: Case) -> str:
        return "Reports so far:\n" + "\n".join(case.facts["reports"]) + "\n\n" if case.facts["reports"] else ""
