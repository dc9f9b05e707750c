"""The reader ``studies``: a folder for each study, with its images, volumes and series, and a text."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Media, Sample, canonical_json
from infimed_plugins.readers.files import FileReader, sha256_of
from infimed_plugins.readers.places import ending_of, inside, is_header_of_pair, is_plain, kind_of_file
from infimed_plugins.readers.texts import decoded
from infimed_plugins.readers.values import natural
from infimed_plugins.readers.views import View, question_about, says_something

SERIES = 3
"""Files of one name but for its numbers, from which on they are a series."""
_NUMBERS = re.compile(r"[0-9]+")


class Studies(FileReader):
    """A folder that holds a text (``report.txt``) is a study; everything in it and below that can be shown is a view.

    ``t1.nii.gz``, ``lateral.png`` and a folder ``ct`` of DICOM slices are named ``t1``, ``lateral`` and ``ct`` in the
    prompt, before their images; files without a telling name are numbered. Wrapped in ``volumes``, volumes and series
    become slices. Images that belong to no study, and a text without any, are faults.
    """

    path: str = Field(description="The folder of studies, relative to the current directory.")
    text: str = Field(default="report.txt", description="Name of the text in each study's folder.")
    question: str | None = Field(default=None, description="What the user asks of every study; nothing by default.")

    def files(self) -> list[Path]:
        """The folder itself."""
        folder = Path(os.path.abspath(os.path.expanduser(self.path)))
        if not folder.is_dir():
            raise DataError("missing_file", f"{self.path}: no such folder (looked for {folder}); check the path")
        return [folder]

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Studies in natural order, each the folder with its views; then, as faults, folders of images without one."""
        studies: list[Path] = []
        lost: list[Path] = []
        for place, folders, names in os.walk(file):
            folders.sort(key=natural)
            folder = Path(place)
            if self.text in names:
                studies.append(folder)
            elif not any(study in folder.parents for study in studies) and self._shown(folder, names, file):
                lost.append(folder)
        for study in studies:
            yield str(study), study
        for folder in lost:
            yield str(folder), DataError("empty_text", f"images without a {self.text} beside or above them")

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The views of a study, named, and its text."""
        text = row / self.text
        if not self.allow_outside and not inside(text, file):
            raise DataError("outside_root", f"{text.name} leads out of {file}; allow_outside: true if it is meant")
        if not is_plain(text):
            raise DataError("empty_text", f"{text.name} is no plain file")
        answer = decoded(text.read_bytes(), self.encoding).strip()
        views = list(self._views(row, file))
        turns, media = question_about(
            views, self.question, answer, lambda name: self.media(file / "x", name), ignore=self.ignore
        )
        return Sample(id=row.relative_to(file).as_posix(), turns=turns, media=media, tags={"study": row.name})

    def own_id(self, row: Any) -> Any:
        """The path of the study, which is its id."""
        return row.relative_to(self.files()[0]).as_posix() if isinstance(row, Path) else None

    def digest(self, file: Path) -> str:
        """Digest of the names and contents of images and texts."""
        facts = []
        for place, row in self.rows(file):
            for folder, _, names in [] if isinstance(row, DataError) else os.walk(row):
                found = [Path(folder) / name for name in sorted(names)]
                own = [one for one in found if self.allow_outside or inside(one, file)]
                facts.append([place, folder, *([one.name, sha256_of(one)] for one in own)])
        return canonical_json(facts)

    def _views(self, study: Path, root: Path) -> Iterator[View]:
        number = 0
        for place, folders, names in os.walk(study):
            folder = Path(place)
            folders[:] = sorted((one for one in folders if self.text not in os.listdir(folder / one)), key=natural)
            shown = self._shown(folder, names, root)
            slices = _slices(folder, shown)
            within = folder.relative_to(study).as_posix() if folder != study else ""
            if within and slices:  # a series: the folder is the volume
                yield within, [self._checked_folder(folder, root)]
                shown = [name for name in shown if name not in slices]
            elif len(slices) >= SERIES:  # beside the text: its files are, one after another
                yield "series", [self.media(root / "x", (study / name).relative_to(root).as_posix()) for name in slices]
                shown = [name for name in shown if name not in slices]
            for name in shown:
                stem = _stem(name)
                number += not says_something(stem)
                own = stem if says_something(stem) else f"image {number}"
                medium = self.media(root / "x", (folder / name).relative_to(root).as_posix())
                yield f"{within}/{own}" if within else own, [medium]

    def _shown(self, folder: Path, names: list[str], root: Path) -> list[str]:
        """Files that are media, by their ending or, without one, where they are DICOM or NIfTI inside."""
        found = [name for name in names if not name.startswith(".") and name != self.text]
        return sorted((name for name in found if self._is_medium(folder / name, root)), key=natural)

    def _is_medium(self, file: Path, root: Path) -> bool:
        if is_header_of_pair(file):
            return False
        return bool(ending_of(file.name)) or (inside(file, root) and kind_of_file(file) != "image")

    def _checked_folder(self, folder: Path, root: Path) -> Media:
        if not self.allow_outside and not inside(folder, root):
            raise DataError("outside_root", f"{folder} leads out of {root}; allow_outside: true if it is meant")
        return Media(kind="dicom", uri=str(folder))


def _slices(folder: Path, names: list[str]) -> list[str]:
    """DICOM files whose names say nothing, or differ in their numbers alone: the slices of a series."""
    alike = Counter(_NUMBERS.sub("#", name) for name in names)
    named = [name for name in names if alike[_NUMBERS.sub("#", name)] >= SERIES or not says_something(_stem(name))]
    return [name for name in named if _is_dicom(folder / name)]


def _stem(name: str) -> str:
    ending = ending_of(name)
    return name[: -len(ending)] if ending else name


def _is_dicom(file: Path) -> bool:
    return kind_of_file(file) == "dicom"
