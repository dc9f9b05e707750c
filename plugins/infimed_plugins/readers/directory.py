"""The reader ``directory``: a folder of images, each with a text file of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from infimed_core import DataError, Sample, canonical_json
from infimed_plugins.readers.conversation import question_and_answer
from infimed_plugins.readers.files import FileReader, kind_of, sha256_of

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif")
ENDINGS = (*IMAGES, ".dcm", ".dicom", ".nii", ".nii.gz")


class Directory(FileReader):
    """``scan.png`` beside ``scan.txt`` is a captioned image; folders are walked in sorted order; the id is the path.

    An image without a text file is a fault (``empty_text``).
    """

    path: str = Field(description="The folder, relative to the current directory.")
    caption_ending: str = Field(default=".txt", description="Ending of the text files.")
    question: str | None = Field(default=None, description="What the user asks of every image; nothing by default.")
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
        """Images below the folder, sorted."""
        for image in _images(file):
            yield str(image), image

    def sample(self, file: Path, identity: str, row: Any) -> Sample:
        """The image and its text."""
        name = row.relative_to(file).as_posix()
        medium = self.media(file / "x", name)
        caption = _caption(row, self.caption_ending)
        try:
            text = caption.read_text(encoding="utf-8-sig").strip()
        except FileNotFoundError:
            raise DataError("empty_text", f"no text beside it ({caption.name})") from None
        except UnicodeDecodeError as error:
            raise DataError("bad_row", f"{caption}: is not UTF-8 ({error.reason}); save the text as UTF-8") from None
        turns, media = question_and_answer(self.question, text, [medium], lambda other: self.media(file / "x", other))
        tags = {self.folder_tag: row.parent.name} if self.folder_tag else {}
        return Sample(id=name, turns=turns, media=media, tags=tags)

    def digest(self, file: Path) -> str:
        """Digest of the names and texts; an image's content counts where it is read."""
        facts = []
        for image in _images(file):
            caption = _caption(image, self.caption_ending)
            facts.append(
                [
                    image.relative_to(file).as_posix(),
                    sha256_of(caption) if caption.is_file() else None,
                    sha256_of(image),
                ]
            )
        return canonical_json(facts)


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(ENDINGS):
                yield Path(place) / name


def _caption(image: Path, ending: str) -> Path:
    name = image.name.removesuffix(".gz") if kind_of(image.name) == "nifti" else image.name
    return image.with_name(Path(name).stem + ending)
