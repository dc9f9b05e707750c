"""The benchmark ``mdt-cases``: cases for a multidisciplinary team, graded by the points that an answer makes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from infimed_core import Answer, Ask, Benchmark, DataError, Fault, Generation, Media, Sample, Score, Turn, read_named
from infimed_plugins.mdt.cases import Case, Point, Question, QuestionType
from infimed_plugins.mdt.grading import grade_points
from infimed_plugins.mdt.images import media_of
from infimed_plugins.mdt.judging import judge_answers
from infimed_plugins.mdt.reading import BUILT_IN, read_cases

TASK_TYPES: dict[QuestionType, str] = {
    "diagnosis": "diagnosis",
    "staging": "diagnosis",
    "treatment-plan": "treatment",
    "follow-up": "treatment",
}
"""The documented vocabulary's word for each type of question; ``question_type`` keeps the finer one."""
SHOWN_PROBLEMS = 20


class MdtCases(Benchmark):
    """Cases with questions on diagnosis, staging, treatment and follow-up; synthetic, not clinically validated."""

    version: ClassVar[str] = "1"
    scorings: ClassVar[tuple[str, ...]] = ("points",)
    group_by: ClassVar[tuple[str, ...]] = ("specialty", "question_type")
    baseline_by: ClassVar[tuple[str, ...]] = ("question_type",)
    cluster_by: ClassVar[str] = "case"
    judging: ClassVar[str] = "the judge ticks the same points that the rules look for; the value follows as there"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "point-coverage", "violation-rate")

    cases: Path | None = Field(default=None, description="A file of cases (JSON Lines); the built-in cases.")
    specialties: tuple[str, ...] = Field(default=(), description="Only these; all where it is empty.")
    question_types: tuple[QuestionType, ...] = Field(default=(), description="Only these; all where it is empty.")
    images: bool = Field(
        default=True, description="Show the images; where false the model is told their captions alone."
    )
    violation_factor: float = Field(
        default=0.5, ge=0.0, le=1.0, description="What the value is multiplied by for each forbidden point stated."
    )
    max_new_tokens: int = Field(default=384, ge=1, description="Most new tokens of an answer.")

    @field_validator("cases")
    @classmethod
    def _is_a_file_of_cases(cls, path: Path | None) -> Path | None:
        """Every line against the JSON Schema, so that ``infimed check`` tells each mistake with its line."""
        if path is None:
            return None
        problems = [problem for line in read_cases(path) for problem in line.problems]
        if problems:
            more = [f"... and {len(problems) - SHOWN_PROBLEMS} more"] if len(problems) > SHOWN_PROBLEMS else []
            told = "\n  ".join([*problems[:SHOWN_PROBLEMS], *more])
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise PydanticCustomError("bad_cases", "{told}", {"told": f"{count} in the cases\n  {told}\n "})
        return path

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question of every case; a case whose image is not installed is a fault per question."""
        path = self.cases or BUILT_IN
        for line in read_cases(path):
            if line.case is None:
                yield from (
                    Fault(sample_id=line.where, code="bad_case", detail=p, where=line.where) for p in line.problems
                )
                continue
            if self.specialties and line.case.specialty not in self.specialties:
                continue
            for question in line.case.questions:
                if not self.question_types or question.type in self.question_types:
                    yield self._sample(line.case, question, path.parent, line.where)

    def _sample(self, case: Case, question: Question, folder: Path, where: str) -> Sample | Fault:
        identity = f"{case.id}/{question.id}"
        try:
            media = tuple(media_of(image, folder) for image in case.images) if self.images else ()
        except DataError as error:
            return Fault(sample_id=identity, code=error.code, detail=str(error), where=where)
        required = [point for point in question.points if point.importance == "required"]
        tags = {
            "case": case.id,
            "specialty": case.specialty,
            "question_type": question.type,
            "modality": case.images[0].modality if media else "text",
            "task_type": TASK_TYPES[question.type],
            "language": case.language,
            "source": "mdt-cases" if self.cases is None else "own cases",
            "split": "test",
            "synthetic": str(case.synthetic).lower(),
            "clinically_validated": str(case.clinically_validated).lower(),
        }
        return Sample(
            id=identity,
            turns=(Turn(role="user", content=prompt(case, question, media)),),
            media=media,
            references=(" ".join(f"{point.text}." for point in required),),
            tags=tags,
            licence=case.licence or None,
            meta={
                "question": question.question,
                "points": [point.model_dump(mode="json") for point in question.points],
            },
        )

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """Which points the answer makes; unscored where there is no answer."""
        return grade_points(points_of(sample), answer.text, self.violation_factor)

    def judge(self, samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score]:
        """The same points, ticked by the judge."""
        return judge_answers(samples, answers, [points_of(sample) for sample in samples], ask, self.violation_factor)

    def generation(self) -> Generation:
        """Greedy, with room for a plan."""
        return Generation(max_new_tokens=self.max_new_tokens)

    def fingerprint(self) -> str:
        """Changes with the settings, the version, the grading rules and the content of the cases."""
        digest = hashlib.sha256(f"{self.identity()}|{self.version}".encode())
        digest.update(read_named(self.cases or BUILT_IN))
        return digest.hexdigest()


def points_of(sample: Sample) -> list[Point]:
    """The points that a question is graded by."""
    found: Any = sample.meta.get("points") or ()
    return [Point.model_validate(point) for point in found]


def prompt(case: Case, question: Question, media: Sequence[Media]) -> tuple[str | int, ...]:
    """The case as the team reads it: one heading per part, images in their place, the question last."""
    age = f"{case.patient.age}-year-old" if case.patient.age is not None else ""
    who = " ".join(word for word in (age, case.patient.sex if case.patient.sex != "unknown" else "patient") if word)
    content: list[str | int] = [f"Patient: {who}\nHistory: {case.history}\n"]
    if case.examinations:
        found = "\n".join(f"- {item.name}: {item.finding}" for item in case.examinations)
        content.append(f"Examinations:\n{found}\n")
    for index, image in enumerate(case.images):
        content.append(f"Image ({image.modality}): {image.caption}\n")
        if index < len(media):
            content += [index, "\n"]
    if case.laboratory:
        found = "\n".join(
            f"- {item.name}: {item.value}{f' {item.unit}' if item.unit else ''}"
            f"{f' (reference {item.reference})' if item.reference else ''}"
            for item in case.laboratory
        )
        content.append(f"Laboratory:\n{found}\n")
    if case.pathology:
        content.append(f"Pathology: {case.pathology}\n")
    content.append(f"\nQuestion: {question.question}")
    return tuple(content)
