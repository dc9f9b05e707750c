"""The reader ``directory``: a folder of images, each with a text file of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Sample, canonical_json
from infimed_plugins.readers.conversation import question_and_answer
from infimed_plugins.readers.files import FileReader, sha256_of
from infimed_plugins.readers.places import ending_of, inside, is_header_of_pair, is_plain, kind_of_file
from infimed_plugins.readers.texts import decoded
from infimed_plugins.readers.values import natural


class Directory(FileReader):
    """``scan.png`` beside ``scan.txt`` is a captioned image; folders are walked in order; the id is the path.

    An image without a text file is a fault (``empty_text``), and so is a text without an image that can be read. With
    ``folder_answers`` there are no texts: ``pneumonia/scan.png`` has the answer "pneumonia". DICOM files are known
    without an ending.
    """

    path: str = Field(description="The folder, relative to the current directory.")
    caption_ending: str = Field(default=".txt", description="Ending of the text files.")
    question: str | None = Field(default=None, description="What the user asks of every image; nothing by default.")
    folder_answers: bool = Field(
        default=False, description="The name of the image's own folder is the answer; no texts are read."
    )
    folder_tag: str | None = Field(default=None, description="Tag that takes the name of the image's own folder.")

    def files(self) -> list[Path]:
        """The folder itself."""
        folder = Path(os.path.abspath(os.path.expanduser(self.path)))
        if not folder.is_dir():
            raise DataError(
                "missing_file", f"{self.path}: no such folder (looked for {folder}); check the source's path"
            )
        return [folder]

    def rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Images below the folder in natural order, each with its text; then the texts that have none."""
        for place, folders, names in os.walk(file):
            folders.sort(key=natural)
            yield from self._rows_of(Path(place), sorted(names, key=natural), file)

    def _rows_of(self, folder: Path, names: list[str], root: Path) -> Iterator[tuple[str, Any]]:
        images = [name for name in names if not name.startswith(".") and self._is_image(folder / name, root)]
        if self.folder_answers:
            yield from ((str(folder / name), (folder / name, None)) for name in images)
            return
        texts = (name for name in names if not name.startswith(".") and name.endswith(self.caption_ending))
        captions = {name for name in texts if name not in images}
        of = {name: next((text for text in self._captions(name) if text in captions), None) for name in images}
        for name in images:
            yield str(folder / name), (folder / name, folder / (of[name] or self._captions(name)[0]))
        others = [name for name in names if name not in of and name not in captions and not name.startswith(".")]
        for text in sorted(captions - {text for text in of.values() if text}, key=natural):
            beside = [name for name in others if text in self._captions(name)]
            told = f"nothing here reads {', '.join(beside)}" if beside else "no image beside it"
            code = "unsupported" if beside else "missing_media"
            yield str(folder / text), DataError(code, f"{told}: a text alone is no sample")

    def _is_image(self, file: Path, root: Path) -> bool:
        """By its ending; a file without one only where it is DICOM or NIfTI inside."""
        if file.name.endswith(self.caption_ending) or is_header_of_pair(file):
            return False
        return bool(ending_of(file.name)) or (inside(file, root) and kind_of_file(file) != "image")

    def _captions(self, name: str) -> tuple[str, ...]:
        """The names that an image's text may have, the likelier first."""
        whole, ending = name + self.caption_ending, ending_of(name)
        if ending:
            return name[: -len(ending)] + self.caption_ending, whole
        return whole, os.path.splitext(name)[0] + self.caption_ending

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The image and its text."""
        image, caption = row
        name = image.relative_to(file).as_posix()
        medium = self.media(file / "x", name)
        if os.path.exists(image) and not is_plain(image):
            raise DataError("unreadable", "is no plain file (a pipe or device), and is not opened")
        text = self._folder_of(image, file) if caption is None else self._text_of(caption, file)
        turns, media = question_and_answer(
            self.question, text, [medium], lambda other: self.media(file / "x", other), ignore=self.ignore
        )
        tags = {self.folder_tag: image.parent.name} if self.folder_tag else {}
        return Sample(id=name, turns=turns, media=media, tags=tags)

    def _folder_of(self, image: Path, root: Path) -> str:
        if image.parent == root:
            raise DataError("empty_text", f"it lies in {root.name} itself, in no folder whose name is an answer")
        return image.parent.name

    def _text_of(self, caption: Path, root: Path) -> str:
        if not os.path.lexists(caption):
            raise DataError("empty_text", f"no text beside it ({caption.name})")
        if not self.allow_outside and not inside(caption, root):
            raise DataError("outside_root", f"{caption.name} leads out of {root}; allow_outside: true if it is meant")
        if not is_plain(caption):
            raise DataError("empty_text", f"{caption.name} is no plain file")
        try:
            return decoded(caption.read_bytes(), self.encoding).strip()
        except DataError as error:
            raise DataError("bad_row", f"{caption}: is {error}") from None

    def own_id(self, row: Any) -> Any:
        """The image's path, which is its id."""
        return row[0].relative_to(self.files()[0]).as_posix() if isinstance(row, tuple) else None

    def digest(self, file: Path) -> str:
        """Digest of the names and contents of images and texts."""
        facts = []
        for place, row in self.rows(file):
            images = (place,) if isinstance(row, DataError) else row
            facts.append([place, *(self._digest(Path(one), file) for one in images if one is not None)])
        return canonical_json(facts)

    def _digest(self, file: Path, root: Path) -> str:
        return sha256_of(file) if self.allow_outside or inside(file, root) else ""
