"""The reader ``volumes``: another reader's samples, each volume in them turned into several images or one montage."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from infimed_core import ComponentRef, DataError, Fault, Media, MediaLoader, Reader, Sample, Slices, Turn, load_plugins
from infimed_plugins.volumes.montage import montage_of
from infimed_plugins.volumes.samplers import in_range, of_best_contrast, spread_evenly

LOOKED_AT = 20
"""Rows that ``infimed check`` looks at."""
Window = str | tuple[float, float]


class Volumes(Reader):
    """Shows volumes of another reader's samples as several images: NIfTI, multi-frame DICOM, and DICOM series.

    A series is a folder, or three files or more of it that a turn shows one after another. Slices are chosen from
    headers (``best-contrast`` alone looks at pixels) and stand in order through the body, whatever their names. Each is
    a medium of its own, in the place of the volume. What was chosen stands in ``meta["volumes"]``: planes, indices,
    positions in millimetres, spacing, and gaps. Other media stay as they are, and so do volumes of which the row picks
    a slice itself. The settings are part of the data's fingerprint.
    """

    nested: ClassVar[Mapping[str, str]] = {"reader": "reader"}

    reader: ComponentRef = Field(description="The reader of the samples and its settings, as under data.sources.")
    sampler: Literal["uniform", "range", "best-contrast", "montage"] = Field(
        default="uniform",
        description="uniform: num_slices spread evenly; range: every step-th slice from first to last; best-contrast: "
        "the num_slices that vary most; montage: as uniform, in one image.",
    )
    num_slices: int = Field(default=8, ge=1, le=256, description="Slices of each volume and plane; all where fewer.")
    first: int = Field(default=0, description="For range: the first slice, from 0; negative from the end.")
    last: int | None = Field(default=None, description="For range: the last slice, included; by default the highest.")
    step: int = Field(default=1, ge=1, description="For range: every so-many-th slice.")
    columns: int | None = Field(default=None, ge=1, description="Of a montage; by default as square as can be.")
    planes: tuple[Literal["sagittal", "coronal", "axial"], ...] = Field(
        default=(), description="Planes to cut along, in this order; by default the one the volume was taken in."
    )
    windows: tuple[Window, Window, Window] | None = Field(
        default=None, description="Three windows, shown as red, green and blue of every slice."
    )
    label: str | None = Field(
        default=None,
        description="Text before every image, with {number}, {total}, {plane} and {position} filled in: "
        "'{plane} slice {number} of {total}: '.",
    )

    @model_validator(mode="after")
    def _label_can_be_filled(self) -> Volumes:
        if self.label is not None:
            try:
                self.label.format(number=1, total=1, plane="axial", position="0 mm")
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise ValueError(f"label knows number, total, plane and position, not {error}") from None
        return self

    @cached_property
    def _reader(self) -> Reader:
        made: Reader = load_plugins().find("reader", self.reader.use).model_validate(self.reader.settings)  # type: ignore[assignment]
        return made

    @cached_property
    def _loader(self) -> MediaLoader:
        return load_plugins().media_loader()

    def shards(self) -> Sequence[str]:
        """Those of the reader within."""
        return self._reader.shards()

    def place(self) -> str:
        """Of the row that was read last."""
        return self._reader.place()

    def fingerprint(self) -> str:
        """Changes with the settings, with what the reader reads, and with the files in folders of series."""
        digest = hashlib.sha256(f"{self.identity()}|{self._reader.fingerprint()}".encode())
        for folder in sorted(self._folders()):
            for path in sorted(Path(folder).iterdir()):
                status = path.stat()
                digest.update(f"|{path.name} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _folders(self) -> set[str]:
        rows = (row for shard in self.shards() for row in self._reader.read(shard) if isinstance(row, Sample))
        return {item.uri for row in rows for item in row.media if item.uri and os.path.isdir(item.uri)}

    def doubts(self) -> tuple[str, ...]:
        """Those of the reader within; or that a volume of its first rows cannot be shown."""
        if told := self._reader.doubts():
            return told
        rows = (row for shard in self.shards() for row in self.read(shard))
        faults = [row for row in islice(rows, LOOKED_AT) if isinstance(row, Fault)]
        first = f"{faults[0].where}: {faults[0].code}: {faults[0].detail}" if faults else ""
        return (f"{len(faults)} of the first {LOOKED_AT} rows are no samples; {first}",) if faults else ()

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """Every row of the reader within; a volume that cannot be cut is its row's fault."""
        return self.read_from(shard, 0)

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        """The rows from ``start`` on; volumes before are not looked at."""
        for row in self._reader.read_from(shard, start):
            if isinstance(row, Fault):
                yield row
                continue
            try:
                yield self._expanded(row)
            except Exception as error:  # whatever a file makes its modality raise, it is this row's
                code = error.code if isinstance(error, DataError) else "bad_volume"
                detail = " ".join(str(error).split())[:500] or type(error).__name__
                yield Fault(sample_id=row.id, code=code, detail=detail, where=self.place() or shard)

    def _expanded(self, sample: Sample) -> Sample:
        media: list[Media] = []
        told: list[JsonValue] = []
        places: dict[int, Sequence[str | int]] = {}
        for group in _groups(sample):
            items = [sample.media[index] for index in group]
            uri = items[0].uri if len(items) == 1 else os.path.dirname(str(items[0].uri))
            stacks = [self._stack(items, plane) for plane in self.planes or (None,)]
            volumes = [stack for stack in stacks if stack is not None]
            for index in group:
                places[index] = ()
                if not volumes:
                    places[index] = (len(media),)
                    media.append(sample.media[index])
            if volumes:
                places[group[0]] = [part for stack in volumes for part in self._shown(stack, uri, media, told)]
        if not told:
            return sample
        turns = tuple(turn.model_copy(update={"content": _replaced(turn, places)}) for turn in sample.turns)
        meta = {**sample.meta, "volumes": told}
        return sample.model_copy(update={"turns": turns, "media": tuple(media), "meta": meta})

    def _stack(self, media: list[Media], plane: str | None) -> Slices | None:
        """The volume that the media are, if they are one."""
        if any(item.uri and os.path.isdir(item.uri) for item in media):
            if len(media) > 1:
                return None
            media = [media[0].model_copy(update={"kind": "dicom"})]
        return self._loader.slices(media, plane)

    def _shown(self, stack: Slices, uri: str | None, media: list[Media], told: list[JsonValue]) -> list[str | int]:
        """The content that shows the chosen slices; adds them to ``media``, and what they are to ``told``."""
        slices = stack.media
        if self.windows is not None:
            window: Any = [one if isinstance(one, str) else list(one) for one in self.windows]
            slices = tuple(item.model_copy(update={"options": {**item.options, "window": window}}) for item in slices)
        chosen = self._chosen(slices)
        told.append(
            {
                "uri": uri,
                "plane": stack.plane,
                "num_slices": len(slices),
                "slices": list(chosen),
                "positions": [stack.positions[index] for index in chosen],
                "spacing": list(stack.spacing) if stack.spacing else None,
                "ordered_by": stack.ordered_by,
                "left_out": stack.left_out,
                **_gaps(stack),
            }
        )
        if self.sampler == "montage":
            columns = self.columns or math.ceil(math.sqrt(len(chosen)))
            media.append(montage_of(tuple(slices[index] for index in chosen), columns))
            return [len(media) - 1]
        content: list[str | int] = []
        for number, index in enumerate(chosen):
            if self.label is not None:
                unit = " mm" if stack.ordered_by == "position" else ""
                position = f"{stack.positions[index]:g}{unit}"
                plane = stack.plane or "unknown"
                content.append(self.label.format(number=number + 1, total=len(chosen), plane=plane, position=position))
            content.append(len(media))
            media.append(slices[index])
        return content

    def _chosen(self, slices: tuple[Media, ...]) -> list[int]:
        if self.sampler == "range":
            return in_range(len(slices), self.first, self.last, self.step)
        if self.sampler == "best-contrast":
            return of_best_contrast(slices, self.num_slices, self._loader.load)
        return spread_evenly(len(slices), self.num_slices)


def _gaps(stack: Slices) -> dict[str, JsonValue]:
    """Where slices are missing: the positions between which the way is longer than elsewhere."""
    steps = [after - before for before, after in pairwise(stack.positions)]
    usual = sorted(steps)[len(steps) // 2] if stack.ordered_by == "position" and len(steps) > 1 else 0.0
    found: list[JsonValue] = [
        [stack.positions[at], stack.positions[at + 1]] for at, step in enumerate(steps) if step > 1.5 * usual > 0
    ]
    return {"gaps": found} if found else {}


def _groups(sample: Sample) -> list[list[int]]:
    """Media that may be one volume: DICOM files that stand one after another in a turn, and each other medium alone."""
    together: dict[int, list[int]] = {}
    for turn in sample.turns:
        run: list[int] = []
        for part in turn.content:
            joins = isinstance(part, int) and _is_plain_dicom(sample.media[part]) and part not in together
            if isinstance(part, int) and joins:
                run.append(part)
                together[part] = run
            elif not (isinstance(part, str) and not part.strip()):
                run = []
    groups: list[list[int]] = []
    for index in range(len(sample.media)):
        group = together.get(index, [index])
        if group[0] == index or index not in group:
            groups.append(group)
    return groups


def _is_plain_dicom(item: Media) -> bool:
    return item.kind == "dicom" and item.uri is not None and not item.options and not os.path.isdir(item.uri)


def _replaced(turn: Turn, places: Mapping[int, Sequence[str | int]]) -> tuple[str | int, ...]:
    content: list[str | int] = []
    for part in turn.content:
        content += [part] if isinstance(part, str) else places.get(part, [])
    return tuple(content)
