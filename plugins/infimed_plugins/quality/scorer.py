"""The scorer ``five-dimension``: CPU heuristics for five dimensions, and their weighted geometric mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from infimed_core import Component, DataError, MediaLoader, Sample, Score, Scorer, read_named
from infimed_plugins.quality.calibration import Calibration, load_calibration
from infimed_plugins.quality.composite import composite
from infimed_plugins.quality.modalities import is_unknown, modality_of, tells_of_chest
from infimed_plugins.quality.pictures import Picture, image_quality, media_key, open_picture
from infimed_plugins.quality.profile import DIMENSIONS, Profile, load_profile, profile_path, told_profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import texts_of

if TYPE_CHECKING:
    from infimed_plugins.quality.privacy.pixels import PixelReader

FILES = (
    "lexicon.yaml", "chest.txt", "medical_terms.txt", "common_words.txt", "everyday_words.txt", "calibration.json",
    "given_names.txt", "privacy/basic_profile.txt",
)  # fmt: skip


class FiveDimension(Scorer):
    """Scores image quality, alignment, completeness, medical validity and compliance, each in [0, 1] or ``None``.

    The dimensions are our choice and live in a profile file. ``None`` means that a dimension does not apply or
    cannot be judged; it takes no part in the value. A sample whose media cannot be opened has the status
    ``error`` and no value.
    """

    packages: ClassVar[Mapping[str, str]] = dict.fromkeys(("cv2", "ftfy", "pyarrow"), "infimed[score]")

    dimensions: ClassVar[tuple[str, ...]] = DIMENSIONS
    identity_reasons: ClassVar[frozenset[str]] = frozenset(r.value for r in Reason if r.value.startswith("phi_"))
    identity_part: ClassVar[str] = "compliance"
    version: ClassVar[str] = "11"

    profile: str = Field(default="default", description="A quality profile: 'default' or the path of a YAML file.")
    calibration: str | None = Field(default=None, description="Path of a calibration file instead of the shipped one.")
    read_pixels: bool = Field(default=False, description="Search the pixels for burned-in identity; extra 'privacy'.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A profile or calibration that cannot be used."""
        found = told_profile(self.profile)
        try:
            if self.calibration:
                load_calibration(self.calibration)
        except DataError as error:
            found["calibration"] = str(error)
        return found

    def given_dimensions(self) -> Sequence[str]:
        """Those of the profile."""
        return self._profile.dimensions

    def identity(self) -> str:
        """Changes with the settings, the rules and the contents of every data file that decides a score."""
        from infimed_plugins.quality.privacy.pixels import can_read_pixels

        digest = hashlib.sha256(self.version.encode())
        for name in FILES:
            digest.update((Path(__file__).parent / name).read_bytes())
        digest.update(str(self.read_pixels and can_read_pixels()).encode())  # checked here, unchecked there
        digest.update(read_named(profile_path(self.profile)))
        if self.calibration:
            digest.update(read_named(Path(self.calibration)))
        return f"{super().identity()}|{digest.hexdigest()}"

    @cached_property
    def _profile(self) -> Profile:
        return load_profile(self.profile)

    @cached_property
    def _calibration(self) -> Calibration:
        return load_calibration(self.calibration)

    @cached_property
    def _reader(self) -> PixelReader | None:
        from infimed_plugins.quality.privacy.pixels import PixelReader, can_read_pixels

        return PixelReader() if can_read_pixels() else None

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        """One score per sample, in order; equal media are opened once per call, and nothing else is shared."""
        from infimed_plugins.quality.compliance import header_identity, pixel_identity

        pictures: dict[str, Picture] = {}
        headers: dict[str, tuple[list[Reason], int, list[str]]] = {}
        for sample in samples:
            for item in sample.media:
                key = media_key(item)
                if key in pictures:
                    continue
                pictures[key] = open_picture(item, media, self._profile)
                headers[key] = header_identity(item) if "compliance" in self._profile.dimensions else ([], 0, [])
                if pictures[key].fault is None and "compliance" in self._profile.dimensions:
                    found, num, notes = headers[key]
                    reader = self._reader if self.read_pixels else None
                    burned, more = pixel_identity(item, media, reader)
                    headers[key] = (found + burned, num, notes + more)
        return [self._score_one(sample, pictures, headers) for sample in samples]

    def _worst_picture(
        self, sample: Sample, own: Sequence[Picture]
    ) -> tuple[float | None, list[Reason], dict[str, float]]:
        modality = modality_of(sample)
        chest = tells_of_chest(sample)
        judged = [image_quality(picture, modality, self._profile, self._calibration, chest) for picture in own]
        worst = min(judged, key=lambda found: found[0])
        return worst[0], [reason for found in judged for reason in found[1]], worst[2]

    def _score_one(
        self,
        sample: Sample,
        pictures: Mapping[str, Picture],
        headers: Mapping[str, tuple[list[Reason], int, list[str]]],
    ) -> Score:
        alignment, completeness, compliance, medical_validity, install = _judges()
        profile = self._profile
        texts = texts_of(sample)
        keys = [media_key(item) for item in sample.media]
        own = [pictures[key] for key in keys]
        parts: dict[str, float | None] = dict.fromkeys(profile.dimensions)
        reasons: list[Reason] = []
        raw: dict[str, float | None] = {"num_images": float(len(own))}
        faults = [picture for picture in own if picture.fault is not None]
        reasons += [picture.fault for picture in faults if picture.fault is not None]
        wrong_index = any(not 0 <= i < len(own) for turn in sample.turns for i in turn.media_indices)
        if wrong_index:
            reasons.append(Reason.MEDIA_INDEX_INVALID)

        def take(name: str, judge: Callable[[], tuple[float | None, list[Reason], dict[str, float]]]) -> None:
            if name in parts:
                judged = judge()
                parts[name] = None if judged[0] is None else round(judged[0], 4)
                reasons.extend(judged[1])
                raw.update(judged[2])

        if own and not faults:
            take("image_quality", lambda: self._worst_picture(sample, own))
        take("alignment", lambda: alignment(sample, texts, own, profile))
        take("completeness", lambda: completeness(texts, profile))
        take("medical_validity", lambda: medical_validity(sample, texts))
        found = [headers[key] for key in keys]
        identified: list[str] = []
        if "compliance" in parts:
            value_of, found_in, measured, identified = compliance(
                sample, texts.everything, found, profile.compliance.names
            )
            take("compliance", lambda: (value_of, found_in, measured))
        unread = bool(own) and self._reader is None if self.read_pixels else bool(own)
        if unread:
            raw["pixels_unchecked"] = 1.0
        if is_unknown(sample):
            reasons.append(Reason.MODALITY_UNKNOWN)
        told = [f"pixels unchecked: no OCR is installed; {install}"] if unread and self.read_pixels else []
        broken = bool(faults) or wrong_index
        value = None if broken else composite(parts, profile.weights)
        if value is None and not broken:
            reasons.append(Reason.NOTHING_TO_SCORE)
        reasons += [
            Reason(f"below_minimum_{name}")
            for name, least in profile.hard_minimums.items()
            if (part := parts[name]) is not None and part < least
        ]
        raw["coverage"] = sum(part is not None for part in parts.values()) / len(parts)
        return Score(
            value=value,
            status="error" if broken else "ok" if value is not None else "unscored",
            parts=parts,
            reasons=tuple(reason.value for reason in dict.fromkeys(reasons)),
            raw=raw,
            note="; ".join(dict.fromkeys([*(picture.detail for picture in faults), *told, *identified])),
        )


@cache
def _judges() -> tuple[Any, ...]:
    """Imported when something is scored: their patterns take longer to compile than a run file to check."""
    from infimed_plugins.quality.alignment import alignment
    from infimed_plugins.quality.completeness import completeness
    from infimed_plugins.quality.compliance import compliance
    from infimed_plugins.quality.privacy.pixels import INSTALL
    from infimed_plugins.quality.validity import medical_validity

    return alignment, completeness, compliance, medical_validity, INSTALL
