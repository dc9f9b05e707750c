"""The benchmark ``questions``: a test set of one's own, from any reader, graded by the strict rules."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import (
    Answer,
    Ask,
    Benchmark,
    ComponentRef,
    DataError,
    Fault,
    Generation,
    Media,
    Reader,
    Sample,
    Score,
    Turn,
    load_plugins,
    modality_of,
    task_type_of,
)
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.named_options import LETTERS, without_letters
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, grade_open
from infimed_plugins.medevalkit.answers.polar import is_polar
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.grades import explained
from infimed_plugins.medevalkit.grading import best, wording_of
from infimed_plugins.medevalkit.judging import BY_JUDGE, UNREAD_BY_JUDGE, Judged, judge_open, wants_judge
from infimed_plugins.medevalkit.measures import open_measures
from infimed_plugins.medevalkit.rules import digest_of_rules

ASK_FOR_LETTER = "Answer with the letter of the right option."
ASK_FOR_LETTERS = "More than one option may be right. Answer with the letters of all right options."
SEVERAL = re.compile(r"[\s(\[]*[A-Za-z](?:\s*(?:,|;|/|&|\+|、|\band\b)\s*[A-Za-z])*[\s)\].]*", re.IGNORECASE)
"""One letter, or several with signs between; letters run together may be a word ("AD")."""
BOTH = re.compile(r"\s*[(\[]?(?P<letter>[A-Za-z])\s*[.:)\]]+\s*(?P<text>\S.*)", re.DOTALL)
"""An option with its letter: "C. sagittal"."""


LOOKED_AT = 200
"""Rows that ``infimed check`` looks at."""


class Questions(Benchmark):
    """A test set of your own: every sample of a reader is a question, its last assistant turn the accepted answer.

    A sample with ``options`` is multiple choice, one answered yes or no is closed, any other is open: right where it
    equals an accepted answer after normalising, and a case for a judge. ``references`` of a sample, where it has any,
    go before its last turn; any one of them is right. Several right letters at once are one answer: "A, C".
    """

    nested: ClassVar[Mapping[str, str]] = {"reader": "reader"}

    version: ClassVar[str] = "3"
    scorings: ClassVar[tuple[str, ...]] = ("strict",)
    cluster_by: ClassVar[str] = "cluster"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "exact-match", "token-recall", "token-f1", "rouge-l")

    reader: ComponentRef = Field(description="The reader of the samples and its settings, as under data.sources.")
    instruction: str = Field(default="", description="Added under every question.")
    tags: tuple[str, ...] = Field(default=(), description="Tags by which results are shown in parts, besides the form.")
    cluster: str | None = Field(
        default=None, description="Tag of what questions share (a patient, a study); their first image by default."
    )
    choices: tuple[str, ...] = Field(
        default=(),
        description="All answers that a closed question takes (yes, no, maybe); then every answer is read alike.",
    )
    judged: Judged = Field(
        default="open",
        description="What a judge is asked: open answers, those left undecided, or all that no rule could read.",
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer.")

    @property
    def judging(self) -> str:  # type: ignore[override]
        """What a judge decides here and what rules decide."""
        return UNREAD_BY_JUDGE if self.judged == "unread" else BY_JUDGE["visual"]

    @property
    def group_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """The form of the question and the tags that were asked for."""
        return tuple(dict.fromkeys(("form", *self.tags)))

    @cached_property
    def _reader(self) -> Reader:
        made: Reader = load_plugins().find("reader", self.reader.use).model_validate(self.reader.settings)  # type: ignore[assignment]
        return made

    def generation(self) -> Generation:
        """Greedy."""
        return Generation(max_new_tokens=self.max_new_tokens)

    def fingerprint(self) -> str:
        """Changes with the settings, the rules, with what the reader reads and with the size of every medium's file."""
        read = self._reader.fingerprint()
        digest = hashlib.sha256(f"{self.identity()}|{self.version}|{digest_of_rules()}|{read}".encode())
        for uri in self._media_of(read):
            try:
                digest.update(f"|{os.stat(uri).st_size}".encode())
            except OSError:
                digest.update(b"|missing")
        return digest.hexdigest()

    @cached_property
    def _known_media(self) -> dict[str, list[str]]:
        return {}

    def _media_of(self, read: str) -> Sequence[str]:
        """The files of all questions, looked up again when what the reader reads has changed."""
        if read not in self._known_media:
            rows = (row for row in self.samples() if isinstance(row, Sample))
            self._known_media[read] = sorted({item.uri for row in rows for item in row.media if item.uri})
        return self._known_media[read]

    def doubts(self) -> tuple[str, ...]:
        """Tags by which results are to be shown, and that no question has; or that there is none."""
        try:
            rows = list(islice(self.samples(), LOOKED_AT))
        except DataError as error:
            return (str(error),)
        questions = [row for row in rows if isinstance(row, Sample)]
        if not questions:
            return (f"NO QUESTION in the first {len(rows)} rows" + (f"; {rows[0].detail}" if rows else ""),)  # type: ignore[union-attr]
        absent = [tag for tag in self.group_by if not any(tag in question.tags for question in questions)]
        return tuple(
            f"no question of the first {len(questions)} has the tag '{tag}', which 'tags' names" for tag in absent
        )

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question in the reader's order; a row that is none is a fault that says why."""
        reader, seen = self._reader, set[str]()
        for shard in reader.shards():
            for row in reader.read(shard):
                if isinstance(row, Fault):
                    yield row
                    continue
                try:
                    if row.id in seen:
                        raise DataError("duplicate_id", f"a question before it has the id '{row.id}'; give it another")
                    seen.add(row.id)
                    yield self._question(row)
                except DataError as error:
                    where = reader.place() or shard
                    yield Fault(sample_id=row.id, code=error.code, detail=str(error), where=where)

    def _question(self, sample: Sample) -> Sample:
        turns = list(sample.turns)
        last = turns.pop() if turns and turns[-1].role == "assistant" else None
        if sample.tools or any(turn.tool_calls or turn.regions for turn in sample.turns):
            told = "a question with tools or boxes is not asked; set ignore: [tools, objects] to ask it without"
            raise DataError("unsupported_field", told)
        accepted = [text.strip() for text in (sample.references or ((last.text,) if last else ())) if text.strip()]
        if not accepted:
            raise DataError("no_answer", "there is no accepted answer: give references, or a last assistant turn")
        if not turns or turns[-1].role != "user":
            raise DataError("no_question", "there is no user turn before the answer")
        turns[-1] = _without_lettered(turns[-1], sample.options)
        record: dict[str, Any] = {"question": turns[-1].text.strip()}
        if any(not option.strip() for option in sample.options):
            raise DataError("empty_option", "an option is empty, so that it has a letter and no text")
        if sample.options:
            letters = list(dict.fromkeys(right_letters(answer, sample.options) for answer in accepted))
            accepted = [*letters, *(sample.options[LETTERS.index(one)] for one in dict.fromkeys("".join(letters)))]
            record["letters"] = letters
        polar = all(is_polar(answer) for answer in accepted) and len(accepted) == 1
        among = bool(self.choices) and all(key(answer) in map(key, self.choices) for answer in accepted)
        form = "choice" if sample.options else "closed" if polar or among else "open"
        tags = dict(sample.tags) | {"form": form, "cluster": self._cluster_of(sample)}
        tags["modality"] = modality_of(tags.get("modality")) if sample.media or "modality" in tags else "text"
        tags["task_type"] = task_type_of(tags.get("task_type"))
        turns[-1] = self._asked(turns[-1], sample.options, record.get("letters", ()))
        record["answer"] = accepted
        return sample.model_copy(
            update={
                "turns": tuple(turns),
                "references": tuple(accepted),
                "tags": tags,
                "meta": {**sample.meta, "record": record},
            }
        )

    def _cluster_of(self, sample: Sample) -> str:
        if self.cluster is not None and self.cluster not in sample.tags:
            there = f"its tags: {', '.join(sorted(sample.tags))}" if sample.tags else "it has no tags"
            remedy = f"a column of a table is made one by columns: {{tags: {{{self.cluster}: COLUMN}}}}"
            told = f"there is no tag '{self.cluster}', which 'cluster' names ({there})"
            raise DataError("no_cluster", f"{told}; {remedy}")
        if self.cluster is not None:
            return sample.tags[self.cluster]
        return _identity(sample.media[0]) if sample.media else sample.id

    def _asked(self, turn: Turn, options: Sequence[str], right: Sequence[str]) -> Turn:
        """The turn with the options under it, unless its text shows them, and the instruction."""
        added = []
        texts = without_letters(options)
        if options and not _shows(turn.text, texts):
            added += [f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False)]
            several = any(len(letters) > 1 for letters in right)
            added += [] if self.instruction else [ASK_FOR_LETTERS if several else ASK_FOR_LETTER]
        if self.instruction:
            added.append(self.instruction)
        if not added:
            return turn
        return turn.model_copy(update={"content": (*turn.content, "\n" + "\n".join(added))})

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """By the form of the question; what cannot be read is unscored with a reason.

        ``sample`` may be a training sample as well, as where a teacher's answers are graded.
        """
        sample = sample if "record" in sample.meta else self._question(sample)
        form = sample.tags["form"]
        if form == "choice":
            record: Any = sample.meta["record"]
            wanted: list[str] = record["letters"]
            several = any(len(letters) > 1 for letters in wanted)
            asked = str(record["question"])
            choice = read_choice(answer.text, sample.options, several, answer.finish_reason, asked)
            value = float(choice.letters in wanted) if choice.letters else None
            return _score(value, choice.reason, choice.letters, statement=choice.statement)
        record = sample.meta["record"]
        question = str(record["question"]) if isinstance(record, dict) else ""
        ended = answer.finish_reason
        if form == "closed":
            verdict = best([grade_closed(one, answer.text, question, self.choices, ended) for one in sample.references])
        else:
            verdict = best([grade_open(one, answer.text, question, ended) for one in sample.references])
        value = None if verdict.right is None else float(verdict.right)
        if form == "closed" or verdict.reason not in ("", NEEDS_JUDGE):
            return _score(value, verdict.reason, verdict.read, statement=verdict.statement)
        measured = [open_measures(reference, answer.text, ended) for reference in sample.references]
        closest = max(measured, key=lambda values: (values["em"], values["f1"]))
        return _score(value, verdict.reason, verdict.read, closest, verdict.statement)

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Open answers by the judge, the others by rule; ``None`` where no question is open."""
        if self.judged != "unread" and not any(self.is_open(sample) for sample in samples):
            return None
        ruled = [self.grade(sample, answer, "strict") for sample, answer in zip(samples, answers, strict=True)]
        pairs = zip(samples, ruled, strict=True)
        wanted = [wants_judge(self.judged, self.is_open(sample), score) for sample, score in pairs]
        return judge_open(wanted, samples, answers, ruled, ask)

    def wording(self, sample: Sample) -> str:
        """The question alone."""
        return wording_of(sample)

    def is_open(self, sample: Sample) -> bool:
        """Neither multiple choice nor closed."""
        return sample.tags["form"] == "open"

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """Of an open question the first accepted answer, and the answer as it is read, without its thought."""
        if sample.tags["form"] != "open":
            return {}
        return {"": (sample.references[0], prepare(answer.text, answer.finish_reason).whole)}


def right_letters(answer: str, options: Sequence[str]) -> str:
    """The letters that an accepted answer stands for, in order; never a guess.

    An answer is the text of an option, its letter, both ("C. sagittal"), or several letters with signs between.

    Raises:
        DataError: it is none of these, or the text of one option and the letter of another; or there are more options
            than letters.
    """
    if len(options) > len(LETTERS):
        raise DataError("too_many_options", f"{len(options)} options; a question may have {len(LETTERS)}")
    known = LETTERS[: len(options)]
    texts = [key(text) for text in without_letters(options)]
    if found := BOTH.fullmatch(answer):
        letter = found["letter"].upper()
        if letter in known and texts[known.index(letter)] == key(found["text"]):
            return letter
    places = [index for index, text in enumerate(texts) if text == key(answer)]
    if len(places) > 1:
        raise DataError("ambiguous_gold", f"the accepted answer '{answer}' is the text of {len(places)} options")
    by_text = known[places[0]] if places else ""
    by_letter = ""
    if SEVERAL.fullmatch(answer):
        by_letter = "".join(sorted({letter.upper() for letter in re.findall(r"\b[A-Za-z]\b", answer)}))
        by_letter = by_letter if set(by_letter) <= set(known) else ""
    if by_text and by_letter and by_text != by_letter:
        raise DataError(
            "ambiguous_gold",
            f"the accepted answer '{answer}' is the text of option {by_text} and the letter of another; "
            f"write '{by_text}. {answer}'",
        )
    letters = by_text or by_letter
    if not letters:
        raise DataError(
            "gold_not_among_options",
            f"the accepted answer '{answer}' is none of the options; give a letter, an option's text, or several "
            "letters as in 'A, C'",
        )
    return letters


def _without_lettered(turn: Turn, options: Sequence[str]) -> Turn:
    """The turn without the lettered options that a reader wrote under it to train on: they are asked in our own way."""
    lettered = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, without_letters(options), strict=False))
    is_added = bool(options) and turn.content[-1:] == (lettered,)
    return turn.model_copy(update={"content": turn.content[:-1]}) if is_added else turn


def _shows(text: str, options: Sequence[str]) -> bool:
    """Whether a question's text names every option, each as words of their own; single letters and digits may be
    anything, so they are not looked for."""
    names = [option.strip() for option in options]
    alone = [rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])" for name in names]
    return all(len(name) > 1 for name in names) and all(re.search(one, text, re.IGNORECASE) for one in alone)


def _identity(media: Media) -> str:
    """What tells one medium from another: its content where it came inline, else its place."""
    return media.uri or media.sha256 or hashlib.sha256(media.data or b"").hexdigest()


def _score(
    value: float | None,
    reason: str,
    note: str,
    parts: Mapping[str, float | None] | None = None,
    statement: str = "",
) -> Score:
    return Score(
        value=value,
        status="ok" if value is not None else "unscored",
        parts=dict(parts or {}),
        reasons=(reason,) if reason else (),
        note=explained(note, statement) or reason,
    )
