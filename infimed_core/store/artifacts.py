"""Artifacts: directories named by the digest of what they were made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import canonical_json
from infimed_core.api.reporting import RECORD_FORMAT, StepRecord
from infimed_core.errors import InfimedError
from infimed_core.named_files import digest_of_file
from infimed_core.store.files import with_checksum, without_checksum, write_atomically


def digest(*parts: Any) -> str:
    """sha256 over the canonical JSON of ``parts``."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def mask_digest(mask: NDArray[np.bool_]) -> str:
    """sha256 of a mask over rows."""
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


class Artifact:
    """A directory named by the hash of what it was made from; it stands once ``artifact.json`` is in it."""

    def __init__(self, root: Path, name: str, inputs_digest: str) -> None:
        self.name = name
        self.inputs_digest = inputs_digest
        # Named by the format too: what another version wrote is neither read nor deleted.
        self.directory = root / f"{name}-{digest(RECORD_FORMAT, inputs_digest)[:12]}"
        self._seal = self.directory / "artifact.json"

    @property
    def is_complete(self) -> bool:
        """Whether it was finished, from exactly these inputs, and its files are still as long as they were."""
        try:
            seal = dict(json.loads(self._seal.read_text(encoding="utf-8")))
            files = dict(seal.get("files", {}))
        except (OSError, ValueError, TypeError, RecursionError):
            return False
        return seal.get("inputs_digest") == self.inputs_digest and all(
            (self.directory / name).is_file() and (self.directory / name).stat().st_size == size
            for name, size in files.items()
        )

    def open(self, keep: bool = False) -> Path:
        """The directory to work in: emptied, unless ``keep`` says that a part of the work may lie in it."""
        if self.directory.exists() and not keep:
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.directory

    def seal(self, record: StepRecord) -> None:
        """Declare it finished, with the step's record to show when it is reused, and checksums for ``verify_files``."""
        paths = [path for path in sorted(self.directory.rglob("*")) if path.is_file() and path != self._seal]
        files = {str(path.relative_to(self.directory)): path.stat().st_size for path in paths}
        sums = {name: digest_of_file(self.directory / name) for name in files}
        body = {"inputs_digest": self.inputs_digest, "files": files, "sha256": sums}
        body["record"] = record.model_dump(mode="json")
        write_atomically(self._seal, with_checksum(json.dumps(body, indent=1)))

    def record(self) -> StepRecord:
        """The record it was sealed with."""
        return StepRecord.model_validate(json.loads(self._seal.read_text(encoding="utf-8"))["record"])


def verify_files(directory: Path) -> None:
    """Compare an artifact's files with the checksums it was sealed with, where it has any.

    Raises:
        InfimedError: a file is gone or is not what was written, or the seal is not.
    """
    try:
        seal = (directory / "artifact.json").read_bytes()
        sums = {"artifact.json": None, **json.loads(seal).get("sha256", {})}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return  # no artifact: a checkpoint from elsewhere
    for name, expected in sums.items():
        file = directory / name
        if not (without_checksum(seal)[1] if expected is None else file.is_file() and digest_of_file(file) == expected):
            raise InfimedError(
                f"{file}: is not as it was written (its checksum differs); if you changed it, delete artifact.json "
                f"beside it; else remove it with `rm -r {directory}` and run the same command again: it is made anew"
            )
