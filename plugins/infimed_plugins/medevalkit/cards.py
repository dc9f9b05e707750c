"""The data cards: one YAML file for each benchmark says where it comes from, how it is asked and how it is graded."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from infimed_core import DataError, Row
from infimed_plugins.medevalkit.card_names import FOLDER, names


class Source(Row):
    """Where the questions come from."""

    hub: str | None = Field(default=None, description="Dataset id on the Hugging Face hub.")
    config: str | None = None
    configs: tuple[str, ...] = Field(default=(), description="Several configurations that make up one benchmark.")
    split: str = "test"
    revision: str = "main"
    files: tuple[str, ...] = Field(default=(), description="File patterns below a local folder, the first that match.")
    archives: bool = Field(default=False, description="Images come as archives beside the questions.")
    url: str = ""
    access: str = Field(default="open", description="open, or how to get the data.")


class Card(Row):
    """One benchmark."""

    name: str
    kit_task: str = Field(description="Its name on MedEvalKit's --eval_datasets.")
    title: str
    measures: str
    version: str = "1"
    layout: str = Field(description="Reader of upstream's layout.")
    source: Source
    licence: str
    citation: str
    size: str = ""
    fields: dict[str, str] = Field(default_factory=dict, description="Our name of a field -> upstream's.")
    grading: Literal["choice", "visual", "mmmu", "report", "rubric", "structured"]
    extract: bool = Field(default=True, description="MedEvalKit takes <answer> tags out before it grades.")
    fold: bool = Field(default=False, description="MedEvalKit lower-cases and strips both sides of visual answers.")
    multiple: bool = Field(default=False, description="A question may have several right letters.")
    prompt_set: str = "medevalkit-9b12e3b"
    language: Literal["en", "zh"] = "en"
    option_style: Literal["letter-dot-space", "letter-dot", "raw"] = "letter-dot-space"
    breakdown: dict[str, str] = Field(default_factory=dict, description="Block of metrics -> field of the record.")
    kit_breakdown: dict[str, str] | None = Field(default=None, description="The same as MedEvalKit mixes it up.")
    cluster: str = Field(default="", description="Field of the record that samples of one image or study share.")
    modality: str = Field(default="", description="Of every question, in the vocabulary of docs/benchmark-list.md.")
    task_type: str = Field(default="", description="Of every question, in the same vocabulary.")
    labels: dict[Literal["modality", "task_type"], str] = Field(
        default_factory=dict, description="Field of the record that holds upstream's own label."
    )
    groups: tuple[str, ...] = ()
    defects: tuple[str, ...] = Field(default=(), description="What MedEvalKit gets wrong here at commit 9b12e3b.")
    notes: str = ""


@lru_cache(maxsize=64)
def read_card(path: Path) -> Card:
    """One card."""
    import yaml

    return Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def cards() -> Iterator[Card]:
    """Every card, by name."""
    return (read_card(FOLDER / f"{name}.yaml") for name in names())


def find_card(name: str) -> Card:
    """The card of a component name or of a MedEvalKit task name, whatever its case.

    Raises:
        DataError: there is none; the message names the nearest.
    """
    wanted = name.lower().replace("_", "-").removeprefix("medevalkit/")
    if wanted in names():
        return read_card(FOLDER / f"{wanted}.yaml")
    table = {card.kit_task.lower().replace("_", "-"): card for card in cards()}
    if wanted in table:
        return table[wanted]
    near = difflib.get_close_matches(wanted, [*names(), *table], n=1)
    hint = f"did you mean '{near[0]}'?" if near else "tasks: " + ", ".join(names())
    raise DataError("unknown_task", f"no MedEvalKit task '{name}'; {hint}")
