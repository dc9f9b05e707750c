"""The reader ``huggingface``: a dataset by its hub id or from a local directory, through the package datasets."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from infimed_core import Component, DataError, Fault, Media, Reader, Sample
from infimed_plugins.readers.arrow import decoder_of, rows_of
from infimed_plugins.readers.columns import ASKED, Columns, sample_of
from infimed_plugins.readers.files import doubts_of, fault_of, finished, one_line, sha256_of, stable_id
from infimed_plugins.readers.local_dataset import files_of, load_folder
from infimed_plugins.readers.places import below, kind_of_file, with_ending
from infimed_plugins.readers.texts import not_whole

BATCH = 64
"""Rows in memory at once."""
LOOKED_AT = 64
"""Rows that ``infimed check`` looks at."""


class HuggingFace(Reader):
    """Rows of one split; media stay as they are stored, however deep. Dataset scripts are never run.

    ``path`` is a hub id (``owner/name``), a directory written by ``save_to_disk``, or a directory of data files.
    """

    packages: ClassVar[Mapping[str, str]] = {"pyarrow": "infimed[score]"}

    path: str = Field(description="Hub id, or a directory relative to the current one.")
    name: str | None = Field(default=None, description="The dataset's configuration.")
    split: str = Field(default="train", description="Which split is read.")
    revision: str | None = Field(default=None, description="Hub commit, branch or tag; name a commit to be repeatable.")
    columns: Columns = Columns()
    question: str | None = Field(default=None, min_length=1, description=ASKED)
    image_root: str | None = Field(default=None, description="Folder that media paths in rows start from.")
    search_below: bool = Field(
        default=False,
        description="Look for media that are not where their path says in all folders below image_root, by their name; "
        "a name that is there twice with different content is a fault.",
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="Columns that are left out on purpose and would else be a fault (objects, tools ...)."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags added to every sample; a row's own tag wins.")
    licence: str | None = Field(default=None, description="Licence of the samples.")
    max_samples: int | None = Field(default=None, ge=1, description="Most rows read.")
    _read_place: str = PrivateAttr("")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """The rows of the split, in order."""
        return self.read_from(shard, 0)

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        """The rows from ``start`` on; those before are not looked at."""
        dataset, decoders = self._dataset
        stem = self.path.rstrip("/").rpartition("/")[2]
        num_rows = len(dataset) if self.max_samples is None else min(len(dataset), self.max_samples)
        for first in range(start - start % BATCH, num_rows, BATCH):
            stop = min(first + BATCH, num_rows)
            try:
                rows: list[Any] = list(rows_of(dataset[first:stop], decoders))
            except Exception as error:  # a part of the file that is damaged
                told = DataError("bad_row", f"its group of rows is broken: {one_line(error)}; fetch the data set again")
                rows = [told] * (stop - first)
            for number, row in enumerate(rows[max(0, start - first) :], max(first, start)):
                identity, where = f"{stem}-{self.split}-{number}", f"{self.path}:{self.split}:row {number}"
                self._read_place = where
                yield (
                    fault_of(row, identity, where)
                    if isinstance(row, Exception)
                    else self._checked(row, identity, where)
                )

    def _checked(self, row: dict[str, Any], identity: str, where: str) -> Sample | Fault:
        try:
            sample = sample_of(row, self.columns, identity, self._place, self.ignore, self.question)
            return finished(sample, self.tags, self.licence)
        except Exception as error:  # whatever it is, it is this row's
            if not isinstance(error, DataError) and (told := not_whole(row)):
                error = DataError("bad_row", told)
            try:
                own = stable_id(row.get(self.columns.id) if self.columns.id else None, identity)
            except Exception:
                own = identity
            return fault_of(error, own, where)

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A local directory that is not there, as far as ``path`` cannot be a name on the hub."""
        found = {}
        local = self.path.startswith((".", "/", "~")) or self.path.count("/") > 1
        if local and not os.path.isdir(os.path.expanduser(self.path)):
            found["path"] = f"{self.path}: no such folder; a dataset on the hub is named OWNER/NAME"
        if self.image_root is not None and not os.path.isdir(os.path.expanduser(self.image_root)):
            found["image_root"] = f"{self.image_root}: no such folder; media paths start from it"
        return found

    def doubts(self) -> tuple[str, ...]:
        """Columns that the data set does not have, or that of its first rows none or too few are samples.

        Of a data set that lies here: to look at one on the hub would download it.
        """
        if not os.path.isdir(os.path.expanduser(self.path)):
            return ()
        try:
            names = list(self._dataset[0].column_names)
            if missing := self.columns.missing(names):
                return tuple(f"columns.{place}: {told}" for place, told in missing.items())
            few = self.model_copy(update={"max_samples": min(self.max_samples or LOOKED_AT, LOOKED_AT)})
            return doubts_of(list(few.read("")))
        except DataError as error:
            return (str(error),)

    def place(self) -> str:
        """Of the row that was read last."""
        return self._read_place

    def fingerprint(self) -> str:
        """A digest of settings and data: file contents for a directory, the dataset's own fingerprint for a hub id."""
        digest = hashlib.sha256(self.identity().encode())
        folder = Path(os.path.expanduser(self.path))
        if folder.is_dir():
            for file in files_of(folder):
                digest.update(f"\n{file.relative_to(folder).as_posix()} {sha256_of(file)}".encode())
        else:
            digest.update(self._dataset[0]._fingerprint.encode())
        return digest.hexdigest()

    @functools.cached_property
    def _dataset(self) -> tuple[Any, dict[str, Any]]:
        """The split as Arrow tables, so that no feature of ``datasets`` opens what a row names; and what is coded."""
        import datasets

        folder = Path(os.path.expanduser(self.path))
        try:
            loaded = (
                load_folder(folder, self.name, self.split)
                if folder.is_dir()
                else datasets.load_dataset(self.path, self.name, split=self.split, revision=self.revision)
            )
        except DataError:
            raise
        except Exception as error:  # the package raises every kind, down to its downloader's own
            error = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise DataError(
                "bad_file",
                f"{self.path}: dataset cannot be loaded ({type(error).__name__}: {one_line(error)}); "
                "check path, name and split, or download it first",
            ) from None
        decoders = {name: decoder_of(feature) for name, feature in loaded.features.to_dict().items()}
        known = {name: decoder for name, decoder in decoders.items() if decoder is not None}
        return loaded.with_format("arrow"), known

    def _place(self, name: str) -> Media:
        """A file that a row names: below ``image_root``, the local directory, or the hub's own cache; nowhere else."""
        folder = os.path.abspath(os.path.expanduser(self.image_root or self.path))
        if "\\" in name and not os.path.exists(os.path.join(folder, name)):  # as Windows writes a path
            name = name.replace("\\", "/")
        place = os.path.abspath(os.path.join(folder, name))
        roots = [folder]
        if self.image_root is None and not os.path.isdir(folder):
            import datasets
            from huggingface_hub import constants

            roots = [str(datasets.config.HF_DATASETS_CACHE), constants.HF_HUB_CACHE]
        found, root = Path(place), Path(roots[0])
        if found.is_relative_to(root):
            found = with_ending(found, root)
            if self.search_below and not os.path.lexists(found):
                found = below(root, os.path.relpath(found, root), sha256_of) or found
        if not any(Path(os.path.realpath(found)).is_relative_to(os.path.realpath(root)) for root in roots):
            raise DataError(
                "outside_root", f"'{name}' leads out of {roots[0]}; set image_root if the files lie elsewhere"
            )
        return Media(kind=kind_of_file(found), uri=str(found))
