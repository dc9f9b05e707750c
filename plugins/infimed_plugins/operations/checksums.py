"""Comparing the files of a finished run with the checksums that its steps sealed them with."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from infimed_core import without_checksum
from infimed_core.records import open_run

SEAL = "artifact.json"
RECORD = "run.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def damaged_files(directory: Path) -> tuple[int, int, list[str]]:
    """How many files were compared, how many have no checksum, and a line for each that is not as it was written.

    Raises:
        InfimedError: there is no run, or another version made it.
    """
    run = open_run(directory)
    num_files = num_unknown = 0
    damages: list[str] = []
    mend = "run its run file again with `infimed-run`, which writes it anew"
    for file, problem in _of_the_run(directory if directory.is_dir() else directory.parent):
        num_files += 1
        damages += [f"{file}: {problem}; {mend}"] if problem else []
    for step in run.record.steps:
        place = run.artifact(step)
        if place is None:
            continue
        mend = f"remove {place} and run the same command again"
        try:
            content = (place / SEAL).read_bytes()
            seal = json.loads(content)
            sizes, sums = dict(seal["files"]), dict(seal.get("sha256", {}))
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            damages.append(f"{place / SEAL}: cannot be read; {mend}")
            continue
        num_files += 1
        if not without_checksum(content)[1]:
            damages.append(f"{place / SEAL}: is not as it was written (its checksum differs); {mend}")
        if step.kind == "report":  # its files lie beside run.json, and it keeps their checksums
            sums |= (reported := _reported(place, run.directory))
            sizes |= dict.fromkeys(reported)
        for name, num_bytes in sizes.items():
            file = place / name if not Path(name).is_absolute() else Path(name)
            num_files += 1
            num_unknown += name not in sums
            if problem := _problem(file, num_bytes, sums.get(name)):
                damages.append(f"{file}: {problem}; {mend}")
    return num_files, num_unknown, damages


def _reported(place: Path, directory: Path) -> dict[str, str]:
    """The files of a report by their full paths, with their checksums; none for an earlier version."""
    try:
        known = dict(json.loads((place / "report.json").read_bytes()))
    except (OSError, ValueError, RecursionError, TypeError):
        return {}
    return {str((directory / name).absolute()): found for name, found in known.items() if _DIGEST.fullmatch(found)}


def _of_the_run(directory: Path) -> Iterator[tuple[Path, str]]:
    """The record, and every medium that the run keeps: its name is the digest of its content."""
    record = directory / RECORD
    yield record, "" if without_checksum(record.read_bytes())[1] else "is not as it was written (its checksum differs)"
    for parent, _, names in os.walk(directory / "media"):
        for name in sorted(names):
            if _DIGEST.fullmatch(name.partition(".")[0]):
                file = Path(parent, name)
                yield file, _problem(file, None, name.partition(".")[0])


def _problem(file: Path, num_bytes: int | None, expected: str | None) -> str:
    try:
        if not file.is_file():
            return "is no regular file" if file.exists() else "is gone"
        if num_bytes is not None and file.stat().st_size != num_bytes:
            return f"has {file.stat().st_size} bytes, was written with {num_bytes}"
        if expected is not None:
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                    return "is not as it was written (its checksum differs)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
