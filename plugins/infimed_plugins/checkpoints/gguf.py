"""GGUF files through llama.cpp's own converter, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infimed_core import InfimedError

SCRIPT = "convert_hf_to_gguf.py"


def find_converter() -> Path:
    """llama.cpp's converter: in the folder that LLAMA_CPP names, or on the PATH.

    Raises:
        InfimedError: it is not installed.
    """
    folder = os.environ.get("LLAMA_CPP")
    if folder and (Path(folder) / SCRIPT).is_file():
        return Path(folder) / SCRIPT
    found = shutil.which(SCRIPT) or shutil.which("convert-hf-to-gguf")
    if found is None:
        raise InfimedError(
            f"--to gguf needs llama.cpp's {SCRIPT}, which is not found: git clone "
            "https://github.com/ggml-org/llama.cpp, then set LLAMA_CPP to that folder"
        )
    return Path(found)


def convert(converter: Path, checkpoint: Path, target: Path, outtype: str, with_images: bool) -> list[Path]:
    """Write the language model and, ``with_images``, the vision tower beside it (mmproj); the files.

    Raises:
        InfimedError: the converter does not know the architecture, or failed otherwise; its last line is told.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = [_run(converter, checkpoint, target / f"{target.name}-{outtype}.gguf", outtype, [])]
    if with_images:
        made.append(_run(converter, checkpoint, target / f"mmproj-{target.name}-{outtype}.gguf", outtype, ["--mmproj"]))
    return made


def _run(converter: Path, checkpoint: Path, file: Path, outtype: str, more: list[str]) -> Path:
    command = [str(converter)] if converter.suffix != ".py" else [sys.executable, str(converter)]
    command += [str(checkpoint), "--outfile", str(file), "--outtype", outtype, *more]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not file.is_file():
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise InfimedError(f"{converter.name} could not convert {checkpoint}: {said[-1] if said else 'no reason told'}")
    return file
