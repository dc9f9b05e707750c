"""What the parts of a run weigh on disk, and which of them nothing needs any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimed_core import InfimedError
from infimed_core.records import RECORD_FORMAT, Run, open_run
from infimed_plugins.operations.status import is_alive, size_of

LOCK = "lock"
"""The core's file that a process holds locked while it works on a run."""

FOLDERS = {
    "artifacts": "what each step made: samples, scores, plans, the base model, results",
    "checkpoints": "the model after each stage, in the layout of Hugging Face",
    "state": "resumable states of a stage that is not finished",
    "media": "images and volumes that came within the data, by content",
    "answers": "graded answers, one file for each model and benchmark (links to artifacts)",
    "cache": "answers as they came, so that none is asked for twice",
    "models": "further models of the run file, prepared",
    "tensorboard": "curves of training",
}
"""What the folders of a run hold."""


@dataclass(frozen=True)
class Part:
    """A file or folder of a run. ``reason`` says why it may go; "" where it is needed."""

    path: Path
    num_bytes: int
    reason: str = ""


def parts_of(directory: Path, intermediate: bool = False) -> list[Part]:
    """Every part of a run with its size, and which may go.

    Of a run that is not done only leftovers of killed processes may go: what its next attempt needs is not known.

    Args:
        intermediate: also the checkpoints of all stages but the last may go, and the base model where a stage was
            trained from it. To train or grade them again the run has to begin anew.

    Raises:
        InfimedError: there is no run, another version made it, or a process works on it.
    """
    run = open_run(directory)
    if is_alive(directory, run.record):
        raise InfimedError(f"{directory}: a process works on this run; nothing of it may go")
    needed = {step.artifact for step in run.record.steps if step.artifact is not None}
    spare = _intermediate(run) if intermediate and run.status == "done" else {}
    parts: dict[Path, Part] = {}
    for path in _parts(directory):
        name = path.relative_to(directory).as_posix()
        reason = _reason(run, name, needed) or spare.get(name, "")
        if not any(above in parts and parts[above].reason for above in path.parents):
            parts[path] = Part(path, size_of(path), reason)
    return list(parts.values())


def _parts(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.is_dir() and path.name in ("artifacts", "checkpoints", "state"):
            yield from sorted(path.iterdir())
        else:
            yield path
        if path.is_dir():
            yield from sorted(path.rglob(".*.tmp"))


def _reason(run: Run, name: str, needed: set[str]) -> str:
    folder = name.partition("/")[0]
    if name.rpartition("/")[2].startswith(".") and name.endswith(".tmp"):
        return "left by a killed process"
    if run.status != "done":
        return ""
    if folder in ("artifacts", "checkpoints") and name not in needed:
        return "made from other settings or data than the last run of this directory"
    if folder == "state" and "/" in name:
        return "the state of a stage, and every stage is finished"
    if name.startswith("error") and name.endswith(".log"):
        return "of an earlier attempt"
    return ""


def _intermediate(run: Run) -> dict[str, str]:
    stages = [step.artifact for step in run.steps("train") if step.artifact is not None]
    found = dict.fromkeys(stages[:-1], "a stage before the last")
    base = run.step("model")
    if stages and base is not None and base.artifact is not None:
        found[base.artifact] = "the model before the first stage"
    beneath = {place for stage in stages[-1:] if (place := _beneath(run.directory, stage))}
    return {name: reason for name, reason in found.items() if not any(place.startswith(name) for place in beneath)}


def _beneath(directory: Path, stage: str) -> str:
    """Where in the run the whole model lies that the adapter of a stage needs; "" where it needs none of the run."""
    try:
        named = json.loads((directory / stage / "adapter_config.json").read_text(encoding="utf-8"))
        base = Path(str(named["base_model_name_or_path"])).resolve()
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
    # By the end of its path, so that it is found after the run was moved too.
    for number in range(len(base.parts)):
        place = Path(*base.parts[number:])
        if not place.is_absolute() and (directory / place).is_dir():
            return place.as_posix()
    return ""


def remove(directory: Path, parts: list[Part]) -> int:
    """Delete parts of a run while no process may work on it; returns the bytes that were freed.

    Raises:
        InfimedError: a process has begun to work on the run, or a part cannot be deleted.
    """
    from filelock import FileLock, Timeout

    freed = 0
    try:
        with FileLock(directory / LOCK).acquire(timeout=0):
            for part in parts:
                if part.path.is_dir() and not part.path.is_symlink():
                    shutil.rmtree(part.path)
                else:
                    part.path.unlink(missing_ok=True)
                freed += part.num_bytes
    except Timeout:
        raise InfimedError(f"{directory}: a process has begun to work on this run; nothing more was deleted") from None
    except OSError as error:
        raise InfimedError(f"{error.filename or directory}: cannot be deleted ({error.strerror})") from None
    return freed


def described(directory: Path, part: Path) -> str:
    """What the folder of a run is for that a part lies in."""
    first = part.relative_to(directory).parts[0]
    return FOLDERS.get(first, f"record format {RECORD_FORMAT}" if first == "run.json" else "")
