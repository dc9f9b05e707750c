"""The sections of a run file and the schema that they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_serializer, model_validator

from infimed_core.api.component import ComponentRef
from infimed_core.api.models import Generation


class Section(BaseModel):
    """A section of a run file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class RunSection(Section):
    """What the run is called and what it needs."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$", description="Name of the run and of its directory."
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    plugins: tuple[str, ...] = Field(
        default=(), description="Plugins that this run needs: names, or files beside the run file."
    )
    directory: str = Field(default="runs", description="Where the run's directory is made.")
    readable_by: Literal["user", "group", "everyone"] | None = Field(
        default=None, description="Who may read the run's files, whatever the umask is; as the umask says by default."
    )


HELD_OUT_SPLIT = "held-out"


class SplitSection(Section):
    """How samples are divided: those that share a patient, study or another tag's value are never on both sides."""

    by: str | None = Field(default=None, min_length=1, description="Samples equal in this tag (patient) stay together.")
    held_out: float = Field(default=0.1, gt=0.0, lt=1.0, description="Share of its values, or of samples, held out.")
    seed: int = Field(default=0, ge=0, exclude_if=lambda n: n == 0, description="Another seed holds out others.")


class DataSection(Section):
    """Where samples come from."""

    sources: tuple[ComponentRef, ...] = Field(min_length=1, description="Readers, in order.")
    executor: ComponentRef | None = Field(
        default=None, description="What maps work over shards; processes of this machine by default."
    )
    modalities: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings by modality, as in {dicom: {square_pixels: false}}."
    )
    split: SplitSection | None = Field(default=None, description="Gives samples the tag split: train or held-out.")
    filters: tuple[ComponentRef, ...] | None = Field(
        default=None,
        description="Checks of the data as a whole; by default, where the run has an evaluation, of overlap with it.",
    )


class QualitySection(Section):
    """How samples are scored and which are kept."""

    scorers: tuple[ComponentRef, ...] = Field(
        min_length=1, description="Scorers; selection uses the first one's composite."
    )
    select: ComponentRef | None = Field(default=None, description="The selector; every sample is kept without one.")


class MetricRef(ComponentRef):
    """A metric of a benchmark; its name alone will do where it needs no settings."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="What it is called in the results."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(core_schema))]}


class BenchmarkRef(ComponentRef):
    """A benchmark, and how it is asked here."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="What it is called in this run."
    )
    scoring: str | None = Field(
        default=None, description="Another way to ask and score it: a benchmark that takes one, as 'likelihood'."
    )
    solver: ComponentRef | None = Field(default=None, description="Overrides the solver that the benchmark wants.")
    generation: Generation | None = Field(
        default=None, description="Settings of generation that replace the benchmark's; the others stay as it has them."
    )
    metrics: tuple[MetricRef, ...] | None = Field(
        default=None, description="Overrides the benchmark's metrics: names, or {use: NAME, with: {...}}."
    )

    @field_serializer("generation")
    def _as_given(self, value: Generation | None) -> dict[str, Any] | None:
        """Only what the file says: the rest is the benchmark's, and stands in the protocol."""
        return None if value is None else value.model_dump(mode="json", exclude_unset=True)


class EvaluationSection(Section):
    """What every model of the run is asked. Entries of ``models:`` are compared with each other as well."""

    benchmarks: tuple[BenchmarkRef, ...] = Field(min_length=1, description="What every model is asked, in order.")
    compare_to: tuple[str, ...] = Field(default=("base", "most-common-answer"), description="Models to compare with.")
    limit: int | None = Field(default=None, ge=1, description="Only the first questions of each benchmark.")
    models: tuple[str, ...] | None = Field(
        default=None, description="Which models: base, stages, entries of 'models:'; base and all stages by default."
    )
    judges: tuple[str, ...] = Field(
        default=(), description="Models of 'models:' that grade where a benchmark lets them."
    )
    samples: str | tuple[str, ...] | None = Field(
        default=None, description="Only the questions with these ids: a list, or a file with one id a line."
    )
    baselines: tuple[str, ...] = Field(
        default=("image-blind",),
        description="More baselines: constant-letter, the letter that is most often right; image-blind, the same model "
        "asked without the images; or the name of a plugin's.",
    )
    breakdowns: bool = Field(default=True, description="Also give results by modality, task type and other tags.")
    reuse_answers: bool = Field(
        default=True, description="Take the answers that other runs here got to the same questions from the same model."
    )


class Variant(Section):
    """One change of the run file, for comparison."""

    set: dict[str, Any] = Field(default_factory=dict, description="Values by path, as in packing.with.row_tokens.")
    drop: tuple[str, ...] = Field(default=(), description="Paths left out, as in training.with.stages.pretrain.")


class SweepSection(Section):
    """What ``infimed sweep`` varies; a plain run leaves it aside."""

    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Values by path; every combination is a variant. run.seed repeats variants."
    )
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")], Variant] = Field(
        default_factory=dict, description="Changes by name, each made alone; compared with the file as it is."
    )


class RunFile(Section):
    """A run file, in the order the work is done; a section left out is a step not run."""

    run: RunSection
    plugins: tuple[str, ...] = Field(default=(), exclude=True, description="Another place for run.plugins.")
    data: DataSection | None = None
    quality: QualitySection | None = None
    reasoning: ComponentRef | None = Field(default=None, description="What makes samples with reasoning of those kept.")
    model: ComponentRef | None = Field(default=None, description="The model that is trained and evaluated.")
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")], ComponentRef] = Field(
        default_factory=dict, description="Further models that are asked, never trained: judges, members of a panel."
    )
    resolution: ComponentRef | None = Field(default=None, description="How large images are; native by default.")
    packing: ComponentRef | None = Field(default=None, description="Which samples share a row.")
    training: ComponentRef | None = Field(default=None, description="The trainer, with its stages.")
    evaluation: EvaluationSection | None = None
    report: tuple[ComponentRef, ...] = Field(default=(), description="What is written for people, in order.")
    sweep: SweepSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _plugins_in_one_place(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("run"), dict) or not value.get("plugins"):
            return value
        return {**value, "run": {**value["run"], "plugins": [*value["run"].get("plugins", ()), *value["plugins"]]}}


Place = tuple[str | int, ...]
"""A place in a run file: ``("data", "sources", 0)``."""
BASELINE = "most-common-answer"
"""The baseline that answers each kind of question with that kind's most common reference answer."""
CONSTANT_LETTER = "constant-letter"
"""The baseline that answers every question of a benchmark with the letter that is most often right there."""
IMAGE_BLIND = "-image-blind"
"""What is put after a model's name where it was asked without the images."""


OTHER_BASELINE = ".baseline"
"""What is put after the name of a plugin's baseline, which no model's name can end with."""


def baseline_label(name: str) -> str:
    """What a baseline of ``evaluation.baselines`` is called in results."""
    return name if name in (BASELINE, CONSTANT_LETTER) else name.replace("/", "-") + OTHER_BASELINE


def is_baseline(model: str) -> bool:
    """Whether the name is of a baseline: a constant answer, or a model asked without its images; also ``RUN:MODEL``."""
    name = model.rpartition(":")[2]
    return name in (BASELINE, CONSTANT_LETTER) or name.endswith((IMAGE_BLIND, OTHER_BASELINE))


def names_in_run(uses: Sequence[ComponentRef]) -> list[str]:
    """What the scorers, or the reporters, of a run are called: as in ``use:``, the second of one name with ``-2``."""
    seen: Counter[str] = Counter()
    names = []
    for use in uses:
        name = use.use.replace("/", "-")
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def benchmark_name(benchmarks: Sequence[ComponentRef], index: int) -> str:
    """The benchmark's name in a run, its own or its component's; a second use of one name gets its position."""
    names = [getattr(use, "name", None) or use.use.rsplit("/", 1)[-1] for use in benchmarks]
    return names[index] if names.count(names[index]) == 1 else f"{names[index]}-{index + 1}"


def metric_names(refs: Sequence[MetricRef]) -> list[str]:
    """What metrics of a benchmark are called: ``name``, else as in ``use:``; a name that is used twice is numbered."""
    names = [ref.name or ref.use for ref in refs]
    return [
        name if names.count(name) == 1 else f"{name}-{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def run_schema() -> dict[str, Any]:
    """The JSON Schema of run files; settings of components have their own (``infimed schema KIND:NAME``)."""
    schema = RunFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "InfiMed run file"
    return schema
