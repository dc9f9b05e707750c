"""A folder without tables or texts: findings that are the names of its folders, or what it lacks to be data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from infimed_core import UNLABELLED, modality_of

MOST_FOLDERS = 20
"""Different names of folders up to which they may be findings."""
TEST_SET = re.compile(r"(?:^|[^a-z])(?:test|val|valid|validation|dev|eval|evaluation|held[-_ ]?out)(?:[^a-z]|$)")
"""What the name of a test set holds."""
_NO_FINDING = re.compile(
    r"(?:[a-z]+[-_ ]?)?(?:train|training|images?|imgs?|films?|data|pictures?|scans?|files?|dicom)s?"
)
_SHEETS = (".xlsx", ".xls", ".ods", ".xlsm")


def findings_of(folder: Path, images: Sequence[Path]) -> list[str]:
    """The names of the images' own folders where each may be a finding; none where one is something else.

    No finding is a name with a digit (a patient's), a modality, a part of the data such as ``train``, or a name that
    one image alone has.
    """
    if not images or any(image.parent == folder for image in images) or _test_folders(folder, images):
        return []
    counts = Counter(image.parent.name for image in images)
    found = sorted(counts)
    is_plain = all(_may_be_finding(name) and counts[name] > 1 for name in found)
    return found if is_plain and 1 < len(found) <= MOST_FOLDERS else []


def _may_be_finding(name: str) -> bool:
    low = name.lower()
    return not re.search(r"\d", low) and modality_of(low) == UNLABELLED and not _NO_FINDING.fullmatch(low)


def _test_folders(folder: Path, images: Sequence[Path]) -> list[str]:
    parts = (part for image in images for part in image.relative_to(folder).parts[:-1] if folder in image.parents)
    return sorted({part for part in parts if TEST_SET.search(part.lower())})


def why_nothing(folder: Path, files: Sequence[Path], images: Sequence[Path]) -> str:
    """What a folder of images has in which nothing becomes a sample, and what would make samples of it; else ""."""
    if sheets := [file.name for file in files if file.suffix.lower() in _SHEETS]:
        return f"{sheets[0]} is a spreadsheet: save it as CSV (in UTF-8) and try again"
    if not images:
        return ""
    if parts := _test_folders(folder, images):
        return (
            f"{len(images):,} images and no table; '{parts[0]}' is called a test set: where the folders in it are "
            f"named for findings, give the folder that is trained on as --data and '{parts[0]}' as --test"
        )
    return (
        f"{len(images):,} images, and no table or text says anything of them: write a CSV with the columns image, "
        "question, answer and patient, or put the images into folders that are named for their findings"
    )
