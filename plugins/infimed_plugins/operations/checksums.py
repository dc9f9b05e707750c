"""Comparing the files of a finished run with the checksums that its steps sealed them with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from infimed_core.records import open_run

SEAL = "artifact.json"


def damaged_files(directory: Path) -> tuple[int, int, list[str]]:
    """How many files were compared, how many have no checksum, and a line for each that is not as it was written.

    Raises:
        InfimedError: there is no run, or another version made it.
    """
    run = open_run(directory)
    num_files = num_unknown = 0
    damages: list[str] = []
    for step in run.record.steps:
        place = run.artifact(step)
        if place is None:
            continue
        mend = f"remove {place} and run the same command again"
        try:
            seal = json.loads((place / SEAL).read_text(encoding="utf-8"))
            sizes, sums = dict(seal["files"]), dict(seal.get("sha256", {}))
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            damages.append(f"{place / SEAL}: cannot be read; {mend}")
            continue
        for name, num_bytes in sizes.items():
            file = place / name
            num_files += 1
            num_unknown += name not in sums
            if problem := _problem(file, num_bytes, sums.get(name)):
                damages.append(f"{file}: {problem}; {mend}")
    return num_files, num_unknown, damages


def _problem(file: Path, num_bytes: int, expected: str | None) -> str:
    try:
        if file.stat().st_size != num_bytes:
            return f"has {file.stat().st_size} bytes, was written with {num_bytes}"
        if expected is not None:
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                    return "is not as it was written (its checksum differs)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
