"""``python -m infimed_core.schemas [DIRECTORY]`` writes the JSON Schemas of run files, records and samples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infimed_core.cli import schema_of

NAMES = ("run", "record", "sample")


def write_schemas(directory: Path) -> list[Path]:
    """Write every schema to ``directory``; return the files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name in NAMES:
        path = directory / f"{name}.schema.json"
        path.write_text(json.dumps(schema_of(name), indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas"))
