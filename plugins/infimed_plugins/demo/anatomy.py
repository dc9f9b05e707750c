"""The reader ``demo-anatomy``: real pictures from installed packages with computed answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from pydantic import Field

from infimed_core import Component, Fault, Reader, Sample
from infimed_plugins.demo import defects, pictures, samples, sources
from infimed_plugins.demo.blocks import Split
from infimed_plugins.demo.questions import check_names

DATA_VERSION = "3"
"""Raised whenever the same settings give other samples."""


def some_pictures(split: Split, side: int, max_images: int | None) -> list[pictures.Picture]:
    """The pictures of a split, at most ``max_images`` of them, drawn from every source alike."""
    found = [picture for picture in pictures.pictures(side) if picture.split == split]
    if max_images is not None and len(found) > max_images:
        drawn = sorted(found, key=lambda picture: pictures.stable_hash("draw", picture.id))[:max_images]
        kept = {picture.id for picture in drawn}
        found = [picture for picture in found if picture.id in kept]
    return found


class DemoAnatomy(Reader):
    """MRI, CT, X-ray, ultrasound, nuclear, fundus and histology pictures with questions; not a clinical data set."""

    split: Split = Field(default="train", description="Which part of the split by image to read.")
    max_images: int | None = Field(default=None, ge=1, description="At most this many distinct pictures; all if empty.")
    side: int = Field(default=128, ge=32, le=192, description="Side of every picture in pixels.")
    kinds: tuple[str, ...] = Field(default=(), description="Kinds of questions; all if empty.")
    forms: tuple[str, ...] = Field(default=(), description="Forms of questions, and caption; all if empty.")
    stages: tuple[str, ...] = Field(default=(), description="Training stages to make samples for; all if empty.")
    include_text: bool = Field(default=True, description="Add text-only questions about disease codes.")
    injected_defects: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of training samples to damage.")
    seed: int = Field(default=0, description="Seed of phrasings, options and injected defects.")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every sample, in a fixed order; held-out samples are single questions with their answers.

        Raises:
            InfimedError: an unknown kind, form or stage.
            DataError: a package of the extra ``demo`` is missing.
        """
        check_names(self.kinds, samples.ALL_KINDS, "kind")
        check_names(self.forms, samples.ALL_FORMS, "form")
        check_names(self.stages, samples.STAGES, "stage")
        kinds, forms = self.kinds or samples.ALL_KINDS, self.forms or samples.ALL_FORMS
        stages = self.stages or samples.STAGES
        chosen = some_pictures(self.split, self.side, self.max_images)
        if self.split == "train":
            made = samples.training(chosen, kinds, forms, stages, self.seed)
        else:
            made = samples.held_out(chosen, kinds, forms, self.seed)
        if self.include_text and not self.kinds:
            made += samples.text_samples(self.split, forms, stages, self.seed)
        if self.split == "train" and self.injected_defects:
            made = defects.inject(made, self.injected_defects, self.seed)
        yield from made

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Packages of the extra ``demo`` that are missing."""
        return sources.missing_packages()

    def fingerprint(self) -> str:
        """Changes with the settings, the version of the rules and the versions of the packages that carry the data."""
        return hashlib.sha256(f"{self.identity()}|{DATA_VERSION}|{sources.versions()}".encode()).hexdigest()
