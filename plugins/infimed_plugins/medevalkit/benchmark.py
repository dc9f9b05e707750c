"""A benchmark as its data card describes it: questions in upstream's order, MedEvalKit's prompts, two gradings."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from infimed_core import (
    UNLABELLED,
    Answer,
    Ask,
    Benchmark,
    Component,
    DataError,
    Fault,
    Generation,
    Sample,
    Score,
    Turn,
    canonical_json,
    modality_of,
    printable,
    read_named,
    task_type_of,
)
from infimed_plugins.medevalkit import prompts, sources
from infimed_plugins.medevalkit.answers.named_options import without_letters
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.cards import Card, find_card
from infimed_plugins.medevalkit.folders import Images, find_tables, sha256_of
from infimed_plugins.medevalkit.grades import Grade, explained
from infimed_plugins.medevalkit.grading import gold_letters, golds, grade_record, kind_of, lettered, wording_of
from infimed_plugins.medevalkit.judging import BY_JUDGE, UNREAD_BY_JUDGE, Judged, judge_open, judge_rubrics, wants_judge
from infimed_plugins.medevalkit.layouts import IMAGE_FOLDERS, LAYOUTS, Question, radrestruct
from infimed_plugins.medevalkit.official import kept_back_answers, kept_back_files, pubmedqa_files, pubmedqa_rows
from infimed_plugins.medevalkit.reports import texts as report_texts
from infimed_plugins.medevalkit.rules import digest_of_rules
from infimed_plugins.medevalkit.summary import subject_of, summarise

REPORT_METRICS = (
    "rouge-l", "rouge-1", "rouge-2", "bleu-1", "bleu-2", "bleu-3", "bleu-4", "cider",
    "findings-rouge-l", "findings-bleu-4", "findings-cider",
    "impression-rouge-l", "impression-bleu-4", "impression-cider",
)  # fmt: skip
"""What a report is measured by; METEOR and the clinical metrics are for a run file to ask for."""


LOOKED_AT = 20
"""Rows that ``infimed check`` looks at."""


class KitBenchmark(Benchmark):
    """One of MedEvalKit's tasks. ``strict`` counts; ``kit`` is what MedEvalKit would have reported."""

    path: str | None = Field(default=None, description="Local folder in upstream's layout; the hub where left out.")
    revision: str | None = Field(default=None, description="Commit of the data on the hub; the card's where left out.")
    reasoning: bool = Field(default=False, description="Ask for the answer in a box, as MedEvalKit's --reasoning.")
    judged: Judged = Field(
        default="open",
        description="What a judge is asked: open answers, those left undecided, or all that no rule could read.",
    )
    language: Literal["all", "en", "zh"] = Field(default="all", description="Keep only questions in this language.")

    card_name: ClassVar[str] = ""

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A local folder that is not there."""
        try:
            if self.path:
                sources.folder(self.card, self.path)
        except DataError as error:
            return {"path": str(error)}
        return {}

    def doubts(self) -> tuple[str, ...]:
        """A local folder in whose first rows there is no question."""
        if not self.path:
            return ()
        try:
            rows = list(islice(self.samples(), LOOKED_AT))
        except DataError as error:
            return (str(error),)
        if any(isinstance(row, Sample) for row in rows):
            return ()
        first = next((f"; {row.where or row.sample_id}: {row.detail}" for row in rows if isinstance(row, Fault)), "")
        return (f"NO QUESTION in the first {len(rows)} rows{first}",)

    @property
    def card(self) -> Card:
        """The data card, with the run file's revision of the data where it names one."""
        card = find_card(self.card_name)
        if self.revision is None:
            return card
        return card.model_copy(update={"source": card.source.model_copy(update={"revision": self.revision})})

    @property
    def has_images(self) -> bool:
        """Whether its questions have images; lm-eval wants to know before it asks."""
        return "images" in self.card.fields

    @property
    def needs_judge(self) -> bool:
        """Whether no rule can grade its answers."""
        return self.card.grading == "rubric"

    @property
    def version(self) -> str:  # type: ignore[override]
        """The card's version and the prompt set."""
        return f"{self.card.version}+{self.card.prompt_set}"

    @property
    def scorings(self) -> tuple[str, ...]:  # type: ignore[override]
        """Strict first; a rubric has no rule of MedEvalKit's to apply without its judge."""
        return ("strict",) if self.card.grading == "rubric" else ("strict", "kit")

    @property
    def group_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """Tags of the card's breakdown, and what is natural for its kind."""
        tags = list(self.card.breakdown.values())
        natural = {"mmmu": ["subject"], "visual": ["form"], "structured": ["answer_type"]}
        tags += natural.get(self.card.grading, [])
        if self.card_name == "slake":
            tags.append("language")
        if self.card.layout in ("mmlu", "cmmlu"):
            tags.append("subject")
        if self.card.grading == "rubric":
            tags.append("theme")
        return tuple(dict.fromkeys(tags))

    @property
    def baseline_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """A constant answer may differ for closed and open questions, and by language."""
        return ("form", "language")

    @property
    def cluster_by(self) -> str:  # type: ignore[override]
        """The image or study that questions share."""
        return "cluster" if self.card.cluster else ""

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """Accuracy; for open answers their overlap too; for reports overlap alone."""
        if self.card.grading == "report":
            return REPORT_METRICS
        if self.card.grading == "rubric":
            return ("rubric-score",)
        if self.card.grading == "visual":
            return ("accuracy", "exact-match", "token-recall", "token-f1", "bleu-1", "rouge-l")
        return ("accuracy",)

    def generation(self) -> Generation:
        """Greedy, 1,024 tokens, as MedEvalKit; the options of a made-up next question end an answer."""
        stop = prompts.next_question(self.card.language) if self.card.grading == "choice" else ()
        return Generation(max_new_tokens=1024, stop=stop)

    def fingerprint(self) -> str:
        """Changes with the card, settings, rules, and names and contents of the tables; no image is looked at."""
        files: dict[str, str] = {}
        if self.path:
            root = Path(self.path)
            tables = [*pubmedqa_files(root), *kept_back_files(self.card.layout, root)]
            for config in self.card.source.configs or (self.card.source.config,):
                tables += find_tables(root, self.card.source.files, config, self.card.source.split)
            files = {str(path.relative_to(root)): sha256_of(path) for path in tables}
        card = self.card.model_dump(mode="json")
        body = canonical_json([self.identity(), card, digest_of_rules(), sorted(files.items())])
        return hashlib.sha256(body.encode()).hexdigest()

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question; a row that cannot be used is a fault that says why."""
        card = self.card
        root = sources.folder(card, self.path)
        images = Images(root, IMAGE_FOLDERS.get(card.layout, ("",)))
        number = 0
        for where, row in _numbered(card, self.path, root):
            try:
                found = self._questions(card, where, row, images)
            except Exception as error:  # whatever it is, it is this row's
                yield _fault(card, number, error, where)
                number += 1
                continue
            for question in found:
                if self.language not in ("all", question.language):
                    continue
                try:
                    yield build_sample(card, question, number, self.reasoning)
                except Exception as error:
                    yield _fault(card, number, error, where)
                number += 1

    @staticmethod
    def _questions(card: Card, where: str, row: Any, images: Images) -> list[Question]:
        if isinstance(row, Exception):
            raise row
        if card.layout == "radrestruct":
            return list(radrestruct(card, Path(where).stem, row, images))
        if not isinstance(row, dict):
            raise DataError("bad_row", f"a row must be an object, not {type(row).__name__}")
        question = LAYOUTS[card.layout](card, row, images)
        if question is None:
            return []
        return [replace(question, language="zh") if card.language == "zh" else question]

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """Grade by the card; see docs/answers.md."""
        grade = grade_record(self.card, record_of(sample, answer), scoring)
        if grade.reason == "random_letter":
            grade = _drawn(sample, grade)
        return Score(
            value=grade.value,
            status="ok" if grade.value is not None else "unscored",
            parts=grade.parts,
            reasons=(grade.reason.split(":")[0],) if grade.reason else (),
            note=explained(grade.read, grade.statement, answer.text) or grade.reason,
        )

    @property
    def judging(self) -> str:  # type: ignore[override]
        """What a judge decides here and what rules decide, for the protocol; "" where a judge is of no use."""
        if self.judged == "unread" and self.card.grading not in ("report", "rubric"):
            return UNREAD_BY_JUDGE
        return BY_JUDGE.get(self.card.grading, "")

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score] | None:
        """Open answers and rubrics by the judge, closed answers by rule; ``None`` where every question is closed."""
        if self.card.grading == "rubric":
            return judge_rubrics(samples, answers, ask)
        if not self.judging:
            return None
        ruled = [self.grade(sample, answer, "strict") for sample, answer in zip(samples, answers, strict=True)]
        pairs = zip(samples, ruled, strict=True)
        wanted = [wants_judge(self.judged, self._is_open(sample), score) for sample, score in pairs]
        return judge_open(wanted, samples, answers, ruled, ask)

    def _is_open(self, sample: Sample) -> bool:
        record = sample.meta["record"]
        return isinstance(record, dict) and kind_of(self.card, record) == "open"

    def wording(self, sample: Sample) -> str:
        """The question alone."""
        return wording_of(sample)

    def is_open(self, sample: Sample) -> bool:
        """An open question or a report."""
        return self.card.grading == "report" or self._is_open(sample)

    def compared_texts(self, sample: Sample, answer: Answer) -> dict[str, tuple[str, str]]:
        """A report whole and by section, as the strict grading reads it; else the first reference and the answer."""
        read = prepare(answer.text, answer.finish_reason).whole
        if self.card.grading == "report":
            return report_texts(record_of(sample, answer), read)
        return {"": (sample.references[0], read)} if sample.references else {}

    def summarise(
        self, samples: Sequence[Sample], answers: Sequence[Answer], scoring: str
    ) -> dict[str, JsonValue] | None:
        """The metrics in the shape of MedEvalKit's metrics.json."""
        if self.card.grading == "rubric":
            return None
        records = [record_of(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
        grades = [grade_record(self.card, record, scoring) for record in records]
        return summarise(self.card, records, grades, scoring)


def _numbered(card: Card, path: str | None, root: Path) -> Iterator[tuple[str, Any]]:
    """Rows; a Rad-ReStruct report is one row, and MMMU's kept-back answers are put in from ``answer.json``."""
    if card.layout == "radrestruct":
        files = sorted(root.glob(card.source.files[0])) if path else []
        if not files:
            raise DataError("missing_data", f"{root / card.source.files[0]}: no reports; {sources.remedy(card)}")
        for file in files:
            try:
                report: Any = json.loads(read_named(file))
            except (OSError, ValueError, RecursionError) as error:
                report = DataError("bad_row", f"not a report in JSON: {error}")
            yield str(file), report
        return
    if path and card.layout == "pubmedqa" and (own := pubmedqa_files(root)):
        yield from pubmedqa_rows(own)
        return
    kept_back = kept_back_answers(card.layout, root) if path else {}
    for where, row in sources.rows(card, path):
        if kept_back and isinstance(row, dict) and row.get("answer") in (None, "", "?"):
            row = {**row, **kept_back.get(str(row.get("id")), {})}
        yield where, row


def _fault(card: Card, number: int, error: Exception, where: str) -> Fault:
    code = error.code if isinstance(error, DataError) else "bad_row"
    told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
    detail = printable(" ".join(told.split())[:500])
    return Fault(sample_id=f"{card.name}-{number}", code=code, detail=detail, where=printable(where))


def record_of(sample: Sample, answer: Answer) -> dict[str, Any]:
    """The row that MedEvalKit would write to results.json."""
    record = sample.meta["record"]
    if not isinstance(record, dict):
        raise DataError("not_ours", f"sample {sample.id} does not come from a MedEvalKit benchmark")
    ended = {"finish_reason": answer.finish_reason} if answer.finish_reason else {}
    return {**record, **ended, "response": answer.text}


def _drawn(sample: Sample, grade: Grade) -> Grade:
    """MMMU's random credit: a letter drawn by the sample's id, so that the draw does not depend on the order."""
    record = sample.meta["record"]
    letters = sorted(lettered(record)) if isinstance(record, dict) else []
    letter = random.Random(f"42 {sample.id}").choice(letters or ["A"])
    return Grade(float(letter in sample.references[:1]), "random_letter", grade.kind, letter)


def build_sample(card: Card, question: Question, number: int, reasoning: bool) -> Sample:
    """The sample that is asked: MedEvalKit's prompt, all images before it, and what grading needs in ``meta``."""
    shown = prompts.show(question.options, card.option_style)
    before = str(question.record.get("__before__", ""))
    record: dict[str, Any] = {key: value for key, value in question.record.items() if not key.startswith("__")}
    record |= {"question": question.text, "answer": question.answer}
    if question.options:
        record["choices"] = shown
    if question.kind == "mmmu" and question.options:
        record["index2ans"] = lettered({"choices": list(question.options)})
    text = before + _prompt(question, shown, reasoning)
    form = {"judgement": "closed", "mmmu": "choice" if question.options else "open"}.get(question.kind, question.kind)
    tags = {"source": card.name, "form": form, "language": question.language, "split": card.source.split}
    tags["modality"] = card.modality or modality_of(_label(card, "modality", record))
    if not question.images and tags["modality"] == UNLABELLED:
        tags["modality"] = "text"
    tags["task_type"] = card.task_type or task_type_of(_label(card, "task_type", record))
    for key in (*card.breakdown.values(), "answer_type", "subject"):
        value = subject_of(record) if key == "subject" and card.grading == "mmmu" else record.get(key)
        if value is not None:
            tags[key] = str(value)
    for tag in record.get("example_tags") or ():
        if str(tag).startswith("theme:"):
            tags["theme"] = str(tag).removeprefix("theme:")
    if card.cluster and record.get(card.cluster) is not None:
        tags["cluster"] = str(record[card.cluster])
    return Sample(
        id=f"{card.name}-{question.id or number}",
        turns=_turns(question, text),
        media=question.images,
        references=_references(card, question, shown),
        options=tuple(option.strip() for option in without_letters(question.options)),
        tags=tags,
        licence=card.licence,
        meta={"record": record, "prompt_set": card.prompt_set},
    )


def _label(card: Card, what: Literal["modality", "task_type"], record: dict[str, Any]) -> str:
    return str(record.get(card.labels.get(what, "")) or "")


def _prompt(question: Question, shown: Sequence[str], reasoning: bool) -> str:
    if question.kind == "report":
        return prompts.REPORT
    if question.kind == "mmmu":
        return prompts.mmmu(question.text, question.options, reasoning)
    if question.kind == "choice":
        return prompts.choice(question.text, shown, question.language, reasoning)
    return "" if question.kind == "chat" else prompts.plain(question.kind, question.text, question.language, reasoning)


def _turns(question: Question, text: str) -> tuple[Turn, ...]:
    if question.kind == "chat":
        return tuple(Turn(role=role, content=(content,)) for role, content in question.turns)  # type: ignore[arg-type]
    if len(question.images) < 2:
        return (Turn(role="user", content=(*range(len(question.images)), text)),)
    content: list[str | int] = []
    for index in range(len(question.images)):
        content += [f"<image_{index + 1}>: ", index]
    return (Turn(role="user", content=(*content, text)),)


def _references(card: Card, question: Question, shown: Sequence[str]) -> tuple[str, ...]:
    answers = golds(question.answer)
    if question.options:
        letters = gold_letters(tuple(answers), tuple(shown), card.multiple)
        if letters:
            texts = without_letters(question.options)
            return (letters, *(texts[ord(letter) - ord("A")].strip() for letter in letters))
    return tuple(answer for answer in answers if answer)
