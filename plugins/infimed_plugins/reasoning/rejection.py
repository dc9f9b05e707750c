"""The synthesizer ``rejection-sampling``: many answers of a teacher, of which the right and sound ones are learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import ClassVar

from pydantic import Field, model_validator

from infimed_core import (
    Benchmark,
    Component,
    ComponentRef,
    Fault,
    Generation,
    InfimedError,
    Sample,
    SynthesisContext,
    Synthesizer,
    load_plugins,
)
from infimed_plugins.reasoning.checks import Limits
from infimed_plugins.reasoning.costs import Price
from infimed_plugins.reasoning.draws import Drawing
from infimed_plugins.reasoning.reflection import Reflective, digest_of_templates, read_templates
from infimed_plugins.reasoning.routing import Router

AT_ONCE = 64
"""Questions that are drawn for together."""
INSTRUCTION = "Reason step by step about the findings. Then give the final answer alone inside <answer></answer>."
"""That of the solver ``chain-of-thought``, so that a model is asked as it was taught."""
HINT = (
    "The accepted answer to this question is: {answer}\nWrite the reasoning that leads to it from what the image "
    "shows, as if you had not seen it, and end with the same answer."
)


class RejectionSampling(Synthesizer):
    """Draws ``draws`` answers of a teacher to every question that can be checked, and learns from the right ones.

    How many of the draws are right decides: from ``keep_at`` on the best rationale is kept; from ``escalate_at`` on a
    stronger teacher is asked; under that the sample is left out. Every rationale is checked (a final answer, length,
    language, repetition, an answer that was known beforehand) and scored. The numbers 6 and 3 of 8 and
    the two roads are InfiMed2's (arXiv 2609.34798); the checks and the score are our own choice.
    """

    nested: ClassVar[Mapping[str, str]] = {"grader": "benchmark"}

    grader: ComponentRef = Field(description="The benchmark by whose strict rules answers are graded.")
    teacher: str | None = Field(
        default=None,
        description="Which of the run's models is asked; without one the reasoning that a sample brings is judged.",
    )
    draws: int = Field(default=8, ge=1, le=1000, description="Answers to every question.")
    temperature: float = Field(default=1.0, ge=0.0, description="Of the draws.")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="Nucleus of the draws.")
    max_new_tokens: int = Field(default=1024, ge=1, description="Longest draw.")
    instruction: str = Field(default=INSTRUCTION, description="Added under every question, in the data made too.")
    where: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict, description="Only samples with these tags, as in a stage's mix."
    )
    keep_at: int = Field(default=6, ge=1, description="Right draws from which on the teacher's rationale is kept.")
    escalate_at: int = Field(default=3, ge=0, description="Right draws from which on a stronger teacher is asked.")
    stronger: str | None = Field(
        default=None, description="The stronger teacher, of the run's models; without one such samples are left out."
    )
    stronger_draws: int = Field(default=4, ge=1, le=1000, description="Answers of the stronger teacher.")
    give_answer: bool = Field(default=True, description="Tell the stronger teacher the accepted answer.")
    hint: str = Field(default=HINT, description="How it is told; {answer} stands for it.")
    recover_with: str | None = Field(
        default=None,
        description="A model that must find the answer from a kept rationale without it; others are refused.",
    )
    least_words: int = Field(default=5, ge=1, description="Fewest words of a rationale.")
    most_words: int = Field(default=600, ge=1, description="Most words of a rationale.")
    languages: tuple[str, ...] = Field(default=(), description="Languages of rationales; the sample's own by default.")
    answer_form: str = Field(
        default="<think>{reasoning}</think>\n<answer>{answer}</answer>",
        description="How reasoning and answer are learned; the default is what the reward 'format' asks for.",
    )
    reflective: Reflective = Field(default_factory=Reflective, description="Which samples get the reflective pattern.")
    prices: dict[str, Price] = Field(default_factory=dict, description="Price of a million tokens, by model.")

    @model_validator(mode="after")
    def _in_order(self) -> RejectionSampling:
        if self.teacher is not None and not self.escalate_at <= self.keep_at <= self.draws:
            raise ValueError("must be in order: escalate_at <= keep_at <= draws")
        if self.teacher is not None and self.draws > 1 and self.temperature == 0:
            raise ValueError("temperature 0 gives the same answer every time; raise it, or set draws: 1")
        if self.least_words > self.most_words:
            raise ValueError("least_words is more than most_words")
        if any(part not in self.answer_form for part in ("{reasoning}", "{answer}")):
            raise ValueError("answer_form must hold {reasoning} and {answer}")
        if "{answer}" not in self.hint:
            raise ValueError("hint must hold {answer}")
        return self

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Patterns that cannot be read, and a stronger teacher that is never asked."""
        try:
            read_templates(self.reflective.templates)
        except InfimedError as error:
            return {"reflective.templates": str(error)}
        unused = {"stronger": self.stronger, "recover_with": self.recover_with} if self.teacher is None else {}
        return {name: "needs a teacher; name one of 'models:' in 'teacher'" for name, value in unused.items() if value}

    def identity(self) -> str:
        """Changes with the settings and with the patterns."""
        return f"{super().identity()}|{digest_of_templates(self.reflective.templates)}"

    def models(self) -> Sequence[str]:
        """The teacher, the stronger one, and the model that recovers answers."""
        return [name for name in (self.teacher, self.stronger, self.recover_with) if name is not None]

    @property
    def limits(self) -> Limits:
        """What a rationale is held to."""
        return Limits(self.least_words, self.most_words, self.languages)

    @cached_property
    def benchmark(self) -> Benchmark:
        """The grader."""
        made: Benchmark = load_plugins().find("benchmark", self.grader.use).model_validate(self.grader.settings)  # type: ignore[assignment]
        return made

    def synthesize(self, samples: Iterable[Sample], context: SynthesisContext) -> Iterator[Sample | Fault]:
        """For every sample the one with reasoning, or why there is none; ``outcomes.jsonl`` holds every draw."""
        generation = Generation(max_new_tokens=self.max_new_tokens, top_p=self.top_p)
        drawing = Drawing(context.ask, self.benchmark, generation)
        with (context.directory / "outcomes.jsonl").open("w", encoding="utf-8") as outcomes:
            router = Router(self, drawing, context, outcomes)
            waiting = iter(samples)
            while batch := list(islice(waiting, AT_ONCE)):
                yield from router.rows(batch)
        context.details |= router.facts() | {"cost": drawing.ledger.facts(self.prices)}
        context.complete = router.num_unanswered == 0

    def instruction_for(self, question: Sample, told: bool) -> str:
        """What stands under a question; with the accepted answer where it is told."""
        if not told:
            return self.instruction
        return f"{self.instruction}\n\n{self.hint.replace('{answer}', accepted(question))}"

    def made_text(self, reasoning: str, answer: str) -> str:
        """The text that is learned."""
        values = {"{reasoning}": reasoning, "{answer}": answer}
        return re.sub(r"\{(?:reasoning|answer)\}", lambda match: values[match.group(0)], self.answer_form)


def accepted(question: Sample) -> str:
    """The first accepted answer."""
    return question.references[0]
