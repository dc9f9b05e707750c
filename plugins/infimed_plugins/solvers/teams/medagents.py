"""MedAgents: experts are gathered, analyse, and agree on a report from which the answer is drawn.

Tang et al., "MedAgents: Large Language Models as Collaborators for Zero-shot Medical Reasoning" (Findings of ACL 2024).
The five steps are the paper's, the prompts ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infimed_core import Answer, Ask, Generation, Sample, Solver
from infimed_plugins.solvers.asking import settings_of
from infimed_plugins.solvers.teams.case import FINAL, Case, Wanted, ask_all, ask_each, final_of, named_list, roomy

GENERALIST = "general practice"
"""Who is asked where no field could be read from the reply."""


class MedAgents(Solver):
    """Gather experts for the question and for its options, analyse, sum up, revise until all agree, decide."""

    question_experts: int = Field(default=5, ge=1, description="Fields that the question is analysed from.")
    option_experts: int = Field(
        default=2, ge=0, description="Fields that the options are analysed from; 0 leaves it out."
    )
    max_revisions: int = Field(default=3, ge=0, description="Most revisions of the report.")
    max_opinion_tokens: int = Field(default=256, ge=1, description="Most new tokens of an analysis or a report.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        """One answer per sample, in order; the transcript holds every step."""
        settings = settings_of(generation)
        long = roomy(settings, self.max_opinion_tokens)
        cases = [Case(sample) for sample in samples]
        self._gather(cases, ask, long)
        self._analyse(cases, ask, long)
        self._agree(cases, ask, long)
        decisions = ask_each(
            ask, cases, long, "decision", "You decide for a medical team.",
            lambda case: f"The team's report:\n{case.facts['report']}\n\n{FINAL}",
        )  # fmt: skip
        for case, text in zip(cases, decisions, strict=True):
            case.decided = final_of(text) or None
        return [case.answer() for case in cases]

    def _gather(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        for key, number, of in (
            ("experts", self.question_experts, "the case"),
            ("option_experts", self.option_experts, "the options of the question"),
        ):
            asked = [case for case in cases if number and (key == "experts" or case.sample.options)]
            note = f"Do not answer yet. List {number} medical specialties that are most relevant to {of}, one a line."
            system = "You put together a medical team."
            replies = ask_all(ask, [Wanted(case, f"gathering: {key}", system, note) for case in asked], settings)
            for case in cases:
                case.facts[key] = []
            for case, text in zip(asked, replies, strict=True):
                case.facts[key] = named_list(text, number) or [GENERALIST]

    def _analyse(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        note = "Analyse the case from your field: what matters here, and why? Do not decide yet."
        wanted = [
            Wanted(case, f"{name} (question)", f"You are a specialist in {name}.", note)
            for case in cases
            for name in case.facts["experts"]
        ]
        said = iter(ask_all(ask, wanted, settings))
        for case in cases:
            case.facts["analyses"] = [f"{name}: {next(said)}" for name in case.facts["experts"]]
        wanted = [
            Wanted(
                case, f"{name} (options)", f"You are a specialist in {name}.",
                "Analyses of the case:\n" + "\n".join(case.facts["analyses"])
                + "\n\nAnalyse each option from your field: what speaks for it and against it?",
            )
            for case in cases
            for name in case.facts["option_experts"]
        ]  # fmt: skip
        said = iter(ask_all(ask, wanted, settings))
        for case in cases:
            case.facts["analyses"] += [f"{name} on the options: {next(said)}" for name in case.facts["option_experts"]]
        reports = ask_each(
            ask, cases, settings, "report", "You sum up for a medical team.",
            lambda case: "Analyses:\n" + "\n".join(case.facts["analyses"])
            + "\n\nSum them up in a short report: key knowledge, then the overall analysis.",
        )  # fmt: skip
        for case, text in zip(cases, reports, strict=True):
            case.facts["report"] = text or "\n".join(case.facts["analyses"])

    def _agree(self, cases: Sequence[Case], ask: Ask, settings: Generation) -> None:
        still_open = list(cases)
        for number in range(self.max_revisions):
            wanted = [
                Wanted(
                    case, f"{name} (vote {number + 1})", f"You are a specialist in {name}.",
                    f"The team's report:\n{case.facts['report']}\n\nDo you agree with it? Begin with yes or no. If no, "
                    "say in one or two sentences what must change.",
                )
                for case in still_open
                for name in case.facts["experts"] + case.facts["option_experts"]
            ]  # fmt: skip
            said = iter(ask_all(ask, wanted, settings))
            for case in still_open:
                votes = [next(said) for _ in case.facts["experts"] + case.facts["option_experts"]]
                case.facts["objections"] = [
                    vote for vote in votes if vote[:10].lower().lstrip(" *\"'<").startswith("no")
                ]
            still_open = [case for case in still_open if case.facts["objections"]]
            if not still_open:
                return
            revised = ask_each(
                ask, still_open, settings, f"report {number + 2}", "You sum up for a medical team.",
                lambda case: f"The team's report:\n{case.facts['report']}\n\nObjections:\n"
                + "\n".join(case.facts["objections"]) + "\n\nWrite the report anew so that they are met.",
            )  # fmt: skip
            for case, text in zip(still_open, revised, strict=True):
                case.facts["report"] = text or case.facts["report"]
