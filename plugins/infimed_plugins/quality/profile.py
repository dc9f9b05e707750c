"""The quality profile: which dimensions there are, how they weigh, their hard minimums; one YAML file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from infimed_core import DataError, Row, parse_value, read_named

DIMENSIONS = ("image_quality", "alignment", "completeness", "medical_validity", "compliance")


class ImageThresholds(Row):
    """What decides about pictures; explained beside each value in ``profile.yaml``."""

    min_side: int = Field(ge=1)
    constant_range: float = Field(ge=0)
    max_measured_side: int = Field(ge=64)
    margin: float = Field(gt=0)
    steepness: float = Field(gt=0)


class AlignmentThresholds(Row):
    """Mean channel spreads, as shares of the brightest channel, that call a picture grey or coloured."""

    grey_saturation: float = Field(ge=0)
    colour_saturation: float = Field(ge=0)


class Length(Row):
    """Fewest and most words of a text."""

    least: int = Field(ge=0)
    most: int = Field(ge=1)


class ComplianceThresholds(Row):
    """Whether a title followed by a name counts as identity."""

    names: bool = True


class Defect(Row):
    """A defect that a judge may name: what it is, and whether it alone makes the dimension worthless."""

    means: str = Field(min_length=1)
    critical: bool = False


class Rubric(Row):
    """How a judge looks at one dimension: the question, what each level means, and the defects to look for."""

    question: str = Field(min_length=1)
    levels: tuple[str, str, str]
    """What levels 0, 1 and 2 mean."""
    defects: dict[str, Defect] = Field(default_factory=dict)


class Profile(Row):
    """A profile file, checked."""

    name: str
    dimensions: tuple[str, ...]
    weights: dict[str, float]
    hard_minimums: dict[str, float]
    flag_below: float = Field(ge=0, le=1)
    image: ImageThresholds
    alignment: AlignmentThresholds
    lengths: dict[Literal["caption", "answer"], Length]
    compliance: ComplianceThresholds
    rubric: dict[str, Rubric] = Field(default_factory=dict)
    """What a judge is asked, by dimension; a dimension with a rubric need not be one of ours."""

    @model_validator(mode="after")
    def _check(self) -> Profile:
        unknown = [name for name in self.dimensions if name not in DIMENSIONS and name not in self.rubric]
        if unknown:
            known = ", ".join(DIMENSIONS)
            raise ValueError(f"dimension '{unknown[0]}' is not one of ours ({known}) and has no rubric for a judge")
        for field, table in (("weights", self.weights), ("hard_minimums", self.hard_minimums), ("rubric", self.rubric)):
            stray = sorted(set(table) - set(self.dimensions))
            if stray:
                raise ValueError(f"{field} names '{stray[0]}', which is not among the dimensions")
        if not any(self.weights.get(name, 0.0) > 0 for name in self.dimensions):
            raise ValueError("no dimension has a weight above 0")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError("a weight is negative")
        if set(self.lengths) != {"caption", "answer"}:
            raise ValueError("lengths needs caption and answer")
        return self


def profile_path(name: str) -> Path:
    """The file of a profile: ``default`` is ours, anything else is a path.

    Raises:
        DataError: there is no such file.
    """
    path = Path(__file__).with_name("profile.yaml") if name == "default" else Path(name)
    if not path.is_file():
        raise DataError("missing_file", f"no quality profile '{name}': give 'default' or the path of a YAML file")
    return path


@functools.cache
def load_yaml(path: Path) -> Any:
    """A YAML file, read once per process."""
    import yaml

    try:
        return parse_value(read_named(path).decode())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError("bad_profile", f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None


def told_profile(name: str) -> dict[str, str]:
    """``{"profile": why}`` where a profile of one's own cannot be used; empty otherwise."""
    try:
        if name != "default":
            load_profile(name)
    except DataError as error:
        return {"profile": str(error)}
    return {}


def load_profile(name: str) -> Profile:
    """Read and check a profile.

    Raises:
        DataError: missing, not YAML, or not a profile; names the file and the field.
    """
    path = profile_path(name)
    try:
        return Profile.model_validate(load_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "profile"
        raise DataError("bad_profile", f"{path}: {where}: {first['msg']}") from None
