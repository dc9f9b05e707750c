"""What every reader of files shares: which files, which rows, where images lie, and a digest of the content."""

from __future__ import annotations

import glob
import hashlib
import os
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from infimed_core import Component, DataError, Fault, Media, Reader, Sample, canonical_json

KINDS = {".dcm": "dicom", ".dicom": "dicom", ".nii": "nifti"}
"""The modality of a file by its ending; any other is an image."""

_digests: dict[tuple[str, int, int], str] = {}


class FileReader(Reader):
    """Reads one file or all that a pattern matches, in sorted order; each file is a shard.

    A subclass says what a row is (``rows``) and how it becomes a sample (``sample``). What is wrong with a row becomes
    a fault that names file and row, and reading goes on.
    """

    path: str = Field(description="A file or a pattern (*, ?, **), relative to the current directory.")
    image_root: str | None = Field(
        default=None, description="Folder that the rows' media paths start from; the file's own folder by default."
    )
    allow_outside: bool = Field(
        default=False, description="Allow media paths that lead out of image_root (.., absolute paths, links)."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags added to every sample; a row's own tag wins.")
    licence: str | None = Field(default=None, description="Licence of the samples whose row names none.")
    max_samples: int | None = Field(default=None, ge=1, description="Most rows read, counted over all files in order.")
    _read_place: str = PrivateAttr("")

    def files(self) -> list[Path]:
        """The files, sorted by path.

        Raises:
            DataError: ``missing_file``: there are none.
        """
        pattern = os.path.abspath(os.path.expanduser(self.path))
        if os.path.exists(pattern):  # a name with brackets in it is a name first
            return [Path(pattern)]
        found = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
        if not found:
            raise DataError(
                "missing_file", f"{self.path}: no such file (looked for {pattern}); check the source's path"
            )
        return found

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Files or folders that are not there."""
        found = {}
        try:
            self.files()
        except DataError as error:
            found["path"] = str(error)
        if self.image_root is not None and not os.path.isdir(os.path.expanduser(self.image_root)):
            found["image_root"] = f"{self.image_root}: no such folder; media paths start from it"
        return found

    def shards(self) -> Sequence[str]:
        """One shard a file; a single one under ``max_samples``, which counts over all files."""
        files = [str(file) for file in self.files()]
        return files if self.max_samples is None else ("",)

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """The rows of one file (all files for the shard ``""``), each a sample or the fault that says why not."""
        files = [Path(shard)] if shard else self.files()
        stems = self._stems(self.files())
        num_left = self.max_samples
        for file in files:
            rows = self.rows(file)
            number = 0
            while num_left is None or num_left > 0:
                identity = f"{stems[file]}-{number}"
                try:
                    place, row = next(rows)
                except StopIteration:
                    break
                except (
                    DataError,
                    OSError,
                    ValueError,
                    EOFError,
                    zlib.error,
                ) as error:  # the rest of this file cannot be reached
                    code = error.code if isinstance(error, DataError) else "bad_file"
                    yield Fault(sample_id=identity, code=code, detail=one_line(error), where=str(file))
                    break
                self._read_place = place
                yield self._checked(file, place, identity, row)
                number += 1
                num_left = None if num_left is None else num_left - 1

    def place(self) -> str:
        """Of the row that was read last."""
        return self._read_place

    @abstractmethod
    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Every row of a file with its place for people (``file:line``); a row that is an exception is a fault."""

    @abstractmethod
    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """Turn a row into a sample; ``identity`` is its id unless the row has one.

        Raises:
            DataError: the row cannot be one; told without its place.
        """

    def fingerprint(self) -> str:
        """A digest of settings, file names and contents; contents are read once in a process."""
        digest = hashlib.sha256(self.identity().encode())
        for file in self.files():
            digest.update(f"\n{file.name} {self.digest(file)}".encode())
        return digest.hexdigest()

    def digest(self, file: Path) -> str:
        """Digest of one file's content."""
        return sha256_of(file)

    def media(self, file: Path, name: str) -> Media:
        """The medium at ``name``, relative to ``image_root``.

        Raises:
            DataError: ``outside_root``: the path, or a link on it, leads out of the root.
        """
        root = Path(os.path.abspath(os.path.expanduser(self.image_root))) if self.image_root else file.parent
        place = Path(os.path.abspath(root / name))
        if not self.allow_outside and not _inside(place, root):
            raise DataError(
                "outside_root", f"'{name}' leads out of {root}; set image_root, or allow_outside: true if it is meant"
            )
        return Media(kind=kind_of(name), uri=str(place))

    def _checked(self, file: Path, place: str, identity: str, row: Any) -> Sample | Fault:
        try:
            if isinstance(row, Exception):
                raise row
            sample = self.sample(file, identity, row)
            if not any(turn.text.strip() for turn in sample.turns):
                raise DataError("empty_text", "no turn has any text; give the row a question, an answer or a caption")
        except DataError as error:
            return Fault(sample_id=own_id(row, identity), code=error.code, detail=one_line(error), where=place)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return Fault(sample_id=own_id(row, identity), code="bad_row", detail=one_line(error), where=place)
        return sample.model_copy(
            update={"tags": {**self.tags, **sample.tags}, "licence": sample.licence or self.licence}
        )

    def _stems(self, files: Sequence[Path]) -> dict[Path, str]:
        """A short name for each file, of as many folders as it takes to tell them apart."""
        for depth in range(1, max(len(file.parts) for file in files) + 1):
            names = {file: "/".join([*file.parts[-depth:-1], file.name.split(".")[0]]) for file in files}
            if len(set(names.values())) == len(files):
                return names
        return {file: file.name for file in files}


def kind_of(name: str) -> str:
    """The modality component that reads a file of this name."""
    lower = name.lower()
    return KINDS.get(Path(lower.removesuffix(".gz")).suffix, "image")


def sha256_of(file: Path) -> str:
    """sha256 of a file's content, read in pieces, once in a process while its size and time stand."""
    status = file.stat()
    key = (str(file), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        with open(file, "rb") as opened:
            _digests[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    return _digests[key]


def own_id(row: Any, otherwise: str) -> str:
    """The id that a row that is no sample brings, as far as it brings one."""
    try:
        return stable_id(row.get("id") if isinstance(row, dict) else None, otherwise)
    except DataError:
        return otherwise


def stable_id(value: Any, otherwise: str) -> str:
    """A row's own id as text, or the one made from its file and number."""
    if value is None or value == "":
        return otherwise
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        "bad_row", f"id is {canonical_json(value) if isinstance(value, (list, dict)) else value!r}: use text"
    )


def _inside(place: Path, root: Path) -> bool:
    return place.is_relative_to(root) and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root))


def one_line(error: BaseException) -> str:
    """An exception's message on one line, cut at 500 characters."""
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return " ".join(str(error).split())[:500] or type(error).__name__
