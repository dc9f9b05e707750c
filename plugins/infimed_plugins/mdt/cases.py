"""The case schema of ``mdt-cases``: what a line of a file of cases holds."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from infimed_core import Row

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
QuestionType = Literal["diagnosis", "staging", "treatment-plan", "follow-up"]
OPTIONAL_WEIGHT = 0.5


class Patient(Row):
    """Who the case is about."""

    age: int | None = Field(default=None, ge=0, le=120, description="In years.")
    sex: Literal["female", "male", "other", "unknown"] = "unknown"


class Examination(Row):
    """An examination and what it found: physical signs, function tests, a radiologist's report."""

    name: Text
    finding: Text


class Measurement(Row):
    """A laboratory value as it stands on the sheet."""

    name: Text
    value: Text
    unit: str = ""
    reference: str = Field(default="", description="Reference range, as text.")


class CaseImage(Row):
    """An image of the case: a file of an installed Python package, or a path beside the file of cases."""

    modality: Text = Field(description="What it was taken with: CT, MR, X-ray, ultrasound, fundus, pathology ...")
    caption: Text = Field(description="What the model is told about it, not what there is to be seen.")
    kind: str = Field(default="image", description="Which modality component reads it: image, dicom, nifti ...")
    package: str | None = Field(default=None, description="Importable name of the package that holds the file.")
    distribution: str | None = Field(default=None, description="What to pip install, where it has another name.")
    path: Text = Field(description="Path inside the package, or relative to the file of cases.")
    options: dict[str, Any] = Field(default_factory=dict, description="Which part of it: {frame: 3}.")


class Point(Row):
    """Something that an answer has to say, may say, or must not say."""

    text: Text = Field(description="The point in words, for people and for judges.")
    importance: Literal["required", "optional", "forbidden"] = "required"
    stance: Literal["for", "against", "named"] = Field(
        default="for",
        description="'for': met where a wording is stated; 'against': met where one is denied or advised against and "
        "none is stated; 'named': met where one is stated or possible (what to watch for, an alternative).",
    )
    wordings: tuple[Text, ...] = Field(
        min_length=1,
        description="Accepted wordings. '*' at a word's end is any ending, '...' up to six words in between; a wording "
        "of two to four capitals is found in capitals only.",
    )
    weight: float | None = Field(default=None, gt=0.0, description="1 for required points, 0.5 for optional ones.")

    @property
    def counts(self) -> float:
        """The weight, with its default."""
        return self.weight if self.weight is not None else 1.0 if self.importance != "optional" else OPTIONAL_WEIGHT


class Question(Row):
    """A question to the team, with the points its answer is graded by."""

    id: Name
    type: QuestionType
    question: Text
    points: tuple[Point, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _something_is_required(self) -> Question:
        if not any(point.importance == "required" for point in self.points):
            raise ValueError("has no required point; without one there is nothing to cover")
        return self


class Case(Row):
    """One patient before the team."""

    id: Name
    specialty: Text
    title: Text
    synthetic: bool = Field(description="Whether the case was made up.")
    clinically_validated: bool = Field(description="Whether clinicians have checked case, questions and points.")
    licence: str = ""
    language: str = "en"
    patient: Patient = Patient()
    history: Text
    examinations: tuple[Examination, ...] = ()
    images: tuple[CaseImage, ...] = ()
    laboratory: tuple[Measurement, ...] = ()
    pathology: str = ""
    questions: tuple[Question, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _question_ids_differ(self) -> Case:
        names = [question.id for question in self.questions]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"has two questions with the id '{twice}'; give each its own")
        return self


@cache
def case_schema() -> dict[str, Any]:
    """The JSON Schema of one line of a file of cases."""
    schema = Case.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "InfiMed MDT case"
    return schema
