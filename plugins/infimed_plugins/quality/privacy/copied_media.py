"""Clean copies of media below a directory: files, folders of series and parts of montages, each made once."""

from __future__ import annotations

import hashlib
import shutil
import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydantic import ValidationError

from infimed_core import DataError, Media
from infimed_plugins.quality.privacy.containers import Changes
from infimed_plugins.quality.privacy.dicom import DicomCleaner
from infimed_plugins.quality.privacy.pictures import clean_nifti, clean_picture
from infimed_plugins.quality.privacy.traces import traces_of
from infimed_plugins.quality.privacy.unpacking import check_deflated

PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"BM", b"RIFF", b"\0\0\0\x0cjP")


@dataclass
class CopiedMedia:
    """Writes clean copies below ``target``; media of equal content share one."""

    cleaner: DicomCleaner
    target: Path
    traces: dict[str, frozenset[str]] = field(default_factory=dict)
    """By the place of a copy, what must not stand in it."""
    _made: dict[str, tuple[Media, Changes] | DataError] = field(default_factory=dict)

    def copy(self, media: Media) -> tuple[Media, Changes]:
        """The copy of a medium, its place relative to ``target``, and what was changed in it.

        Raises:
            DataError: it must be withheld; code and message say why.
        """
        if media.kind == "montage":
            return self._montage(media)
        folder = Path(media.uri) if media.data is None and media.uri and Path(media.uri).is_dir() else None
        if folder is not None:
            return self._folder(media, folder)
        data = media.data if media.data is not None else read_plain(Path(media.uri or ""))
        name = self.cleaner.pseudonyms.name(media.kind, data.hex() if len(data) < 64 else _digest(data))
        if name not in self._made:
            self._made[name] = self._written(data, media.kind, Path("media") / name[-2:], name)
        made = self._made[name]
        if isinstance(made, DataError):
            raise made
        return made[0].model_copy(update={"options": media.options}), made[1]

    def files(self) -> Iterator[Media]:
        """Every file that was written, where it lies."""
        for made in self._made.values():
            if not isinstance(made, DataError):
                yield made[0].model_copy(update={"uri": str(self.target / str(made[0].uri))})

    def _written(self, data: bytes, kind: str, folder: Path, name: str) -> tuple[Media, Changes] | DataError:
        try:
            cleaned, ending, changes = self._clean(data, kind)
        except DataError as error:
            return error
        path = folder / (name + ending)
        (self.target / folder).mkdir(parents=True, exist_ok=True)
        (self.target / path).write_bytes(cleaned)
        self.traces[path.as_posix()] = traces_of(Media(kind=kind), data)
        return Media(kind=kind, uri=path.as_posix()), changes

    def _folder(self, media: Media, folder: Path) -> tuple[Media, Changes]:
        """The DICOM files of a series in a folder of its own; one that must be withheld withholds the volume."""
        name = self.cleaner.pseudonyms.name("series", str(folder.resolve()))
        place, changes = Path("media") / name[-2:] / name, Counter[tuple[str, str]]()
        options = dict(media.options)
        if isinstance(options.get("series"), str):
            options["series"] = self.cleaner.pseudonyms.uid(str(options["series"]))
        if (self.target / place).is_dir():
            return Media(kind="dicom", uri=place.as_posix(), options=options), changes
        made: dict[str, tuple[Media, Changes]] = {}
        try:
            for number, path in enumerate(sorted(folder.iterdir())):
                if path.is_dir():
                    continue
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise DataError("outside_root", f"{path}: a link that leads out of its folder")
                data = read_plain(path)
                if data[128:132] != b"DICM":
                    changes["file of a series that is no DICOM", "left out"] += 1
                    continue
                one = self._written(data, "dicom", place, f"{number:05d}")
                if isinstance(one, DataError):
                    raise one
                made[f"{name}/{number}"] = one
                changes += one[1]
        except DataError:
            shutil.rmtree(self.target / place, ignore_errors=True)
            raise
        if not made:
            raise DataError("no_volume", f"{folder}: a folder without a DICOM file")
        self._made |= made
        return Media(kind="dicom", uri=place.as_posix(), options=options), changes

    def _montage(self, media: Media) -> tuple[Media, Changes]:
        listed = media.options.get("parts")
        changes, parts = Counter[tuple[str, str]](), []
        for part in listed if isinstance(listed, list) else ():
            try:
                copy, made = self.copy(Media.model_validate(part))
            except ValidationError:
                raise DataError("bad_option", "a montage's part is no medium") from None
            parts.append(copy)
            changes += made
        if not parts:
            raise DataError("bad_option", "a montage without parts")
        dumped = [part.model_dump(mode="json", exclude_defaults=True) | {"kind": part.kind} for part in parts]
        return Media(kind="montage", uri=parts[0].uri, options={**media.options, "parts": dumped}), changes

    def _clean(self, data: bytes, kind: str) -> tuple[bytes, str, Changes]:
        """(bytes, ending, changes) of a file's copy.

        Raises:
            DataError: it must be withheld; code and message say why.
        """
        if kind == "dicom":
            return self._dicom(data)
        if kind == "nifti":
            return clean_nifti(data)
        if kind == "image":
            return clean_picture(data, self.cleaner.reader)
        raise DataError("unknown_kind", f"nothing here can clean a medium of the kind '{kind}'")

    def _dicom(self, data: bytes) -> tuple[bytes, str, Changes]:
        import pydicom

        check_deflated(data)
        file = BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are removed or kept as they are
            try:
                dataset = pydicom.dcmread(BytesIO(data))
            except Exception as error:
                raise DataError("not_dicom", f"cannot be read as DICOM ({type(error).__name__})") from None
            try:
                changes = self.cleaner.clean(dataset)
                dataset.save_as(file, enforce_file_format=True)
            except DataError:
                raise
            except Exception as error:  # what cannot be cleaned whole is not written at all
                raise DataError("not_cleaned", type(error).__name__) from None
        return file.getvalue(), ".dcm", changes


def kind_of(data: bytes, name: str) -> str | None:
    """``dicom``, ``nifti``, ``image`` or ``None``, by the first bytes."""
    if data[128:132] == b"DICM":
        return "dicom"
    if name.lower().endswith((".nii", ".nii.gz")):
        return "nifti"
    return "image" if data.startswith(PICTURES) else None


def read_plain(path: Path) -> bytes:
    """The content of a plain file; a pipe or device would be waited for.

    Raises:
        DataError: ``missing_file``, ``unreadable``.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("unreadable", f"{path}: no plain file (a folder, pipe or device)")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError("missing_file", f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
