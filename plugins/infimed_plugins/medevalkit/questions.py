"""The benchmark ``questions``: a test set of one's own, from any reader, graded by the strict rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from infimed_core import (
    Answer,
    Ask,
    Benchmark,
    Component,
    DataError,
    Fault,
    Generation,
    Media,
    PluginError,
    Reader,
    Sample,
    Score,
    Turn,
    Use,
    load_plugins,
    modality_of,
    task_type_of,
)
from infimed_plugins.medevalkit.choice import read_choice
from infimed_plugins.medevalkit.choice_forms import LETTERS
from infimed_plugins.medevalkit.closed import grade_closed, is_polar, open_measures, open_reason
from infimed_plugins.medevalkit.grading import gold_letters
from infimed_plugins.medevalkit.judging import BY_JUDGE, judge_open
from infimed_plugins.medevalkit.reading import final_answer, short_answer

ASK_FOR_LETTER = "Answer with the letter of the right option."


class Questions(Benchmark):
    """A test set of your own: every sample of a reader is a question, its last assistant turn the accepted answer.

    A sample with ``options`` is multiple choice, one answered yes or no is closed, any other is open: right where it
    equals an accepted answer after normalising, and a case for a judge. ``references`` of a sample, where it has any,
    go before its last turn.
    """

    version: ClassVar[str] = "1"
    scorings: ClassVar[tuple[str, ...]] = ("strict",)
    baseline_by: ClassVar[tuple[str, ...]] = ("form",)
    cluster_by: ClassVar[str] = "cluster"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "token-f1", "rouge-l")
    judging: ClassVar[str] = BY_JUDGE["visual"]

    reader: Use = Field(description="The reader of the samples and its settings, as under data.sources.")
    instruction: str = Field(default="", description="Added under every question.")
    tags: tuple[str, ...] = Field(default=(), description="Tags by which results are shown in parts, besides the form.")
    cluster: str | None = Field(
        default=None, description="Tag of what questions share (a patient, a study); their first image by default."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer.")

    @property
    def group_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """The form of the question and the tags that were asked for."""
        return ("form", *self.tags)

    @cached_property
    def _reader(self) -> Reader:
        made: Reader = load_plugins().find("reader", self.reader.use).model_validate(self.reader.settings)  # type: ignore[assignment]
        return made

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A reader that is not there, or that its settings do not fit."""
        try:
            found = self._reader.problems(run)
        except PluginError as error:
            return {"reader.use": str(error)}
        except ValidationError as error:
            settings = [".".join(map(str, item["loc"])) for item in error.errors()]
            messages = [item["msg"] for item in error.errors()]
            return {f"reader.with.{setting}": told for setting, told in zip(settings, messages, strict=True)}
        return {f"reader.with.{setting}": told for setting, told in found.items()}

    def generation(self) -> Generation:
        """Greedy."""
        return Generation(max_new_tokens=self.max_new_tokens)

    def fingerprint(self) -> str:
        """Changes with the settings and with what the reader reads."""
        return hashlib.sha256(f"{self.identity()}|{self.version}|{self._reader.fingerprint()}".encode()).hexdigest()

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question in the reader's order; a row that is none is a fault that says why."""
        reader = self._reader
        for shard in reader.shards():
            for row in reader.read(shard):
                if isinstance(row, Fault):
                    yield row
                    continue
                try:
                    yield self._question(row)
                except DataError as error:
                    where = reader.place() or shard
                    yield Fault(sample_id=row.id, code=error.code, detail=str(error), where=where)

    def _question(self, sample: Sample) -> Sample:
        turns = list(sample.turns)
        last = turns.pop() if turns and turns[-1].role == "assistant" else None
        accepted = [text.strip() for text in (sample.references or ((last.text,) if last else ())) if text.strip()]
        if not accepted:
            raise DataError("no_answer", "there is no accepted answer: give references, or a last assistant turn")
        if not turns or turns[-1].role != "user":
            raise DataError("no_question", "there is no user turn before the answer")
        letters = ""
        if sample.options:
            options = list(sample.options)
            letters = gold_letters(accepted, options, multiple=False)  # first, for an option may be the word "Bad"
            letters = letters or gold_letters(accepted, options, multiple=True)
            letters = letters or read_choice(accepted[0], options, multiple=True).letters
            if not letters:
                raise DataError("gold_not_among_options", f"the accepted answer '{accepted[0]}' is none of the options")
            accepted = [letters, *(sample.options[LETTERS.index(letter)] for letter in letters)]
        form = "choice" if sample.options else "closed" if is_polar(accepted[0]) else "open"
        tags = dict(sample.tags) | {"form": form, "cluster": self._cluster_of(sample)}
        tags["modality"] = modality_of(tags.get("modality")) if sample.media or "modality" in tags else "text"
        tags["task_type"] = task_type_of(tags.get("task_type"))
        text = turns[-1].text.strip()
        turns[-1] = self._asked(turns[-1], sample.options)
        record: dict[str, Any] = {"question": text, "answer": accepted}
        return sample.model_copy(
            update={
                "turns": tuple(turns),
                "references": tuple(accepted),
                "tags": tags,
                "meta": {**sample.meta, "record": record},
            }
        )

    def _cluster_of(self, sample: Sample) -> str:
        if self.cluster is not None:
            return sample.tags.get(self.cluster, sample.id)
        return _identity(sample.media[0]) if sample.media else sample.id

    def _asked(self, turn: Turn, options: Sequence[str]) -> Turn:
        """The turn with the options under it, unless its text shows them, and the instruction."""
        text = turn.text.casefold()
        added = []
        if options and not all(option.casefold() in text for option in options):
            added += [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
            added += [] if self.instruction else [ASK_FOR_LETTER]
        if self.instruction:
            added.append(self.instruction)
        if not added:
            return turn
        return turn.model_copy(update={"content": (*turn.content, "\n" + "\n".join(added))})

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """By the form of the question; what cannot be read is unscored with a reason."""
        form = sample.tags["form"]
        if form == "choice":
            wanted = sample.references[0]
            choice = read_choice(answer.text, sample.options, multiple=len(wanted) > 1)
            return _score(float(choice.letters == wanted) if choice.letters else None, choice.reason, choice.letters)
        if form == "closed":
            verdict = grade_closed(sample.references[0], answer.text)
            return _score(None if verdict.right is None else float(verdict.right), verdict.reason, verdict.read)
        if reason := open_reason(answer.text):
            return _score(None, reason, "")
        measured = [open_measures(reference, answer.text) for reference in sample.references]
        best = max(measured, key=lambda values: (values["em"], values["f1"]))
        return _score(best["em"], "", short_answer(answer.text or ""), best)

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Open answers by the judge, the others by rule; ``None`` where no question is open."""
        if not any(sample.tags["form"] == "open" for sample in samples):
            return None
        ruled = [self.grade(sample, answer, "strict") for sample, answer in zip(samples, answers, strict=True)]
        return judge_open(lambda sample: sample.tags["form"] == "open", samples, answers, ruled, ask)

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """Of an open question the first accepted answer, and the answer as it is read, without its thought."""
        if sample.tags["form"] != "open":
            return {}
        return {"": (sample.references[0], final_answer(answer.text).text or "")}


def _identity(media: Media) -> str:
    """What tells one medium from another: its content where it came inline, else its place."""
    return media.uri or media.sha256 or hashlib.sha256(media.data or b"").hexdigest()


def _score(value: float | None, reason: str, note: str, parts: Mapping[str, float | None] | None = None) -> Score:
    return Score(
        value=value,
        status="ok" if value is not None else "unscored",
        parts=dict(parts or {}),
        reasons=(reason,) if reason else (),
        note=note or reason,
    )
