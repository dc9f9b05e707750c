"""What every reader of files shares: which files, which rows, where images lie, and a digest of the content."""

from __future__ import annotations

import codecs
import glob
import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from infimed_core import Component, DataError, Fault, Media, Reader, Sample, canonical_json
from infimed_plugins.readers.image_names import doubts_of_images
from infimed_plugins.readers.options import with_options
from infimed_plugins.readers.places import below, inside, is_plain, kind_of_file, with_ending
from infimed_plugins.readers.remote import (
    fetched,
    forget,
    is_remote,
    matching,
    place_of,
    problem_of,
    url_of,
    version_of,
)
from infimed_plugins.readers.texts import not_whole, printable, regular
from infimed_plugins.readers.values import known, says_nothing

MANY_FAULTS = 0.1
"""Share of rows at fault from which on a source is suspect."""
_digests: dict[tuple[str, int, int], str] = {}


class FileReader(Reader):
    """Reads one file or all that a pattern matches, in sorted order; each file is a shard.

    A subclass says what a row is (``rows``) and how it becomes a sample (``sample``). What is wrong with a row becomes
    a fault that names file and row, and reading goes on.
    """

    path: str = Field(
        description="A file or a pattern (*, ?, **), relative to the current directory, or a URL (https://, s3://, hf://)."
    )
    image_root: str | None = Field(
        default=None, description="Folder that the rows' media paths start from; the file's own folder by default."
    )
    allow_outside: bool = Field(
        default=False, description="Allow media paths that lead out of image_root (.., absolute paths, links)."
    )
    search_below: bool = Field(
        default=False,
        description="Look for media that are not where their path says in all folders below image_root, by their name; "
        "a name that is there twice with different content is a fault.",
    )
    encoding: str | None = Field(
        default=None, description="Encoding of texts (cp1252, gb18030 ...); what the file's mark says, else UTF-8."
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="Fields that are left out on purpose and would else be a fault (objects, tools ...)."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags added to every sample; a row's own tag wins.")
    licence: str | None = Field(default=None, description="Licence of the samples whose row names none.")
    max_samples: int | None = Field(default=None, ge=1, description="Most rows read, counted over all files in order.")
    keep_fetched: bool = Field(
        default=True, description="Keep files of a URL in the cache; false removes each once it was read."
    )
    look: ClassVar[int] = 200
    """Rows that ``infimed check`` looks at."""
    _read_place: str = PrivateAttr("")

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        try:
            if name is not None and not codecs.lookup(name)._is_text_encoding:  # type: ignore[attr-defined]
                raise LookupError
        except LookupError:
            raise ValueError(f"no encoding is named '{name}'; write utf-8, cp1252, latin-1, gb18030 ...") from None
        return name

    def files(self) -> list[Path]:
        """The files, sorted by path.

        Raises:
            DataError: ``missing_file``: there are none.
        """
        if is_remote(self.path):
            return [place_of(url) for url in matching(self.path)]
        pattern = os.path.abspath(os.path.expanduser(self.path))
        if os.path.exists(pattern):  # a name with brackets in it is a name first
            try:
                regular(Path(pattern))
            except DataError as error:
                raise DataError("missing_file", f"{self.path}: {error}; check the source's path") from None
            return [Path(pattern)]
        found = sorted({Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)})
        if not found:
            raise DataError(
                "missing_file", f"{self.path}: no such file (looked for {pattern}); check the source's path"
            )
        return found

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """Files or folders that are not there."""
        remote = {name: url for name, url in (("path", self.path), ("image_root", self.image_root)) if is_remote(url)}
        found = {name: reason for name, url in remote.items() if url and (reason := problem_of(url))}
        try:
            if "path" not in remote:
                self.files()
        except DataError as error:
            found["path"] = str(error)
        if "image_root" in remote:
            return found
        if self.image_root is not None and not os.path.isdir(os.path.expanduser(self.image_root)):
            found["image_root"] = f"{self.image_root}: no such folder; media paths start from it"
        return found

    def doubts(self) -> tuple[str, ...]:
        """That of the first rows none is a sample, many are faults or no image is there; of a URL nothing is read."""
        if is_remote(self.path):
            return ()
        reader = self.model_copy(update={"max_samples": min(self.max_samples or self.look, self.look)})
        try:
            rows = [row for shard in reader.shards() for row in reader.read(shard)]
        except DataError as error:
            return (str(error),)
        samples = [row for row in rows if isinstance(row, Sample)]
        if is_remote(self.image_root) or not samples:
            return doubts_of(rows)
        return doubts_of(rows) + doubts_of_images(
            samples, self.first_rows(), "columns" in type(self).model_fields, self.search_below
        )

    def first_rows(self) -> Iterator[Any]:
        """The first rows as they stand in the first file, without what is left out on purpose."""
        try:
            for _, row in islice(self.rows(self.files()[0]), self.look):
                named = isinstance(row, Mapping)
                yield {name: row[name] for name in row if name not in self.ignore} if named else row
        except Exception:  # the file breaks off: told by its faults
            return

    def shards(self) -> Sequence[str]:
        """One shard a file; a single one under ``max_samples``, which counts over all files."""
        files = [str(file) for file in self.files()]
        return files if self.max_samples is None else ("",)

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        """The rows of one file (all files for the shard ``""``), each a sample or the fault that says why not."""
        return self.read_from(shard, 0)

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        """The rows from ``start`` on; those before are taken from the file and not made samples."""
        files = [Path(shard)] if shard else self.files()
        stems = stems_of(self.files())
        num_left, count = self.max_samples, 0
        for file in files:
            url = url_of(file)
            rows = self.rows(fetched(url) if url is not None else file)
            number = 0
            while num_left is None or num_left > 0:
                identity = f"{stems[file]}-{number}"
                try:
                    place, row = next(rows)
                except StopIteration:
                    break
                except Exception as error:  # the rest of this file cannot be reached
                    if count >= start:
                        yield fault_of(error, identity, str(file), "bad_file")
                    count += 1
                    break
                if count >= start:
                    self._read_place = printable(place)
                    yield self._checked(file, place, identity, row)
                count += 1
                number += 1
                num_left = None if num_left is None else num_left - 1
            if url is not None and not self.keep_fetched:
                forget(file)

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

    def own_id(self, row: Any) -> Any:
        """The id that a row brings, for the fault it is; ``None`` where it brings none."""
        return row.get("id") if isinstance(row, Mapping) else None

    def fingerprint(self) -> str:
        """A digest of settings, file names and contents; contents are read once in a process."""
        digest = hashlib.sha256(self.identity().encode())
        for file in self.files():
            digest.update(f"\n{file.name} {self.digest(file)}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def digest(self, file: Path) -> str:
        """Digest of one file's content, or of what its place says of it where it is at a URL."""
        url = url_of(file)
        return sha256_of(file) if url is None else version_of(url)

    def media(self, file: Path, name: str) -> Media:
        """The medium at ``name``, relative to ``image_root``; the ending may be missing where it is clear.

        Raises:
            DataError: ``outside_root``: the path, or a link on it, leads out of the root; ``ambiguous_media``: several
            files may be meant.
        """
        root = self._root(file)
        if "\\" in name and not os.path.exists(root / name):  # as Windows writes a path
            name = name.replace("\\", "/")
        place = Path(os.path.abspath(root / name))
        if (url := url_of(place)) is not None and inside(place, root):
            fetched(url)
        if self.allow_outside or inside(place, root):
            place = with_ending(place, root)
            if self.search_below and not os.path.lexists(place):
                place = below(root, name, sha256_of) or place
        if not self.allow_outside and not inside(place, root):
            raise DataError(
                "outside_root", f"'{name}' leads out of {root}; set image_root, or allow_outside: true if it is meant"
            )
        return Media(kind=kind_of_file(place), uri=str(place))

    def _root(self, file: Path) -> Path:
        if not self.image_root:
            return file.parent
        if is_remote(self.image_root):
            return place_of(self.image_root)
        return Path(os.path.abspath(os.path.expanduser(self.image_root)))

    def _checked(self, file: Path, place: str, identity: str, row: Any) -> Sample | Fault:
        try:
            if isinstance(row, Exception):
                raise row
            sample = finished(self.sample(file, identity, row), self.tags, self.licence, self.encoding)
        except Exception as error:  # whatever it is, it is this row's
            own = _identity(self._own_id(row), identity)
            if not isinstance(error, DataError) and (told := not_whole(row, self.encoding)):
                error = DataError("bad_row", told)
            return fault_of(error, own, place)
        return sample

    def _own_id(self, row: Any) -> Any:
        try:
            return self.own_id(row)
        except Exception:  # the row is a fault already, whatever it holds in place of an id
            return None


def doubts_of(rows: Sequence[Sample | Fault]) -> tuple[str, ...]:
    """What is to be said of the first rows of a source: that none is a sample, or that more than a tenth are faults."""
    faults = [row for row in rows if isinstance(row, Fault)]
    if len(faults) == len(rows):
        first = f"; {faults[0].where}: {faults[0].code}: {faults[0].detail}" if faults else ""
        return (f"NO SAMPLE in the first {len(rows)} rows{first}",)
    if len(faults) > MANY_FAULTS * len(rows):
        first = f"{faults[0].where}: {faults[0].code}: {faults[0].detail}"
        return (f"{len(faults)} of the first {len(rows)} rows are no samples; {first}",)
    return ()


def finished(sample: Sample, tags: Mapping[str, str], licence: str | None, encoding: str | None = None) -> Sample:
    """The sample with its source's tags and licence.

    Raises:
        DataError: ``empty_text``: it says nothing.
        UnicodeError: a text of it is not whole.
    """
    texts = {
        "text": [turn.content for turn in sample.turns], "id": sample.id, "tags": sample.tags, "meta": sample.meta,
        "options": sample.options, "references": sample.references, "media": [medium.uri for medium in sample.media],
    }  # fmt: skip
    if told := not_whole(texts, encoding):
        raise UnicodeError(told)
    if all(says_nothing(turn.text) for turn in sample.turns):
        raise DataError("empty_text", "no turn has any text; give the row a question, an answer or a caption")
    for number, turn in enumerate(sample.turns):
        if turn.role == "assistant" and turn.text and not turn.tool_calls and says_nothing(turn.text):
            raise DataError("empty_text", f"turn {number} (assistant) has no text; fill it in or remove the sample")
    sample = with_options(sample)
    return sample.model_copy(update={"tags": {**tags, **sample.tags}, "licence": sample.licence or licence})


def fault_of(error: Exception, identity: str, where: str, otherwise: str = "bad_row") -> Fault:
    """The fault that an exception is, on one line and in whole characters."""
    code = error.code if isinstance(error, DataError) else otherwise
    return Fault(sample_id=printable(identity), code=code, detail=one_line(error), where=printable(where))


def stems_of(files: Sequence[Path]) -> dict[Path, str]:
    """A short name for each file, of as many folders as it takes to tell them apart."""
    for name_of in (lambda file: file.name.split(".")[0], lambda file: file.name):
        for depth in range(1, max((len(file.parts) for file in files), default=0) + 1):
            names = {file: "/".join([*file.parts[-depth:-1], name_of(file)]) for file in files}
            if len(set(names.values())) == len(files):
                return names
    return {file: str(file) for file in files}


def sha256_of(file: Path) -> str:
    """sha256 of a file's content, read in pieces, once in a process while its size and time stand; "" of no file."""
    if not is_plain(file):
        return ""
    status = file.stat()
    key = (str(file), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        with open(file, "rb") as opened:
            _digests[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    return _digests[key]


def _identity(value: Any, otherwise: str) -> str:
    """The id that a row that is no sample brings, as far as it brings one."""
    try:
        return stable_id(value, otherwise)
    except Exception:
        return otherwise


def stable_id(value: Any, otherwise: str) -> str:
    """A row's own id as text, or the one made from its file and number."""
    value = known(value)
    if value is None or value == "":
        return otherwise
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        "bad_row", f"id is {canonical_json(value) if isinstance(value, (list, dict)) else value!r}: use text"
    )


def one_line(error: BaseException) -> str:
    """An exception's message on one line, cut at 500 characters."""
    if isinstance(error, KeyError):
        return f"lacks {error}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, ValidationError):
        return printable(problems_of(error))
    return printable(" ".join(str(error).split())[:500]) or type(error).__name__


def problems_of(error: ValidationError) -> str:
    """The first three mistakes that pydantic found, each with its place in the row."""
    told = [f"{'.'.join(map(str, item['loc'])) or 'row'}: {item['msg']}" for item in error.errors()[:3]]
    more = len(error.errors()) - len(told)
    return " ".join(("; ".join(told) + (f"; and {more} more" if more else "")).split())[:500]
