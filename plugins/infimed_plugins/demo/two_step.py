"""Questions that need two steps: look at every picture, then count, compare or combine what was seen."""

from __future__ import annotations

import functools
import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from pydantic import Field

from infimed_core import Component, Fault, Generation, Reader, Sample, Turn, modality_of
from infimed_plugins.demo import blocks, facts, pictures, sources
from infimed_plugins.demo.blocks import Split
from infimed_plugins.demo.pictures import Picture, stable_hash
from infimed_plugins.demo.questions import check_names
from infimed_plugins.demo.vqa import _Demo

T = TypeVar("T", str, int)
DATA_VERSION = "1"
"""Raised whenever the same settings give other samples."""
NUM_COUNTED = 3
LEVELS = 4
"""Parts of the brain from bottom to top; the lowest is level 1."""
LEVEL_MARGIN = 0.12
"""No slice is asked about this close to the border of two levels, as a share of a level."""
NEEDS = ("nilearn", "pydicom", "data_store", "skimage")
TRIES = 400


@dataclass(frozen=True)
class Asked:
    """A question about pictures, its answer, what it could have been, and the reasoning from picture to answer."""

    pictures: tuple[Picture, ...]
    question: str
    answer: str
    reasoning: str


Draw = Callable[[Sequence[Picture], random.Random, str], Asked | None]
"""A question whose answer is the wanted one; ``None`` where what was drawn gives another."""


@functools.lru_cache(maxsize=2)
def _slices() -> dict[str, tuple[str, int]]:
    """Plane and index of every slice of the T1 template, by the picture's id."""
    return {f"mni-t1-{place.plane}-{place.index}": (place.plane, place.index) for place in blocks.places()}


def level(index: int) -> int | None:
    """The level of an axial slice, 1 at the bottom; ``None`` near a border."""
    first, last = facts.extent("axial")
    share = LEVELS * (index - first) / (last + 1 - first)
    whole = int(share)
    return whole + 1 if LEVEL_MARGIN <= share - whole <= 1 - LEVEL_MARGIN else None


def _count(found: Sequence[Picture], chance: random.Random, wanted: str) -> Asked | None:
    planes = _by(found, lambda picture: _slices()[picture.id][0] if picture.id in _slices() else None)
    if len(planes) < 2:
        return None
    plane = chance.choice(sorted(planes))
    others = [name for name in sorted(planes) if name != plane]
    shown = [plane] * int(wanted) + [chance.choice(others) for _ in range(NUM_COUNTED - int(wanted))]
    chance.shuffle(shown)
    chosen = tuple(chance.choice(planes[name]) for name in shown)
    if len({picture.id for picture in chosen}) < NUM_COUNTED:
        return None
    seen = " ".join(f"Slice {number}: {name}." for number, name in enumerate(shown, start=1))
    return Asked(chosen, f"How many of these slices are {plane}?", wanted, f"{seen} The {plane} ones are {wanted}.")


def _apart(found: Sequence[Picture], chance: random.Random, wanted: str) -> Asked | None:
    levels = _by(found, _level_of)
    pairs = [(one, other) for one in levels for other in levels if abs(one - other) == int(wanted)]
    if not pairs:
        return None
    first, second = chance.choice(sorted(pairs))
    chosen = chance.choice(levels[first]), chance.choice(levels[second])
    if chosen[0].id == chosen[1].id:
        return None
    reasoning = f"Slice 1: level {first}. Slice 2: level {second}. The difference of {first} and {second} is {wanted}."
    return Asked(chosen, "How many levels of the brain are these slices apart?", wanted, reasoning)


def _same(found: Sequence[Picture], chance: random.Random, wanted: str) -> Asked | None:
    studies = _by(found, lambda picture: picture.facts["modality"].answer if "modality" in picture.facts else None)
    one = chance.choice(sorted(studies))
    other = one if wanted == "yes" else chance.choice([name for name in sorted(studies) if name != one])
    chosen = chance.choice(studies[one]), chance.choice(studies[other])
    if chosen[0].image == chosen[1].image:
        return None
    verdict = "They are the same." if wanted == "yes" else "They differ."
    reasoning = f"Study 1: {one}. Study 2: {other}. {verdict}"
    return Asked(chosen, "Were both studies made with the same modality, yes or no?", wanted, reasoning)


def _richer(found: Sequence[Picture], chance: random.Random, wanted: str) -> Asked | None:
    shown = [picture for picture in found if picture.id in _slices() and "white_matter" in picture.facts]
    amounts = _by(shown, lambda picture: picture.facts["white_matter"].answer)
    if len(amounts) < 2:
        return None
    rich, poor = chance.choice(amounts["rich"]), chance.choice(amounts["poor"])
    chosen, names = ((rich, poor), ("rich", "poor")) if wanted == "first" else ((poor, rich), ("poor", "rich"))
    reasoning = f"Slice 1: {names[0]} in white matter. Slice 2: {names[1]} in white matter. More is in the {wanted}."
    return Asked(chosen, "Which slice has the larger share of white matter, first or second?", wanted, reasoning)


KINDS: dict[str, tuple[tuple[str, ...], str, Draw]] = {
    "count-planes": (tuple(map(str, range(NUM_COUNTED + 1))), "quantification", _count),
    "levels-apart": (tuple(map(str, range(LEVELS))), "localisation", _apart),
    "same-modality": (("yes", "no"), "recognition", _same),
    "more-white-matter": (("first", "second"), "quantification", _richer),
}
"""Of every kind its answers, asked equally often, its task type, and what draws a question."""


def _by(found: Sequence[Picture], key: Callable[[Picture], T | None]) -> dict[T, list[Picture]]:
    groups: dict[T, list[Picture]] = defaultdict(list)
    for picture in found:
        if (value := key(picture)) is not None:
            groups[value].append(picture)
    return dict(groups)


def _level_of(picture: Picture) -> int | None:
    plane, index = _slices().get(picture.id, ("", 0))
    return level(index) if plane == "axial" else None


def make(
    split: Split, side: int, kinds: Sequence[str], num_samples: int, seed: int, rationales: bool
) -> Iterator[Sample]:
    """Samples, the same number of every kind; every answer of a kind equally often.

    What the pictures of a split do not allow (a slice of every level, say) is not asked.

    Raises:
        DataError: a package of the extra ``demo`` is missing.
    """
    found = [picture for picture in pictures.pictures(side) if picture.split == split]
    for place, kind in enumerate(kinds):
        answers, task, draw = KINDS[kind]
        for number in range(num_samples // len(kinds) + (place < num_samples % len(kinds))):
            chance = random.Random(stable_hash(seed, split, kind, number))
            tries = (draw(found, chance, answers[number % len(answers)]) for _ in range(TRIES))
            asked = next((one for one in tries if one is not None), None)
            if asked is not None:
                yield _sample(f"{kind}-{split}-{seed}-{number}", kind, task, answers, split, asked, rationales)


def _sample(
    identity: str, kind: str, task: str, answers: Sequence[str], split: Split, asked: Asked, rationales: bool
) -> Sample:
    name = "Study" if kind == "same-modality" else "Slice"
    content: list[str | int] = []
    for place in range(len(asked.pictures)):
        content += [f"{name} {place + 1}: ", place, "\n"]
    answer = f"{asked.reasoning}\n<answer>{asked.answer}</answer>" if rationales else asked.answer
    modalities = sorted({picture.modality for picture in asked.pictures})
    tags = {
        "kind": kind, "form": "open", "task_type": task, "split": split, "source": "demo-two-step", "language": "en",
        "modality": modalities[0] if len(modalities) == 1 else "mixed",
        "study": asked.pictures[0].study, "image": asked.pictures[0].image,
        **({"reasoning": "computed"} if rationales else {}),
    }  # fmt: skip
    return Sample(
        id=f"{identity}/computed" if rationales else identity,
        turns=(Turn(role="user", content=(*content, asked.question)), Turn(role="assistant", content=(answer,))),
        media=tuple(picture.media for picture in asked.pictures),
        references=(asked.answer,),
        options=tuple(answers),
        tags=tags,
        licence="; ".join(sorted({sources.LICENCES[picture.package] for picture in asked.pictures})),
        meta={"images": [picture.image for picture in asked.pictures]},
    )


class DemoTwoStep(Reader):
    """Counting planes, levels apart, the modality of two studies, white matter compared; not a clinical data set.

    Answers are computed from slice positions, tissue masks and DICOM headers. No picture, block of slices or study is
    in two splits. ``rationales: computed`` answers with the reasoning that the facts give, tagged
    ``reasoning: computed``: no model wrote it.
    """

    split: Split = Field(default="train", description="Which part of the pictures to read.")
    num_samples: int = Field(default=1600, ge=1, description="Samples, the same number of every kind.")
    kinds: tuple[str, ...] = Field(default=(), description="Kinds of questions; all if empty.")
    rationales: Literal["none", "computed"] = Field(default="none", description="What stands before the answer.")
    side: int = Field(default=96, ge=32, le=192, description="Side of every picture in pixels.")
    seed: int = Field(default=0, description="Seed of what is drawn.")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every sample, kind after kind.

        Raises:
            InfimedError: an unknown kind.
            DataError: a package of the extra ``demo`` is missing.
        """
        check_names(self.kinds, tuple(KINDS), "kind")
        kinds = self.kinds or tuple(KINDS)
        yield from make(self.split, self.side, kinds, self.num_samples, self.seed, self.rationales == "computed")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Packages of the extra ``demo`` that are missing."""
        return sources.missing_packages(NEEDS)

    def fingerprint(self) -> str:
        """Changes with the settings, the version of the rules and the versions of the packages that carry the data."""
        return hashlib.sha256(f"{self.identity()}|{DATA_VERSION}|{sources.versions()}".encode()).hexdigest()


class DemoTwoStepBenchmark(_Demo):
    """The two-step questions about held-out pictures, shown by kind. Not a clinical benchmark."""

    version: ClassVar[str] = DATA_VERSION
    group_by: ClassVar[tuple[str, ...]] = ("kind",)
    baseline_by: ClassVar[tuple[str, ...]] = ("kind",)
    needs: ClassVar[tuple[str, ...]] = NEEDS

    kinds: tuple[str, ...] = Field(default=(), description="Kinds of questions; all if empty.")
    side: int = Field(default=96, ge=32, le=192, description="Side of every picture in pixels.")

    def samples(self) -> Iterator[Sample | Fault]:
        """Every question, kind by kind."""
        check_names(self.kinds, tuple(KINDS), "kind")
        kinds = self.kinds or tuple(KINDS)
        for sample in make(self.split, self.side, kinds, self.max_samples or 400, self.seed, rationales=False):
            tags = sample.tags | {"modality": modality_of(sample.tags["modality"])}
            yield sample.model_copy(update={"turns": sample.turns[:-1], "tags": tags})

    def generation(self) -> Generation:
        """Greedy; answers are a word."""
        return Generation(max_new_tokens=8)
